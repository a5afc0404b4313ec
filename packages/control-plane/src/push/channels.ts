/** What is delivered: one channel per config that somebody follows, with its newest release and its followers. */
import type { ReleaseInfo } from 'midflight/protocol'
import { handedOver } from '../course.ts'
import type { RolloutRecord, Store, StoreRead } from '../store.ts'
import { confirmingIn } from './confirm.ts'

/** A poll that waits. */
export interface Waiting {
  /** Wakes it; what it is answered it finds out itself. */
  wake(): void
}

/** `L` is a connection; what that is does not matter here. */
export interface Channel<L = unknown> {
  readonly config: string
  /** `null` before the first release. */
  head: ReleaseInfo | null
  /** The rollout under way, as it is on record. */
  rollout: RolloutRecord | null
  /** Rollouts whose nodes wait for a word that the release stays. */
  confirming: readonly RolloutRecord[]
  readonly links: Set<L>
  readonly polls: Set<Waiting>
  /** Releases that somebody is to have or holds, besides the head. */
  readonly releases: Map<number, ReleaseInfo>
}

export interface Channels<L = unknown> {
  /** `undefined`: there is no such config. Looks into the store if nobody follows it yet. */
  open(config: string): Promise<Channel<L> | undefined>
  get(config: string): Channel<L> | undefined
  /** A release of the config, or `undefined` if there is none of this number. */
  release(channel: Channel<L>, number: number): Promise<ReleaseInfo | undefined>
  /** Looks up what is on record now. `undefined`: nobody follows the config, and who comes will look for himself. */
  refresh(config: string): Promise<Channel<L> | undefined>
}

const maxReleases = 64

/** One that is held in the queue has not begun, and so has not on record what nodes are to run until then. */
function placed(read: StoreRead, rollout: RolloutRecord | undefined): RolloutRecord | null {
  if (rollout === undefined) return null
  const { config, number, state } = rollout
  if (state.phase !== 'queued' || state.from !== null) return rollout
  return { ...rollout, state: { ...state, from: handedOver(read, config, number) } }
}

export function createChannels<L>(store: Store): Channels<L> {
  const channels = new Map<string, Channel<L>>()
  const opening = new Map<string, Promise<Channel<L> | undefined>>()

  async function load(config: string): Promise<Channel<L> | undefined> {
    const found = await store.read((read) => {
      const record = read.config(config)
      if (record === undefined) return undefined
      const head = record.head === null ? null : (read.release(config, record.head.number) ?? null)
      // Of one moment: a head whose rollout is not seen would go to everyone.
      const rollout = placed(read, read.rollouts.open(config)[0])
      return { head, rollout, confirming: confirmingIn(read, config, rollout, head) }
    })
    if (!found) return channels.get(config)
    const channel = channels.get(config) ?? added(config)
    if (found.head !== null) moveTo(channel, found.head)
    channel.rollout = found.rollout
    channel.confirming = found.confirming
    return channel
  }

  function added(config: string): Channel<L> {
    const channel: Channel<L> = {
      config,
      head: null,
      rollout: null,
      confirming: [],
      links: new Set(),
      polls: new Set(),
      releases: new Map(),
    }
    channels.set(config, channel)
    return channel
  }

  function moveTo(channel: Channel<L>, release: ReleaseInfo): void {
    if (channel.head !== null && release.number <= channel.head.number) return
    channel.head = release
    keep(channel, release)
  }

  function keep(channel: Channel<L>, release: ReleaseInfo): void {
    channel.releases.set(release.number, release)
    for (const number of channel.releases.keys()) {
      if (channel.releases.size <= maxReleases) break
      channel.releases.delete(number)
    }
  }

  return {
    open(config) {
      const known = channels.get(config)
      if (known && known.links.size + known.polls.size > 0) return Promise.resolve(known)
      let promise = opening.get(config)
      if (!promise) {
        promise = load(config).finally(() => opening.delete(config))
        opening.set(config, promise)
      }
      return promise
    },
    get: (config) => channels.get(config),
    async release(channel, number) {
      const known = channel.head?.number === number ? channel.head : channel.releases.get(number)
      if (known) return known
      const found = await store.read((read) => read.release(channel.config, number))
      if (found) keep(channel, found)
      return found
    },
    refresh: async (config) => (channels.has(config) ? await load(config) : undefined),
  }
}
