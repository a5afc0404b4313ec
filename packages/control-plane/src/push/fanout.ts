/**
 * Brings every link what it should run next. Links stand in one queue; each is looked at when its turn comes, so what it
 * is sent is the newest at that moment, however many releases were announced meanwhile. Everyone else gets a turn after
 * some thousand writes, and not before: whoever has the release answers at once, and to read the answers in between
 * would make the last ones wait several times as long. After a long pass they have twice as long as it took: those who
 * publish without a pause then get ahead of the nodes, which go on with the newest and are spared what came in between.
 */
import { encode, type ReleaseInfo } from 'midflight/protocol'
import { deliveredAt, nextStep, type Patience, type Releases, type Wish } from '../desired.ts'
import type { Roster } from '../roster.ts'
import type { NodeRecord, RolloutRecord } from '../store.ts'
import type { Channel, Channels } from './channels.ts'
import { confirm } from './confirm.ts'
import { textFrame, type Frames, type Package, type Wanted } from './frames.ts'
import type { HubLimits } from './limits.ts'
import type { Link } from './websocket.ts'

export type Desired = (releases: Releases, node: Pick<NodeRecord, 'uid' | 'labels'>) => Wish | null

export interface FanoutCounts {
  /** Releases written to sockets; `deltas` of them as a delta. */
  sent: number
  deltas: number
  bytes: number
  /** How often a node was passed over because it was still busy with the release before. */
  superseded: number
}

export interface Fanout {
  /** Puts it into the queue. */
  look(link: Link): void
  lookAtAll(channel: Channel<Link>): void
  isBusy(): boolean
  /** Links in the queue. */
  queued(): number
  /** Resolves when nobody is written to. */
  idle(): Promise<void>
  /** Resolves when the queue is empty. */
  done(): Promise<void>
  readonly counts: Readonly<FanoutCounts>
}

export interface FanoutOptions {
  readonly frames: Frames
  readonly channels: Channels<Link>
  readonly roster: Roster
  readonly desired: Desired
  readonly patience: Patience
  readonly limits: HubLimits
  nowMs(): number
  problem(error: unknown): void
}

/** When a release could not be made into a message, and is tried again. */
const retryMs = 10_000
/** A pass that took so long, in milliseconds, is followed by a rest; of at most so many. */
const longPassMs = 10
const maxRestMs = 200
const restSteps = 8

export function createFanout(options: FanoutOptions): Fanout {
  const { frames, channels, roster, limits } = options
  const queue = new Set<Link>()
  const counts: FanoutCounts = { sent: 0, deltas: 0, bytes: 0, superseded: 0 }
  let running: Promise<void> | undefined
  let last: { readonly wanted: Asked; readonly made: Package } | undefined
  /** All who are told a decision are told the same. */
  let decided: { readonly message: string; readonly frame: Buffer } | undefined
  let resting: Promise<void> | undefined
  let turnWrites = 0
  let turnBytes = 0

  function look(link: Link): void {
    queue.add(link)
    if (!resting) start()
  }

  function start(): void {
    running ??= run()
      .catch(options.problem)
      .finally(() => {
        running = undefined
        if (queue.size > 0 && !resting) start()
      })
  }

  async function run(): Promise<void> {
    // Whoever is put into the queue in this turn shares one pass.
    await Promise.resolve()
    while (queue.size > 0 && !resting) {
      const startedMs = options.nowMs()
      await pass()
      const tookMs = options.nowMs() - startedMs
      if (tookMs >= longPassMs) resting = rest(Math.min(2 * tookMs, maxRestMs))
    }
  }

  /** In steps: one of them may be over before those who have answered at once were all heard. */
  async function rest(ms: number): Promise<void> {
    for (let i = 0; i < restSteps; i++) await new Promise((resolve) => setTimeout(resolve, ms / restSteps))
    resting = undefined
    if (queue.size > 0) start()
  }

  async function pass(): Promise<void> {
    turnWrites = turnBytes = 0
    last = undefined
    const groups: { readonly wanted: Asked; readonly links: Link[] }[] = []
    let isFirst = true
    for (const link of taken()) {
      const wanted = next(link)
      if (wanted === undefined) continue
      const made = ready(wanted)
      if (made) {
        deliver(link, made)
        if (isLong()) await turn()
        continue
      }
      // After a publish nearly all want the same: it is made at once, and the others need not be asked twice.
      if (isFirst) {
        isFirst = false
        await deliverTo([link], wanted)
        continue
      }
      // Most want what the one before wants.
      const group = groups.findLast((one) => isSame(one.wanted, wanted))
      if (group) group.links.push(link)
      else groups.push({ wanted, links: [link] })
    }
    for (const { wanted, links } of groups) await deliverTo(links, wanted)
  }

  /** If it is at hand. Thousands ask for what the one before asked for. */
  function ready(wanted: Asked): Package | undefined {
    if (last !== undefined && isSame(last.wanted, wanted)) return last.made
    const made = wanted.release && frames.ready(wanted as Wanted)
    if (made) last = { wanted, made }
    return made
  }

  function taken(): Link[] {
    const links = [...queue]
    queue.clear()
    return links
  }

  /** Counted and not timed: on a busy machine time passes without anything being written. */
  function isLong(): boolean {
    return turnWrites >= limits.writesPerTurn || turnBytes >= limits.bytesPerTurn
  }

  /** Lets everyone else have a turn. */
  async function turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    turnWrites = turnBytes = 0
  }

  async function deliverTo(links: readonly Link[], wanted: Asked): Promise<void> {
    let made: Package
    try {
      made = await make(wanted)
    } catch (error) {
      options.problem(error)
      for (const link of links) link.dueAtMs = options.nowMs() + retryMs
      return
    }
    for (const link of links) {
      const now = next(link)
      if (now === undefined) continue
      if (!isSame(now, wanted)) queue.add(link)
      else {
        deliver(link, made)
        if (isLong()) await turn()
      }
    }
  }

  async function make(wanted: Asked): Promise<Package> {
    const release = wanted.release ?? (await channels.release(wanted.channel, wanted.number))
    if (!release) throw new Error(`${wanted.channel.config} has no release ${wanted.number}`)
    return await frames.get({ ...wanted, release })
  }

  /** What to send to a link now; `undefined`: nothing. */
  function next(link: Link): Asked | undefined {
    const { channel } = link
    const node = roster.node(link.uid)
    if (link.drainByMs > 0 && link.buffered === 0) link.drainByMs = 0
    if (link.state !== 'open' || !channel || !node || link.drainByMs > 0) return undefined
    const now = options.nowMs()
    const wanted = options.desired({ head: channel.head, rollout: channel.rollout }, node)
    if (wanted && link.inFlight && link.inFlight.number !== wanted.number && now < link.sentAtMs + limits.answerMs) {
      counts.superseded++
      link.dueAtMs = link.sentAtMs + limits.answerMs
      return undefined
    }
    const step = nextStep(wanted, node, link.delivery, now, options.patience)
    link.dueAtMs = step.kind === 'wait' ? step.untilMs : 0
    confirm(link, channel.confirming, node)
    if (step.kind === 'decide' && node.prepared) decide(link, node.prepared, step.decision, channel.rollout, now)
    if (step.kind !== 'send' || wanted === null) return undefined
    const release = channel.head?.number === wanted.number ? channel.head : channel.releases.get(wanted.number)
    // One that has it already and is to try again, or runs something else under its number, cannot use a delta.
    const base = link.wantsWhole || step.force ? null : link.holds
    const asked = { channel, number: wanted.number, release, base, force: step.force, revertMs: wanted.revertMs }
    const voteMs = channel.rollout?.strategy.prepareMs
    if (!wanted.prepare || voteMs === undefined) return asked
    return { ...asked, prepare: { epoch: wanted.epoch, voteMs } }
  }

  /** Tells a node what was decided about what it has prepared; again if it seems not to have heard. */
  function decide(
    link: Link,
    { number, digest, epoch }: NonNullable<NodeRecord['prepared']>,
    decision: 'commit' | 'abort',
    rollout: RolloutRecord | null,
    now: number,
  ): void {
    link.dueAtMs = now + options.patience.resendMs
    const message = encode({
      type: 'decision',
      number,
      digest,
      epoch: Math.max(epoch, rollout?.state.epoch ?? 0),
      decision,
    })
    if (link.decided?.message === message && now < link.decided.atMs + options.patience.resendMs) return
    link.decided = { message, atMs: now }
    if (message !== decided?.message) decided = { message, frame: textFrame(message) }
    link.sendFrame(decided.frame)
    link.delivery = deliveredAt({ number, digest }, link.delivery, now)
    turnWrites++
  }

  function deliver(link: Link, made: Package): void {
    const now = options.nowMs()
    link.delivery = deliveredAt(made.release, link.delivery, now)
    turnWrites++
    turnBytes += made.frame.length
    counts.sent++
    counts.bytes += made.frame.length
    if (made.base !== null) counts.deltas++
    if (!link.sendRelease(made)) {
      link.drainByMs = now + limits.drainMs + (made.frame.length / limits.drainBytesPerSecond) * 1000
    }
    link.dueAtMs = now + options.patience.resendMs
  }

  return {
    look,
    lookAtAll: (channel) => channel.links.forEach(look),
    isBusy: () => running !== undefined,
    queued: () => queue.size,
    async idle() {
      while (running) await running
    },
    async done() {
      while (running || (resting && queue.size > 0)) await (running ?? resting)
    },
    counts,
  }
}

interface Asked extends Omit<Wanted, 'release'> {
  readonly channel: Channel<Link>
  readonly number: number
  /** If it is at hand. */
  readonly release: ReleaseInfo | undefined
}

function isSame(a: Asked, b: Asked): boolean {
  return (
    a.channel === b.channel &&
    a.number === b.number &&
    a.force === b.force &&
    a.revertMs === b.revertMs &&
    a.prepare?.epoch === b.prepare?.epoch &&
    a.base?.number === b.base?.number &&
    a.base?.digest === b.base?.digest
  )
}
