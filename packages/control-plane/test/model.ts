/**
 * A model of the control plane, plain enough to be seen to be right, and the commands that are given to it and to the
 * real one alike. After each, both must agree on everything that can be asked.
 */
import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { applyMergePatch, digest, type Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import { verifyAudit } from '../src/audit.ts'
import { createConfig } from '../src/configs.ts'
import { domainOf, type Domain } from '../src/domain.ts'
import { approveDraft, createDraft, editDraft, publishDraft } from '../src/drafts.ts'
import { publish } from '../src/publish.ts'
import type { ConfigChange, Edit, PublishResult, RefusalCode } from '../src/release.ts'
import { RefusedError } from '../src/release.ts'
import { rollback } from '../src/rollback.ts'
import { StoreError, type Store } from '../src/store.ts'
import { openSqlite } from '../src/stores/sqlite.ts'

export const names = ['shop/a', 'shop/b'] as const
/** `shop/b` asks for one reviewer. */
const reviewersOf = (name: string): number => (name === 'shop/b' ? 1 : 0)

interface ModelRelease {
  readonly text: string
  readonly kind: ReleaseInfo['kind']
  applied: boolean
}

interface ModelDraft {
  readonly id: string
  readonly config: string
  readonly base: number
  content: Json
  plan: string
  open: boolean
  /** By plan. */
  readonly approved: Map<string, Set<string>>
}

export class Model {
  readonly releases = new Map<string, ModelRelease[]>(names.map((name) => [name, []]))
  readonly contents = new Map<string, Json[]>(names.map((name) => [name, []]))
  readonly answers = new Map<string, { readonly request: string; readonly answer: string }>()
  readonly drafts: ModelDraft[] = []

  head(name: string): number {
    return this.releases.get(name)?.length ?? 0
  }

  content(name: string): Json | undefined {
    return this.contents.get(name)?.at(-1)
  }

  add(name: string, content: Json, kind: ReleaseInfo['kind']): void {
    this.releases.get(name)?.push({ text: digest(content), kind, applied: false })
    this.contents.get(name)?.push(structuredClone(content) as Json)
  }
}

/** The real one, in a directory that survives it. */
export class Real {
  directory: string
  store: Store
  readonly used: string[]

  private constructor(directory: string, store: Store) {
    this.directory = directory
    this.store = store
    this.used = [directory]
  }

  static async open(): Promise<Real> {
    const directory = mkdtempSync(join(tmpdir(), 'midflight-model-'))
    const real = new Real(directory, await openSqlite({ directory, wholeEvery: 3 }))
    for (const name of names) {
      await createConfig(real.domain, { name, actor: 'root', reviewers: reviewersOf(name) })
    }
    return real
  }

  get domain(): Domain {
    return domainOf({ store: this.store })
  }

  /** What a process that is killed now would leave on the disk is what goes on; the old one is forgotten. */
  async crash(): Promise<void> {
    const next = mkdtempSync(join(tmpdir(), 'midflight-model-'))
    this.used.push(next)
    cpSync(this.directory, next, { recursive: true })
    await this.store.close()
    this.directory = next
    this.store = await openSqlite({ directory: next, wholeEvery: 3 })
  }
}

type Outcome = RefusalCode | PublishResult

async function outcomeOf(work: Promise<PublishResult>): Promise<Outcome> {
  try {
    return await work
  } catch (error) {
    if (error instanceof RefusedError) return error.code
    throw error
  }
}

const textOf = (outcome: Outcome): string =>
  typeof outcome === 'string'
    ? outcome
    : outcome.published.map(({ config, release, created }) => `${config} ${release.number} ${created}`).join(', ')

function same(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${what}: the real one says ${a}, the model ${b}`)
}

/** Everything that can be asked, asked of both. */
async function agree(model: Model, { domain, store }: Real): Promise<void> {
  for (const name of names) {
    const wanted = model.releases.get(name) ?? []
    const found = await store.read((read) =>
      read
        .releases(name, undefined, 1000)
        .reverse()
        .map(({ number, parent, digest: text, kind }) => {
          const content = read.content(name, number) as Json
          return [number, parent, text, kind, digest(content), read.appliedAt(name, number) !== undefined]
        }),
    )
    const expected = wanted.map(({ text, kind, applied }, i) => [i + 1, i === 0 ? null : i, text, kind, text, applied])
    same(found, expected, `the releases of ${name}`)
    const head = await store.read((read) => read.config(name)?.head)
    same(
      head,
      wanted.length === 0 ? null : { number: wanted.length, digest: wanted.at(-1)?.text },
      `the head of ${name}`,
    )
  }
  for (const draft of model.drafts) {
    const status = await store.read((read) => read.draft(draft.id)?.status)
    same(status, draft.open ? 'open' : 'published', `the draft ${draft.id}`)
  }
  same((await verifyAudit(domain)).kind, 'whole', 'the audit log')
}

interface Command extends fc.AsyncCommand<Model, Real> {
  toString(): string
}

function command(
  name: string,
  run: (model: Model, real: Real) => Promise<void>,
  check?: (model: Model) => boolean,
): Command {
  return {
    check: (model) => check?.(model) ?? true,
    async run(model, real) {
      await run(model, real)
      await agree(model, real)
    },
    toString: () => name,
  }
}

type Condition = 'any' | 'head' | 'stale'

interface Attempt {
  readonly name: string
  readonly value: Json
  readonly whole: boolean
  readonly condition: Condition
  readonly force: boolean
  readonly key: string | undefined
}

/** What the model says that a publish comes to, and does it. */
function expected(model: Model, { name, value, whole, condition, force, key }: Attempt, ifMatch: number): string {
  const request = JSON.stringify([name, value, whole, condition === 'any' ? null : ifMatch, force])
  const known = key === undefined ? undefined : model.answers.get(key)
  if (known !== undefined) return known.request === request ? known.answer : 'idempotency'
  const head = model.head(name)
  if (condition !== 'any' && ifMatch !== head) return 'conflict'
  const before = model.content(name)
  if (!whole && before === undefined) return 'invalid'
  const after = whole ? value : applyMergePatch(structuredClone(before) as Json, structuredClone(value) as Json)
  const created = force || head === 0 || digest(after) !== model.releases.get(name)?.at(-1)?.text
  if (created && reviewersOf(name) > 0) return 'review'
  if (created) model.add(name, after, 'publish')
  const answer = `${name} ${model.head(name)} ${created}`
  if (key !== undefined) model.answers.set(key, { request, answer })
  return answer
}

function started(real: Real, attempt: Attempt, ifMatch: number): Promise<PublishResult> {
  const { name, value, whole, condition, force, key } = attempt
  const edit: Edit = whole ? { content: structuredClone(value) } : { mergePatch: structuredClone(value) }
  const change: ConfigChange = {
    config: name,
    force,
    ...(condition === 'any' ? {} : { ifMatch: ifMatch === 0 ? 'none' : ifMatch }),
    ...edit,
  }
  return publish(real.domain, {
    author: 'ada',
    changes: [change],
    ...(key === undefined ? {} : { idempotencyKey: key }),
  })
}

const ifMatchOf = (model: Model, { name, condition }: Attempt): number =>
  condition === 'stale' ? model.head(name) + 1 : model.head(name)

function publishing(attempt: Attempt): Command {
  return command(`publish(${JSON.stringify(attempt)})`, async (model, real) => {
    const ifMatch = ifMatchOf(model, attempt)
    const outcome = await outcomeOf(started(real, attempt, ifMatch))
    same(textOf(outcome), expected(model, attempt, ifMatch), 'a publish')
  })
}

/** Killed while it publishes: what was acknowledged is there; what was not is there whole or not at all, and the key tells. */
function killed(attempt: Attempt & { readonly key: string }, turns: number): Command {
  return command(`killed while publishing(${JSON.stringify(attempt)}, ${turns})`, async (model, real) => {
    const ifMatch = ifMatchOf(model, attempt)
    let acknowledged: string | undefined
    const work = outcomeOf(started(real, attempt, ifMatch)).then(
      (outcome) => {
        acknowledged = textOf(outcome)
      },
      (error: unknown) => {
        // The dead have nothing to say, but this.
        if (!(error instanceof StoreError && error.code === 'closed')) throw error
      },
    )
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
    const heard = acknowledged
    const crash = real.crash()
    await work
    await crash
    const again = textOf(await outcomeOf(started(real, attempt, ifMatch)))
    same(again, expected(model, attempt, ifMatch), 'a publish that was sent again')
    if (heard !== undefined) same(again, heard, 'what was acknowledged before the crash')
  })
}

function rollingBack(name: string, pick: number, breaks: boolean): Command {
  return command(`rollback(${name}, ${pick}, ${breaks})`, async (model, real) => {
    const head = model.head(name)
    const to = head === 0 ? 1 : (pick % (head + 1)) + 1
    const breakGlass = breaks ? { breakGlass: { reason: 'the model says so' } } : {}
    const outcome = await outcomeOf(rollback(real.domain, { config: name, to, author: 'ada', ...breakGlass }))
    const target = model.releases.get(name)?.[to - 1]
    if (target === undefined) return same(outcome, 'not-found', 'a rollback')
    if (!target.applied && !breaks) return same(outcome, 'not-applied', 'a rollback')
    const created = target.text !== model.releases.get(name)?.at(-1)?.text
    if (created) model.add(name, model.contents.get(name)?.[to - 1] as Json, 'rollback')
    same(textOf(outcome), `${name} ${model.head(name)} ${created}`, 'a rollback')
  })
}

function applying(name: string, pick: number): Command {
  const ready = (model: Model): boolean => model.head(name) > 0
  const run = async (model: Model, real: Real): Promise<void> => {
    const number = (pick % model.head(name)) + 1
    const release = model.releases.get(name)?.[number - 1] as ModelRelease
    release.applied = true
    const attempt = { uid: 'n1', config: name, number, digest: release.text, status: 'APPLIED' as const, attempt: 1 }
    await real.store.transaction((tx) => tx.addAttempts([{ ...attempt, at: '2026-11-20T09:00:00.000Z' }]))
  }
  return command(`a node applies(${name}, ${pick})`, run, ready)
}

function drafting(name: string, content: Json): Command {
  return command(`draft(${name}, ${JSON.stringify(content)})`, async (model, real) => {
    const request = { config: name, author: 'ada', content: structuredClone(content) }
    const { draft, plan } = await createDraft(real.domain, request)
    const base = model.head(name)
    model.drafts.push({ id: draft.id, config: name, base, content, plan, open: true, approved: new Map() })
  })
}

type DraftStep = 'edit' | 'approve' | 'approve-own' | 'publish'

function reviewing(step: DraftStep, pick: number, by: string, content: Json): Command {
  const run = async (model: Model, real: Real): Promise<void> => {
    const draft = model.drafts[pick % model.drafts.length] as ModelDraft
    const stale = model.head(draft.config) !== draft.base
    const approvers = draft.approved.get(draft.plan) ?? new Set()
    const closed = draft.open ? undefined : 'not-found'
    if (step === 'publish') {
      const outcome = await outcomeOf(publishDraft(real.domain, { id: draft.id, by }))
      const missing = approvers.size < reviewersOf(draft.config) ? 'review' : undefined
      const refused = closed ?? missing ?? (stale ? 'conflict' : undefined)
      if (refused !== undefined) return same(outcome, refused, 'the publish of a draft')
      const created = draft.base === 0 || digest(draft.content) !== model.releases.get(draft.config)?.at(-1)?.text
      if (created) model.add(draft.config, draft.content, 'publish')
      draft.open = false
      return same(textOf(outcome), `${draft.config} ${model.head(draft.config)} ${created}`, 'the publish of a draft')
    }
    const work =
      step === 'edit'
        ? editDraft(real.domain, { id: draft.id, by: 'ada', content: structuredClone(content) })
        : approveDraft(real.domain, { id: draft.id, digest: draft.plan, by: step === 'approve' ? by : 'ada' })
    const outcome = await work.then(
      ({ plan }) => plan,
      (error: RefusedError) => error.code,
    )
    if (step === 'edit' && draft.open) {
      draft.content = content
      draft.plan = outcome
      return
    }
    const refused = closed ?? (step === 'approve-own' ? 'denied' : stale ? 'conflict' : undefined)
    if (refused === undefined) {
      // The real one forgets approvals of other plans when a new one comes.
      const kept = new Set([...approvers, by])
      draft.approved.clear()
      draft.approved.set(draft.plan, kept)
    }
    same(outcome, refused ?? draft.plan, `the ${step} of a draft`)
  }
  return command(`${step}(${pick}, ${by}, ${JSON.stringify(content)})`, run, (model) => model.drafts.length > 0)
}

const content: fc.Arbitrary<Json> = fc.dictionary(
  fc.constantFrom('a', 'b', 'c'),
  fc.oneof(fc.constantFrom<Json>(1, '1', true, [], {}), fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 })),
  { maxKeys: 3 },
)
const name = fc.constantFrom(...names)
const pick = fc.nat(50)
const key = fc.constantFrom('k1', 'k2', 'k3', 'k4', 'k5')
const attempt = fc.record({
  name,
  value: content,
  whole: fc.boolean(),
  condition: fc.constantFrom<Condition>('any', 'any', 'head', 'stale'),
  force: fc.boolean(),
  key: fc.option(key, { nil: undefined }),
})

export const commands = [
  attempt.map(publishing),
  fc.tuple(attempt, key, fc.nat(4)).map(([one, given, turns]) => killed({ ...one, key: given }, turns)),
  fc.tuple(name, pick, fc.boolean()).map((args) => rollingBack(...args)),
  fc.tuple(name, pick).map((args) => applying(...args)),
  fc.tuple(name, content).map((args) => drafting(...args)),
  fc
    .tuple(
      fc.constantFrom<DraftStep>('edit', 'approve', 'approve-own', 'publish'),
      pick,
      fc.constantFrom('bob', 'eve'),
      content,
    )
    .map((args) => reviewing(...args)),
  fc.constant(command('crash', async (_, real) => await real.crash())),
]
