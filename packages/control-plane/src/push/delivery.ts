/** What delivery offers to the rest of the control plane, and what it needs. How it is done is `hub.ts`. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Hello, Report, Welcome } from 'midflight/protocol'
import type { Principal } from '../access.ts'
import type { Patience } from '../desired.ts'
import type { Roster } from '../roster.ts'
import type { NodeRecord, Store } from '../store.ts'
import type { BusCounts, BusOptions } from './bus.ts'
import type { BusReports } from './bus-reports.ts'
import type { Desired } from './fanout.ts'
import type { HubLimits } from './limits.ts'
import type { PollAnswer, PollRequest } from './longpoll.ts'
import type { CloseReason } from './websocket.ts'

export interface HubOptions {
  readonly store: Store
  /** The fleet. Its lease is to be `leaseMs` of the limits. The hub writes it to the store and ends its leases. */
  readonly roster: Roster
  /** Which release a node should run. By default the head, for all. */
  readonly desired?: Desired
  readonly clock?: HubClock
  readonly limits?: Partial<HubLimits>
  readonly patience?: Patience
  /** Buses over which releases are announced besides; closed with the hub. `takesReports`: nodes may report over them. */
  readonly bus?: BusOptions & { readonly takesReports?: boolean }
  /** A node has said how it goes with a release. Must not throw. */
  readonly onReport?: (node: NodeRecord, report: Report) => void
  /** Something failed that nobody waits for: the store, or a release that cannot be sent. */
  readonly onProblem?: (error: unknown) => void
}

export interface HubClock {
  /** Of the wall, for people. */
  now(): Date
  /** Milliseconds; only goes forward. */
  monotonicMs(): number
}

/** `unknown-config` also if the caller may not know of it. */
export type Greeted =
  | { readonly kind: 'ok'; readonly welcome: Welcome }
  | { readonly kind: 'unknown-config' }
  /** The uid is that of a node of another config, for which the caller does not speak. */
  | { readonly kind: 'duplicate-node' }
/** `unknown-node`: it has to say hello first. `not-sent`: there is no such release. */
export type Told = 'ok' | 'unknown-config' | 'unknown-node' | 'not-sent'

export interface HubCounts {
  /** Now. */
  readonly connected: number
  readonly polling: number
  /** Sent and not confirmed. */
  readonly inFlight: number
  /** Waiting for their turn to be sent something. */
  readonly queued: number
  /** Releases that sockets have not taken yet, in bytes; the memory itself is shared. */
  readonly bufferedBytes: number
  readonly frameBytes: number
  /** Since the start. */
  readonly sent: number
  readonly deltas: number
  readonly bytes: number
  readonly superseded: number
  readonly reports: number
  readonly heartbeats: number
  readonly sentAway: number
  readonly closed: Readonly<Partial<Record<CloseReason, number>>>
}

export interface Hub {
  /** Takes over an upgrade request on `/v1/agent/connect` of a caller who has shown who they are. Answers it in every case. */
  attach(request: IncomingMessage, socket: Duplex, head: Buffer, identity: Principal): void
  poll(request: PollRequest): Promise<PollAnswer>
  /** What a node says by HTTP: who and how it is. */
  hello(hello: Hello, identity: Principal): Promise<Greeted>
  /** What a node says by HTTP: how it goes with a release. */
  report(config: string, uid: string, report: Report, identity: Principal): Promise<Told>
  /**
   * A release is durable, or a rollout has moved: brings to all who follow the config what they are to run now. Resolves
   * when it was written to every socket that is ready for it.
   */
  announce(config: string): Promise<void>
  isConnected(uid: string): boolean
  nodes(): HubCounts
  /** For each bus, in the order in which they were given. */
  buses(): readonly BusCounts[]
  /** Reports that came over buses; `undefined` where none are taken. */
  busReports(): BusReports['counts'] | undefined
  /** What nodes have said until now is in the store when this resolves. */
  flush(): Promise<void>
  /** Lets no one in, sends everyone away, spread over `reconnectMs`, and ends what is left after `deadlineMs`. */
  close(deadlineMs: number): Promise<void>
}
