/** Configs themselves: made, and given other demands. A config is never removed: its numbers must not be used twice. */
import { digest, type Json } from 'midflight'
import { configNameProblem } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import { covered, type PlacedIssue } from './marks.ts'
import { configIn, requireText } from './publish.ts'
import { RefusedError } from './release.ts'
import { checkRules, type Rule } from './rules.ts'
import type { ConfigRecord } from './store.ts'
import { issuesIn, marksOf, requireSchema } from './validation.ts'

/** What a config demands of those who publish. */
export interface ConfigDemands {
  /** JSON Schema; `null`: everything is taken. */
  readonly schema?: Json | null
  readonly rules?: readonly Rule[]
  /** How many others must approve a publish; 0 to 16. */
  readonly reviewers?: number
}

/** @throws RefusedError `exists`; `invalid` for a bad name, schema, rule or number of reviewers. */
export async function createConfig(
  domain: Domain,
  request: ConfigDemands & { readonly name: string; readonly actor: string },
): Promise<ConfigRecord> {
  const { name, actor, schema = null, rules = [], reviewers = 0 } = request
  const problem = typeof name === 'string' ? configNameProblem(name) : 'is no text'
  if (problem !== undefined) throw new RefusedError('invalid', `the name ${problem}`)
  await requireDemands({ schema, rules, reviewers })
  requireText(actor, 'actor', 1, 256)
  const at = domain.now().toISOString()
  return await domain.store.transaction((tx) => {
    if (tx.config(name) !== undefined) throw new RefusedError('exists', `there is a config ${name} already`)
    tx.putConfig({ name, createdAt: at, schema, rules, reviewers })
    tx.appendAudit({ at, actor, action: 'config-created', config: name, detail: summary({ schema, rules, reviewers }) })
    return configIn(tx, name)
  })
}

/**
 * Gives a config another schema, other rules or other reviewers; what is left out stays. The head must fit: otherwise
 * the next small edit would be refused for what it did not touch.
 * @throws RefusedError `not-found`; `invalid` if the demands are wrong in themselves or the head does not meet them.
 */
export async function changeDemands(
  domain: Domain,
  name: string,
  demands: ConfigDemands,
  actor: string,
): Promise<ConfigRecord> {
  await requireDemands(demands)
  requireText(actor, 'actor', 1, 256)
  for (;;) {
    const { config, content } = await domain.store.read((read) => {
      const found = configIn(read, name)
      return { config: found, content: found.head === null ? undefined : read.content(name, found.head.number) }
    })
    const wanted = { ...config, ...demands }
    if (content !== undefined) {
      // What is secret until now stays so in what is said, also if the new schema has forgotten to mark it.
      const marks = await marksOf(config.schema)
      const issues = await issuesIn(wanted, content)
      requireFit(
        config,
        issues.map((issue) => covered(marks, issue, false)),
      )
    }
    const done = await domain.store.transaction((tx) => {
      if (configIn(tx, name).head?.number !== config.head?.number) return undefined
      const { head: _, ...record } = { ...configIn(tx, name), ...demands }
      tx.putConfig(record)
      const at = domain.now().toISOString()
      tx.appendAudit({ at, actor, action: 'config-changed', config: name, detail: summary(demands) })
      return configIn(tx, name)
    })
    if (done !== undefined) return done
  }
}

async function requireDemands({ schema, rules, reviewers }: ConfigDemands): Promise<void> {
  if (schema !== undefined) await requireSchema(schema)
  const issues = rules === undefined ? [] : checkRules(rules)
  if (issues.length > 0) throw new RefusedError('invalid', 'the rules are wrong', issues)
  if (reviewers !== undefined && !(Number.isSafeInteger(reviewers) && reviewers >= 0 && reviewers <= 16)) {
    throw new RefusedError('invalid', `reviewers is ${String(reviewers)}; want an integer from 0 to 16`)
  }
}

function requireFit(config: ConfigRecord, issues: readonly PlacedIssue[]): void {
  if (issues.length === 0) return
  const { name, head } = config
  throw new RefusedError('invalid', `release ${head?.number} of ${name}, its head, would no longer be valid`, issues)
}

/** For the audit log: enough to tell which schema it was, without the whole of it. */
function summary({ schema, rules, reviewers }: ConfigDemands): Json {
  return {
    ...(schema === undefined ? {} : { schema: schema === null ? null : digest(schema) }),
    ...(rules === undefined ? {} : { rules: rules as unknown as Json }),
    ...(reviewers === undefined ? {} : { reviewers }),
  }
}
