/** What is delivered: one channel per config that somebody follows, with its newest release and its followers. */
import type { ReleaseInfo } from 'midflight/protocol'
import type { Store } from '../store.ts'
import type { Waiting } from './longpoll.ts'
import type { Link } from './websocket.ts'

export interface Channel {
  readonly config: string
  /** `null` before the first release. */
  head: ReleaseInfo | null
  readonly links: Set<Link>
  readonly polls: Set<Waiting>
  /** Releases that somebody is to have or holds, besides the head. */
  readonly releases: Map<number, ReleaseInfo>
}

export interface Channels {
  /** `undefined`: there is no such config. Looks into the store if nobody follows it yet. */
  open(config: string): Promise<Channel | undefined>
  get(config: string): Channel | undefined
  /** A release of the config, or `undefined` if there is none of this number. */
  release(channel: Channel, number: number): Promise<ReleaseInfo | undefined>
  /** Takes note of a release; `false` if it is not newer than what is known. */
  announce(release: ReleaseInfo): boolean
}

const maxReleases = 64

export function createChannels(store: Store): Channels {
  const channels = new Map<string, Channel>()
  const opening = new Map<string, Promise<Channel | undefined>>()

  async function load(config: string): Promise<Channel | undefined> {
    const found = await store.read((read) => {
      const record = read.config(config)
      return record && { head: record.head === null ? null : (read.release(config, record.head.number) ?? null) }
    })
    if (!found) return channels.get(config)
    const channel = channels.get(config) ?? added(config)
    if (found.head !== null) moveTo(channel, found.head)
    return channel
  }

  function added(config: string): Channel {
    const channel: Channel = { config, head: null, links: new Set(), polls: new Set(), releases: new Map() }
    channels.set(config, channel)
    return channel
  }

  function moveTo(channel: Channel, release: ReleaseInfo): boolean {
    if (channel.head !== null && release.number <= channel.head.number) return false
    channel.head = release
    keep(channel, release)
    return true
  }

  function keep(channel: Channel, release: ReleaseInfo): void {
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
    announce: (release) => moveTo(channels.get(release.config) ?? added(release.config), release),
  }
}
