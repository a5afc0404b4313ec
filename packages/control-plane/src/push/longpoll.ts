/**
 * Polls that wait for a release, as Consul's blocking queries do. A poll says which release it has; it is answered
 * when there is a newer one, when its time is over, or at once if its index is from a history that is no more.
 */
import type { ReleaseInfo, ReleaseMessage } from 'midflight/protocol'
import type { Principal } from '../access.ts'
import { desired, type Wanted } from '../desired.ts'
import type { Roster } from '../roster.ts'
import type { Channel, Channels, Waiting } from './channels.ts'
import type { Frames } from './frames.ts'
import type { HubLimits } from './limits.ts'

export interface PollRequest {
  readonly config: string
  readonly identity: Principal
  /** The newest release whose content the caller has; 0: none. */
  readonly index: number
  /** Milliseconds; 0: answer at once. No longer than `maxWaitMs` of the limits. */
  readonly waitMs: number
  /** The newest release as a whole, at once, whatever `index` says. */
  readonly whole: boolean
  /** `If-None-Match`, as it stands in the request. */
  readonly ifNoneMatch?: string | undefined
  /** Of the node, if the caller is one: it counts as heard of. */
  readonly uid?: string | undefined
  /** The caller is a node that makes ready what it is asked to, and votes. */
  readonly votes?: boolean
  /** Aborts when the caller has gone away. */
  readonly signal?: AbortSignal | undefined
}

/** `index`: the number of the newest release, 0 if there is none. `pollMs`: how often to poll. */
export type PollAnswer =
  /** `etag` with its quotes; `body`: a `release` message, JSON in UTF-8. */
  | {
      readonly kind: 'release'
      readonly index: number
      readonly etag: string
      readonly body: Buffer
      readonly pollMs: number
    }
  | { readonly kind: 'unchanged'; readonly index: number; readonly pollMs: number }
  /** There is none, or none that the caller may see. */
  | { readonly kind: 'unknown-config' }
  | { readonly kind: 'busy'; readonly retryAfterMs: number }

export interface LongPollOptions {
  readonly channels: Channels
  readonly roster: Pick<Roster, 'node'>
  readonly frames: Frames
  readonly limits: HubLimits
  pollMs(): number
  random(): number
}

export interface LongPolls {
  poll(request: PollRequest): Promise<PollAnswer>
  /** Wakes those who wait on the channel, a hundred at a time. */
  wake(channel: Channel): Promise<void>
  waiting(): number
  /** Answers all, and lets none wait any more. */
  close(): void
}

const wakesPerTurn = 100

interface Asked extends Wanted {
  /** Two-phase: only to be made ready. */
  readonly ballot?: ReleaseMessage['prepare']
}

export function createLongPolls({ channels, roster, frames, limits, pollMs, random }: LongPollOptions): LongPolls {
  const all = new Set<Waiting>()
  let isClosed = false

  async function poll(request: PollRequest): Promise<PollAnswer> {
    const channel = await channels.open(request.config)
    if (!channel) return { kind: 'unknown-config' }
    if (request.waitMs > 0 && !answersNow(channel, request)) await wait(channel, request)
    return await answer(channel, request)
  }

  function answersNow(channel: Channel, request: PollRequest): boolean {
    const { index, whole, signal } = request
    if (isClosed || whole || signal?.aborted === true) return true
    // An index that is higher than ours is from a history that was lost: the caller must know at once.
    return (wantedOf(channel, request)?.number ?? 0) > index || (channel.head?.number ?? 0) < index
  }

  /** What a caller is to run now, or to make ready; who does not vote, or has been asked, gets what was decided. */
  function wantedOf({ head, rollout }: Channel, { uid, votes }: PollRequest): Asked | null {
    const node = uid === undefined ? undefined : roster.node(uid)
    const wish = desired({ head, rollout }, node ?? { uid: uid ?? '', labels: {} })
    if (wish === null || rollout === null || !wish.prepare) return wish
    const { epoch, number, digest } = wish
    // What it has seen it answers, or has answered; its hello after a restart says what it still has seen.
    const isAsked = votes === true && node !== undefined && (node.seen ?? 0) < number
    return isAsked ? { number, digest, ballot: { epoch, voteMs: rollout.strategy.prepareMs } } : rollout.state.from
  }

  /** Until there is news, and never quite as long as it was asked for: those who came together shall not all return at once. */
  async function wait(channel: Channel, { waitMs, signal }: PollRequest): Promise<void> {
    const ms = Math.min(waitMs, limits.maxWaitMs) * (1 - random() / 8)
    await new Promise<void>((resolve) => {
      const waiting: Waiting = {
        wake() {
          clearTimeout(timer)
          signal?.removeEventListener('abort', waiting.wake)
          channel.polls.delete(waiting)
          all.delete(waiting)
          resolve()
        },
      }
      const timer = setTimeout(waiting.wake, ms)
      signal?.addEventListener('abort', waiting.wake)
      channel.polls.add(waiting)
      all.add(waiting)
    })
  }

  async function answer(channel: Channel, request: PollRequest): Promise<PollAnswer> {
    const { index, whole, ifNoneMatch } = request
    const wanted = wantedOf(channel, request)
    // One who is ahead of what is wanted of him now is told of the head: nothing of his is lost.
    const number = Math.max(wanted?.number ?? 0, Math.min(index, channel.head?.number ?? 0))
    const unchanged: PollAnswer = { kind: 'unchanged', index: number, pollMs: pollMs() }
    if (wanted === null || (!whole && wanted.number <= index)) return unchanged
    const etag = `"${wanted.digest}"`
    if (!whole && index === 0 && matches(ifNoneMatch, etag)) return unchanged
    const release = await channels.release(channel, wanted.number)
    if (!release) throw new Error(`${channel.config} has no release ${wanted.number}`)
    const base = whole || index === 0 ? undefined : await channels.release(channel, index)
    const prepare = wanted.ballot
    const { payload } = await frames.get({ release, base: base ? runsOf(base) : null, force: false, prepare })
    return { kind: 'release', index: number, etag, body: payload, pollMs: pollMs() }
  }

  return {
    poll,
    async wake(channel) {
      let woken = 0
      for (const waiting of [...channel.polls]) {
        waiting.wake()
        if (++woken % wakesPerTurn === 0) await new Promise((turn) => setImmediate(turn))
      }
    },
    waiting: () => all.size,
    close() {
      isClosed = true
      for (const waiting of [...all]) waiting.wake()
    },
  }
}

function runsOf({ number, digest }: ReleaseInfo): { number: number; digest: string } {
  return { number, digest }
}

function matches(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  return ifNoneMatch.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)
}
