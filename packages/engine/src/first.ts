/**
 * The first configuration of a process: from the sources; if they have none that is usable, the last good one on
 * disk; if there is none, the one bundled with the program (I7).
 */
import { errorText, within } from './deadline.ts'
import { issueText } from './issue.ts'
import type { Json } from './json.ts'
import { replaceAt, type LastGood } from './last-good.ts'
import { outcomeText, type Outcome } from './outcome.ts'
import { commit, dressed, reload, stage, type Core, type Run } from './reload.ts'
import { copyOf } from './snapshot.ts'
import type { Document } from './source.ts'
import { StartError } from './start-error.ts'

export interface First {
  readonly from: 'sources' | 'last-good' | 'bundled'
  /** In the order in which they count: what the sources came to is last, also where it was not used. */
  readonly outcomes: readonly Outcome[]
  /** How old the last good configuration is. */
  readonly ageMs?: number
  /** Why the sources were not used. */
  readonly reason?: string
}

/** @throws StartError with everything that was tried. */
export async function firstConfiguration(core: Core, run: Run, bundled: Json | undefined): Promise<First> {
  const outcome = await reload(core, run)
  if (outcome.kind === 'committed') return { from: 'sources', outcomes: [outcome] }
  const reason = reasonOf(outcome)
  const tried: string[] = []
  if (core.lastGood && outcome.kind !== 'closed') {
    const { found, damaged } = await core.lastGood.load()
    tried.push(...damaged)
    if (!found) tried.push('there is no last good configuration')
    else {
      try {
        const started = await startFrom(core, run, await resolved(core, found))
        if (started.kind === 'committed') {
          const ageMs = Date.now() - found.savedAt.getTime()
          return { from: 'last-good', outcomes: [started, outcome], ageMs, reason: [reason, ...damaged].join('; ') }
        }
        tried.push(`the last good configuration cannot be used: ${reasonOf(started)}`)
      } catch (error) {
        tried.push(`the last good configuration cannot be used: ${errorText(error)}`)
      }
    }
  }
  if (bundled !== undefined && outcome.kind !== 'closed') {
    const copied = copyOf(bundled)
    const started = 'copy' in copied ? await startFrom(core, run, { config: copied.copy }) : undefined
    if (started?.kind === 'committed')
      return { from: 'bundled', outcomes: [started, outcome], reason: [reason, ...tried].join('; ') }
    const why = 'issues' in copied ? copied.issues.map(issueText).join('; ') : started && reasonOf(started)
    tried.push(`the bundled configuration cannot be used: ${why}`)
  }
  throw new StartError(outcome, tried)
}

async function startFrom(core: Core, run: Run, document: Document): Promise<Outcome> {
  const staged = await stage(core, run, { kind: 'documents', documents: [document], save: false })
  return dressed(core, run, ('ended' in staged ? staged : await commit(core, staged)).ended)
}

/** The last good with its secrets read anew: on disk there are only references. */
async function resolved(core: Core, { config, secrets }: LastGood): Promise<Document> {
  let whole = config
  for (const { path, reference } of secrets) whole = replaceAt(whole, path, await resolvedBy(core, reference))
  return { config: whole, secrets }
}

/** By the first source that can: none knows which are another's. */
async function resolvedBy(core: Core, reference: string): Promise<Json> {
  const tried: unknown[] = []
  for (const source of core.sources) {
    if (source.resolve === undefined) continue
    try {
      return await within(
        core.deadlines.loadMs,
        core.closing,
        (signal) => source.resolve?.(reference, signal) ?? reference,
      )
    } catch (error) {
      tried.push(error)
    }
  }
  if (tried.length === 1) throw tried[0]
  throw new Error(`no source can resolve ${reference}${tried.map((error) => `; ${errorText(error)}`).join('')}`)
}

function reasonOf(outcome: Outcome): string {
  return outcome.kind === 'rejected' ? outcome.issues.map(issueText).join('; ') : outcomeText(outcome)
}
