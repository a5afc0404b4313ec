/** What nodes say by HTTP or over a bus: each request by itself, from a caller who is known. What it leads to is as with a socket. */
import type { Hello, Report, Welcome } from 'midflight/protocol'
import { decide, type Principal } from '../access.ts'
import type { Transition } from '../fleet.ts'
import type { Roster } from '../roster.ts'
import type { Store } from '../store.ts'
import type { Admission } from './admission.ts'
import type { Channel, Channels } from './channels.ts'
import type { Greeted, Told } from './delivery.ts'
import type { Doubts } from './doubts.ts'
import type { LongPolls, PollAnswer, PollRequest } from './longpoll.ts'

export interface RequestParts {
  readonly store: Store
  readonly roster: Roster
  readonly channels: Channels
  readonly polls: LongPolls
  readonly admission: Admission
  readonly doubts: Doubts
  /** How long to stay away, milliseconds, while nobody is let in; 0: come. */
  closedForMs(): number
  /** Whether the uid is somebody else's. */
  isForeign(uid: string, config: string, identity: Principal): boolean
  welcome(channel: Channel, auditHead: string, uid: string, identity: Principal): Welcome
  noted(transition: Transition | undefined): void
  /** Something is to be written soon. */
  changed(): void
  /** @returns whether the node is known. */
  take(uid: string, report: Report): boolean
  readonly tally: { reports: number; sentAway: number }
}

export interface Requests {
  poll(request: PollRequest): Promise<PollAnswer>
  hello(hello: Hello, identity: Principal): Promise<Greeted>
  report(config: string, uid: string, report: Report, identity: Principal): Promise<Told>
}

export function createRequests(parts: RequestParts): Requests {
  const { store, roster, channels, polls, tally } = parts

  async function channelFor(config: string, identity: Principal): Promise<Channel | undefined> {
    return decide(identity, 'connect', config) === 'allowed' ? await channels.open(config) : undefined
  }

  return {
    async poll(request) {
      const { uid = '', config, identity } = request
      if (decide(identity, 'connect', config) !== 'allowed') return { kind: 'unknown-config' }
      const retryAfterMs = parts.closedForMs() || parts.admission.ask(polls.waiting())
      if (retryAfterMs > 0) {
        tally.sentAway++
        return { kind: 'busy', retryAfterMs }
      }
      const node = roster.node(uid)
      if (node?.config === config && !parts.isForeign(uid, config, identity)) {
        parts.noted(roster.heartbeat(uid, node))
      }
      return await polls.poll(request)
    },
    async hello(hello, identity) {
      const { uid, config, runs } = hello
      const channel = await channelFor(config, identity)
      if (!channel) return { kind: 'unknown-config' }
      const auditHead = await store.read((read) => read.auditHead().hash)
      if (parts.isForeign(uid, config, identity)) return { kind: 'duplicate-node' }
      const known = roster.node(uid)
      const [says, knows] = [runs?.number ?? 0, known?.config === config ? (known.runs?.number ?? 0) : 0]
      if (!parts.doubts.areOver(uid, says, knows) && says < knows) roster.heartbeat(uid, hello)
      else await roster.hello(hello)
      parts.changed()
      return { kind: 'ok', welcome: parts.welcome(channel, auditHead, uid, identity) }
    },
    async report(config, uid, report, identity) {
      const channel = await channelFor(config, identity)
      if (!channel) return 'unknown-config'
      if (roster.node(uid)?.config !== config || parts.isForeign(uid, config, identity)) return 'unknown-node'
      const release = await channels.release(channel, report.number)
      const wasSent = release !== undefined && (release.digest === report.digest || report.attempt === 0)
      if (!wasSent) return 'not-sent'
      tally.reports++
      return parts.take(uid, report) ? 'ok' : 'unknown-node'
    },
  }
}
