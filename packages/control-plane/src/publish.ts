/**
 * THE path of every new release, top to bottom; publish, rollback, drafts and batches all end here:
 *
 *   seen this key before? its answer → read the heads → make the contents → validate them → in one transaction: key and
 *   heads again, number, sign, add, audit, remember the answer
 *
 * What takes long happens outside the transaction, and the transaction looks whether it still holds; if not, once more
 * from the top. Of two who race for one head, one gets it, and the other is refused or starts over: never is one lost.
 */
import { digest, type Json } from 'midflight'
import { mismatchText, releaseInfo, type ReleaseInfo } from 'midflight/protocol'
import { signed, type Domain } from './domain.ts'
import { edited, editValue, isPatch } from './edit.ts'
import { activeFreeze } from './freeze.ts'
import { answerOf, keyOf, remember, type Key } from './idempotency.ts'
import {
  ConflictError,
  requireHead,
  RefusedError,
  type ConfigChange,
  type Edit,
  type Head,
  type OfflineSignature,
  type Published,
  type PublishResult as Result,
} from './release.ts'
import { queued } from './rollout-state.ts'
import { verifyRelease } from './signing.ts'
import type { ConfigRecord, RolloutAdvice, RolloutRecord, StoreRead, StoreTx } from './store.ts'
import { instant } from './strategies/all-at-once.ts'
import type { StrategySpec } from './strategies/spec.ts'
import type { Strategy } from './strategy.ts'
import { requireValid } from './validation.ts'

export interface PublishRequest {
  /** One for each config, 1 to 100: all are released, or none. */
  readonly changes: readonly ConfigChange[]
  readonly author: string
  /** Whose idempotency keys these are; by default the author's. */
  readonly caller?: string
  /** 1 to 255 visible ASCII characters. The same key with the same request gets the answer of the first time. */
  readonly idempotencyKey?: string
  /** How each config's release is brought to its nodes. Without one: to all at once. */
  readonly rolloutOf?: (config: string) => RolloutOrder | undefined
  /** Publishes without the reviewers that the config asks for. The reason goes into the audit log. */
  readonly breakGlass?: { readonly reason: string }
}

/** What a publish is answered; `release.ts` has its fields. */
export type PublishResult = Result

/**
 * Publishes all changes or none. Resolves when they survive a power cut (I3). If it rejects with a StoreError of the
 * code `io`, or its answer is lost, it is unknown whether it happened: the same request under the same key tells (I4).
 * @throws RefusedError, ConflictError, IdempotencyError: nothing was changed. StoreError.
 */
export async function publish(domain: Domain, request: PublishRequest): Promise<Result> {
  const { changes, author, caller, idempotencyKey, breakGlass } = request
  if (!Array.isArray(changes) || changes.length < 1 || changes.length > maxChanges) {
    throw new RefusedError('invalid', `has ${changes?.length ?? 'no'} changes; want 1 to ${maxChanges}`)
  }
  if (new Set(changes.map(({ config }) => config)).size < changes.length) {
    throw new RefusedError('invalid', 'names a config twice; want one change for each')
  }
  return await release(domain, {
    author,
    actor: author,
    caller,
    idempotencyKey,
    breakGlass,
    reviewed: false,
    parts: changes.map((change) => ({
      ...change,
      kind: 'publish',
      edit: change,
      rollout: request.rolloutOf?.(change.config),
    })),
  })
}

const maxChanges = 100
const maxTries = 1000
/** Of a config, behind the one under way: each is looked at whole by everyone who publishes, and they come to an end one by one. */
const maxWaitingRollouts = 100

/** What is to be released, whoever asked for it and how. */
export interface Intent {
  /** Whose work it is. */
  readonly author: string
  /** Who released it: for the audit log. */
  readonly actor: string
  /** Whose idempotency key it is; by default the actor's. */
  readonly caller?: string | undefined
  readonly parts: readonly Part[]
  /** The reviewers that the configs ask for have been heard. */
  readonly reviewed: boolean
  /** The contents were in use a moment ago: what is wanted of new ones since is no reason to refuse them. */
  readonly wasInUse?: true
  readonly idempotencyKey?: string | undefined
  readonly breakGlass?: { readonly reason: string } | undefined
  /** Further conditions, looked at in the transaction before anything is written. Throws to refuse. */
  readonly require?: (tx: StoreRead) => void
  /** What else belongs to it, written in the same transaction. */
  readonly also?: (tx: StoreTx, published: readonly Published[]) => void
}

/** How a release is brought to the nodes, and what was said of its risk. */
export interface RolloutOrder {
  readonly strategy: Strategy
  readonly advice?: RolloutAdvice
  /** As it was asked for, where somebody did: part of what an idempotency key stands for. */
  readonly spec?: StrategySpec
  /** Only where a rollout of the config is under way, behind which it waits; else it is as if nothing was said. */
  readonly onlyIfBusy?: boolean
  /** Refused while a rollout of the config is under way, unless the glass is broken. */
  readonly alone?: boolean
}

export interface Part extends Pick<ConfigChange, 'config' | 'ifMatch' | 'message' | 'force' | 'signed'> {
  /** Left out: to all at once, in the place of what is under way. `none`: somebody else says who is to run it. */
  readonly rollout?: RolloutOrder | 'none' | undefined
  readonly kind: ReleaseInfo['kind']
  readonly rollbackOf?: number
  readonly edit: Edit
}

/** A part with the content it comes to. */
interface Made {
  readonly part: Part
  readonly config: ConfigRecord
  readonly content: Json
  readonly digest: string
}

/** @throws as `publish` does, and what `intent.require` throws. */
export async function release(domain: Domain, intent: Intent): Promise<Result> {
  requireText(intent.author, 'author', 1, 256)
  for (const { message } of intent.parts) requireText(message ?? '', 'message', 0, 4096)
  if (intent.breakGlass !== undefined) requireText(intent.breakGlass.reason, 'reason', 1, 4096)
  const { actor, caller = actor, idempotencyKey } = intent
  const key = idempotencyKey === undefined ? undefined : keyOf(caller, idempotencyKey, requestOf(intent))
  let made: readonly Made[] = []
  for (let tries = 0; tries < maxTries; tries++) {
    const seen = await domain.store.read((read) => answerOf(read, key) ?? look(read, intent))
    if (!('heads' in seen)) return seen
    made = await Promise.all(seen.heads.map(async (head, i) => await make(domain, head, made[i])))
    if (intent.wasInUse !== true) for (const { config, content } of made) await requireValid(config, content)
    const result = await domain.store.transaction((tx) => answerOf(tx, key) ?? commit(domain, tx, intent, made, key))
    if (result !== 'moved') return result
  }
  throw new RefusedError('busy', `others publish faster than this could be tried, ${maxTries} times; try again later`)
}

/** The request as it is remembered under its key. */
function requestOf({ author, parts }: Intent): Json {
  const changes = parts.map(({ config, ifMatch, message, force, signed: by, kind, rollbackOf, edit, rollout }) => ({
    config,
    ifMatch: ifMatch ?? null,
    message: message ?? '',
    force: force ?? false,
    signed: by === undefined ? null : { ...by },
    kind,
    rollbackOf: rollbackOf ?? null,
    edit: editValue(edit),
    ...(typeof rollout === 'object' && rollout.spec && { strategy: rollout.spec as unknown as Json }),
  }))
  return [author, ...changes]
}

interface Seen {
  readonly part: Part
  readonly config: ConfigRecord
  /** Of the head; `undefined` before the first release. */
  readonly content: Json | undefined
}

function look(read: StoreRead, intent: Intent): { readonly heads: readonly Seen[] } {
  intent.require?.(read)
  return {
    heads: intent.parts.map((part) => {
      const config = configIn(read, part.config)
      requireHead(headOf(config), part.ifMatch)
      return { part, config, content: config.head === null ? undefined : read.content(config.name, config.head.number) }
    }),
  }
}

export function configIn(read: StoreRead, name: string): ConfigRecord {
  const config = read.config(name)
  if (config === undefined) throw new RefusedError('not-found', `there is no config ${JSON.stringify(name)}`)
  return config
}

export function headOf(config: ConfigRecord): Head {
  return { config: config.name, number: config.head?.number ?? 0, digest: config.head?.digest ?? null }
}

/** @param before what it came to the last time, which holds if it does not depend on the head. */
async function make(domain: Domain, { part, config, content: head }: Seen, before: Made | undefined): Promise<Made> {
  editValue(part.edit)
  if (before !== undefined && !isPatch(part.edit)) return { ...before, config }
  const content = await edited(config.schema, head, part.edit, domain.limits)
  return { part, config, content, digest: digest(content, head) }
}

/** All checks first, so that `moved` leaves nothing behind. */
function commit(
  domain: Domain,
  tx: StoreTx,
  intent: Intent,
  made: readonly Made[],
  key: Key | undefined,
): Result | 'moved' {
  intent.require?.(tx)
  const now = made.map(({ part }) => configIn(tx, part.config))
  const moved = made.some(({ part, config }, i) => {
    const current = now[i] as ConfigRecord
    requireHead(headOf(current), part.ifMatch)
    const demandsMoved = !sameDemands(config, current)
    return demandsMoved || (isPatch(part.edit) && current.head?.number !== config.head?.number)
  })
  if (moved) return 'moved'
  const planned = made.map((one) => ({ part: one.part, ...next(domain, tx, intent, one) }))
  const published = planned.map(({ part, release: info, created, content }) => {
    if (created) tx.addRelease(info, content)
    if (created) addRollout(domain, tx, intent, part, info)
    return { config: info.config, release: info, created }
  })
  for (const one of published) if (one.created) audit(domain, tx, intent, one, published)
  intent.also?.(tx, published)
  if (key !== undefined) remember(tx, key, published, domain.now())
  return { published, replayed: false }
}

/** In the same transaction as the release: a head whose rollout is not on record would go to everyone. */
function addRollout(domain: Domain, tx: StoreTx, { actor, breakGlass }: Intent, part: Part, info: ReleaseInfo): void {
  const { config, number, digest: content, parent } = info
  const order = part.rollout
  if (order === 'none') return
  const open = tx.rollouts.open(config)
  const isFree = open.length === 0
  if (order?.alone === true && !isFree && breakGlass === undefined) {
    throw new RefusedError(
      'state',
      `a rollout of ${config} is under way; to publish at once in its place, break the glass`,
    )
  }
  if ((order === undefined || order.onlyIfBusy === true) && isFree) return
  const { strategy } = order ?? { strategy: instant }
  if (strategy.whenBusy === 'wait') requireRoom(info, open)
  const before = parent === null || !isFree ? undefined : releaseIn(tx, config, parent)
  tx.rollouts.add({
    config,
    number,
    digest: content,
    strategy,
    by: actor,
    createdAt: domain.now().toISOString(),
    startedAt: null,
    endedAt: null,
    state: queued(before === undefined ? null : { number: before.number, digest: before.digest }),
    ...(order?.advice && { advice: order.advice }),
    ...((breakGlass !== undefined || part.kind === 'rollback') && { urgent: true }),
  })
}

/** What takes the place of others needs none. @throws RefusedError `busy` */
function requireRoom({ config, number }: ReleaseInfo, [first, ...waiting]: readonly RolloutRecord[]): void {
  if (first === undefined || waiting.length < maxWaitingRollouts) return
  const found = `${waiting.length} rollouts of ${config} wait behind that of release ${first.number} already`
  const ways = `midflight rollout abort ${config} gives up the one under way, with a number one that waits`
  const holds = `release ${number - 1} is still the newest`
  throw new RefusedError(
    'busy',
    `${found}, and no more may; ${holds}. Publish again when some are over; ${ways}; with whenBusy "supersede" this one takes the place of all of them`,
  )
}

/** The release that follows, or the head, if it holds the same already. */
function next(domain: Domain, tx: StoreTx, intent: Intent, made: Made): Published & { readonly content: Json } {
  const { part, content } = made
  const config = configIn(tx, part.config)
  const head = headOf(config)
  if (head.digest === made.digest && part.force !== true) {
    return { config: config.name, release: releaseIn(tx, config.name, head.number), created: false, content }
  }
  if (config.reviewers > 0 && !intent.reviewed && intent.breakGlass === undefined) {
    throw new RefusedError(
      'review',
      `${config.name} is published with the approval of ${config.reviewers}; make a draft, or break the glass`,
    )
  }
  requireThawed(domain, config, intent, part)
  const info: ReleaseInfo = {
    config: config.name,
    number: head.number + 1,
    digest: made.digest,
    parent: head.number === 0 ? null : head.number,
    createdAt: part.signed?.createdAt ?? domain.now().toISOString(),
    author: intent.author,
    message: part.message ?? '',
    kind: part.kind,
    ...(part.rollbackOf === undefined ? {} : { rollbackOf: part.rollbackOf }),
  }
  const wanted = part.signed === undefined ? signed(domain, info) : signedElsewhere(domain, head, info, part.signed)
  return { config: config.name, release: wanted, created: true, content }
}

/** Nothing holds up the way back. @throws RefusedError `frozen` */
function requireThawed(domain: Domain, { name, rollout }: ConfigRecord, { breakGlass }: Intent, { kind }: Part): void {
  if (rollout === undefined || breakGlass !== undefined || kind === 'rollback') return
  const freeze = activeFreeze(rollout.freezes, domain.now())
  if (freeze === undefined) return
  const until = `is frozen until ${freeze.endsAt} (${freeze.reason})`
  throw new RefusedError('frozen', `${name} ${until}; a draft can be made now and published then, or break the glass`)
}

/** @throws ConflictError if it was signed for another place in the sequence; RefusedError if the signature is not good. */
function signedElsewhere(domain: Domain, head: Head, info: ReleaseInfo, by: OfflineSignature): ReleaseInfo {
  if (by.number !== info.number) throw new ConflictError(head, by.number === 1 ? 'none' : by.number - 1)
  const release: ReleaseInfo = { ...info, signature: { keyId: by.keyId, alg: 'Ed25519', value: by.value } }
  const wrong = releaseInfo.mismatch(release, [])
  if (wrong !== undefined) throw new RefusedError('signature', mismatchText(wrong))
  const verdict = verifyRelease(release, domain.keys?.trusted() ?? new Map())
  if (verdict === 'good') return release
  const why =
    verdict === 'unknown-key' ? `is by key ${by.keyId}, which is not trusted here` : 'does not fit the release'
  throw new RefusedError('signature', `the signature ${why}`)
}

export function releaseIn(read: StoreRead, config: string, number: number): ReleaseInfo {
  const release = read.release(config, number)
  if (release === undefined) throw new RefusedError('not-found', `${config} has no release ${number}`)
  return release
}

function audit(domain: Domain, tx: StoreTx, intent: Intent, one: Published, all: readonly Published[]): void {
  const { number, digest: content, parent, kind, author, message, rollbackOf } = one.release
  const at = domain.now().toISOString()
  const entry = { at, actor: intent.actor, config: one.config }
  const others = all.filter((other) => other.created && other !== one).map(({ config }) => config)
  tx.appendAudit({
    ...entry,
    action: kind,
    detail: {
      number,
      digest: content,
      parent,
      author,
      message,
      ...(rollbackOf === undefined ? {} : { rollbackOf }),
      ...(others.length === 0 ? {} : { together: others }),
    },
  })
  if (intent.breakGlass !== undefined) {
    tx.appendAudit({ ...entry, action: 'break-glass', detail: { number, reason: intent.breakGlass.reason } })
  }
}

function sameDemands(a: ConfigRecord, b: ConfigRecord): boolean {
  if (a.schema === b.schema && a.rules === b.rules) return true
  const demands = ({ schema, rules }: ConfigRecord): string => digest([schema, rules as unknown as Json])
  return demands(a) === demands(b)
}

/** @throws RefusedError `invalid` */
export function requireText(value: unknown, name: string, min: number, max: number): asserts value is string {
  const found = typeof value !== 'string' ? 'is no text' : value.length < min ? 'is empty' : undefined
  const wrong = found ?? tooMuch(value as string, max)
  if (wrong !== undefined) throw new RefusedError('invalid', `the ${name} ${wrong}`)
}

function tooMuch(value: string, max: number): string | undefined {
  if (!value.isWellFormed()) return 'has half of a surrogate pair; want Unicode text'
  return Array.from(value).length > max ? `has more than ${max} characters` : undefined
}
