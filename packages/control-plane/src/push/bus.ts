/**
 * Says on message buses that a config has moved, besides what goes to each node. A bus is a broadcast, and a rollout is
 * not: a release is put there whole only when every node is to run it, now and for good; else there is only word that
 * something has moved, and each node asks for what is its own. Nothing waits for a bus, and nothing fails with one: what
 * is to be said is looked up when its turn comes, so the newest is said, and what was lost is healed by polls.
 */
import type { Bus } from 'midflight/buses/bus'
import { busFormat, encode, releaseTopic, seal, toProve, type ReleaseInfo } from 'midflight/protocol'
import { desiredOfAll, fullJitterMs, type Releases, type Wish } from '../desired.ts'
import type { StoreRead } from '../store.ts'
import { hasText, type Frames } from './frames.ts'

export interface BusOptions {
  readonly buses: readonly Bus[]
  /** Releases of more bytes than this are announced only, and none is put there whole where it is 0. Default 262,144. */
  readonly maxWholeBytes?: number
  /** Ed25519, in base64url. */
  sign(bytes: Uint8Array): string
  /** To check that with: SPKI as DER in base64url. */
  publicKey(): string
  /** Something is known of a bus that was not: it is away, and why; it is back. Once for each reason and outage. */
  readonly onChange?: (bus: string, away: string | undefined) => void
  /** As `onChange`, of what nodes report over it: it is not heard, and why; it is heard again. */
  readonly onHeard?: (bus: string, unheard: string | undefined) => void
}

export interface BusCounts {
  readonly bus: string
  /** Of the last try. */
  readonly isAway: boolean
  /** Releases put there whole, and words that something has moved. */
  readonly whole: number
  readonly moved: number
  /** Tries that failed. */
  readonly failed: number
  /** Configs of which there is something to say. */
  readonly waiting: number
  /** Configs of which nothing was said, as too many waited. */
  readonly dropped: number
}

export interface BusPush {
  /** A config has moved. Returns at once. */
  moved(config: string): void
  counts(): readonly BusCounts[]
  /** What waits is not said any more. The buses themselves are closed. */
  close(): Promise<void>
}

export interface BusPushOptions extends BusOptions {
  readonly frames: Frames
  /** As it is on record now; from then on polls and sockets know of it too. `undefined`: there is no such config. */
  releases(config: string): Promise<(Releases & { readonly head: ReleaseInfo | null }) | undefined>
  read<T>(look: (read: StoreRead) => T): Promise<T>
  /** How long the nodes of a config are to spread their questions, milliseconds. */
  spreadMs(config: string): number
  /** Whether what nodes are to run follows from releases and rollouts alone. */
  readonly isUsual: boolean
  problem(error: unknown): void
}

const defaultWholeBytes = 256 * 1024
const maxWaiting = 10_000
/** Of one outage so many are told. */
const maxReasons = 5
const backOff = { firstMs: 500, maxMs: 15_000 }
/** Stands among configs for the first try, when there is nothing to say: no config has this name. */
const first = ''
/** The line before a message, and some to spare. */
const lineBytes = 512

export function createBusPush(options: BusPushOptions): BusPush {
  const speakers = options.buses.map((bus) => new Speaker(bus, options))
  return {
    moved(config) {
      for (const speaker of speakers) speaker.moved(config)
    },
    counts: () => speakers.map((speaker) => speaker.counts()),
    async close() {
      await Promise.all(speakers.map((speaker) => speaker.close()))
    },
  }
}

class Speaker {
  private readonly bus: Bus
  private readonly options: BusPushOptions
  /** Configs that have moved, the longest waiting first. What is said of them is looked up in their turn. */
  private readonly waiting = new Set<string>()
  /** What was said last of a config: most of what moves in a rollout changes nothing for nodes. */
  private readonly said = new Map<string, string>()
  private readonly tally = { whole: 0, moved: 0, failed: 0, dropped: 0 }
  /** Configs that could not be said, and how often in a row: one may be refused while others are not. */
  private readonly trouble = new Map<string, number>()
  /** Why, since there has been trouble. */
  private readonly reasons = new Set<string>()
  private isClosed = false
  private running: Promise<void> | undefined
  private wake: () => void = () => {}

  constructor(bus: Bus, options: BusPushOptions) {
    this.bus = bus
    this.options = options
    // A wrong address is known before somebody publishes.
    this.moved(first)
  }

  moved(config: string): void {
    if (this.isClosed) return
    this.waiting.add(config)
    if (this.waiting.size > maxWaiting) {
      const [oldest = ''] = this.waiting
      this.waiting.delete(oldest)
      this.trouble.delete(oldest)
      this.tally.dropped++
    }
    this.wake()
    this.start()
  }

  private start(): void {
    this.running ??= this.run().finally(() => {
      this.running = undefined
      if (this.waiting.size > 0 && !this.isClosed) this.start()
    })
  }

  counts(): BusCounts {
    const waiting = this.waiting.size - (this.waiting.has(first) ? 1 : 0)
    return { bus: this.bus.name, isAway: this.trouble.size > 0, ...this.tally, waiting }
  }

  async close(): Promise<void> {
    this.isClosed = true
    this.waiting.clear()
    this.trouble.clear()
    this.wake()
    // Ends what is being said.
    await this.bus.close()
    await this.running
  }

  private async run(): Promise<void> {
    // Whatever moves in this turn is said at once.
    await Promise.resolve()
    for (const config of this.waiting) {
      this.waiting.delete(config)
      try {
        await this.say(config)
        this.isSaid(config)
      } catch (error) {
        if (this.isClosed) return
        const failures = this.failed(config, error)
        // After those that have not been tried; it may be only this one that is refused.
        this.waiting.add(config)
        if (this.trouble.size >= this.waiting.size)
          await this.rest(fullJitterMs(failures, Math.random(), backOff) + backOff.firstMs)
      }
    }
  }

  private async say(config: string): Promise<void> {
    if (config === first) return await this.tryOut()
    const releases = await this.options.releases(config)
    if (!releases?.head) return
    const forAll = this.forAll(releases)
    const turn = turnOf(releases, forAll)
    if (this.said.get(config) === turn) return
    const whole = forAll && (await this.whole(releases.head))
    const body = whole ?? Buffer.from(this.word(config, releases.head.number))
    const proof = this.options.sign(toProve(busFormat, [], body))
    try {
      await this.bus.publish(releaseTopic(config), seal(busFormat, [], proof, body))
    } catch (error) {
      throw new BusAwayError(error)
    }
    this.tally[whole ? 'whole' : 'moved']++
    this.said.delete(config)
    this.said.set(config, turn)
    if (this.said.size > maxWaiting) this.said.delete(this.said.keys().next().value as string)
  }

  private async tryOut(): Promise<void> {
    try {
      await this.bus.reach()
    } catch (error) {
      throw new BusAwayError(error)
    }
  }

  private isSaid(config: string): void {
    if (!this.trouble.delete(config) || this.trouble.size > 0) return
    this.reasons.clear()
    this.options.onChange?.(this.bus.name, undefined)
  }

  /** The newest release, if all are to run it and none is to be asked whether it may stay. */
  private forAll({ head, rollout }: Releases): Wish | null {
    const wish = this.options.isUsual ? desiredOfAll({ head, rollout }) : null
    return wish !== null && wish.number === head?.number && wish.revertMs === null ? wish : null
  }

  /** The very bytes that polls are answered with; `undefined` if they are too many. */
  private async whole(release: ReleaseInfo): Promise<Uint8Array | undefined> {
    const { maxWholeBytes = defaultWholeBytes, frames, read } = this.options
    const limit = Math.min(maxWholeBytes, (this.bus.maxBytes ?? Infinity) - lineBytes)
    const isTooLong = await read((look) => hasText(look.content(release.config, release.number) ?? null, limit))
    if (isTooLong) return undefined
    const { payload } = await frames.get({ release, base: null, force: false })
    return payload.length <= limit ? payload : undefined
  }

  private word(config: string, number: number): string {
    return encode({ type: 'moved', config, number, spreadMs: this.options.spreadMs(config) })
  }

  /** @returns how often in a row, before this time. */
  private failed(config: string, error: unknown): number {
    this.tally.failed++
    const failures = this.trouble.get(config) ?? 0
    this.trouble.set(config, failures + 1)
    const why = error instanceof Error ? error.message : String(error)
    if (this.reasons.has(why) || this.reasons.size >= maxReasons) return failures
    this.reasons.add(why)
    if (error instanceof BusAwayError) this.options.onChange?.(this.bus.name, why)
    else this.options.problem(error)
    return failures
  }

  private async rest(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** Of the bus, and not of this control plane. */
class BusAwayError extends Error {
  override readonly name = 'BusAwayError'
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** All that decides what nodes without a connection are to run. */
function turnOf({ head, rollout }: Releases, forAll: Wish | null): string {
  const place = rollout && [
    rollout.number,
    rollout.state.phase === 'queued',
    // A step that is to be voted on begins before anything of it is decided.
    rollout.state.step,
    rollout.state.decided,
    rollout.state.rollback?.number,
  ]
  return [head?.number, forAll?.number, ...(place ?? [])].join(' ')
}
