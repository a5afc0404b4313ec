/** The bounds of delivery, and what they are by default. Times are in milliseconds. */
import type { AdmissionLimits } from './admission.ts'
import type { FrameLimits } from './frames.ts'

export interface HubLimits extends AdmissionLimits, FrameLimits {
  /** How often a node says that it is there, and after which silence it counts as away. */
  readonly heartbeatMs: number
  readonly leaseMs: number
  /** How often nodes poll besides; longer for a fleet so large that it would come to more than `pollsPerSecond`. */
  readonly pollMs: number
  readonly pollsPerSecond: number
  /** The longest wait of a long poll. */
  readonly maxWaitMs: number
  /** A connection that has not said hello by then is closed. */
  readonly helloMs: number
  /** A node that has not confirmed a release by then is sent it again. */
  readonly answerMs: number
  /** A reader must have taken a release after `drainMs` and a second for each `drainBytesPerSecond` of it. */
  readonly drainMs: number
  readonly drainBytesPerSecond: number
  /** How long the first of two nodes with one uid has to show that it is alive. */
  readonly probeMs: number
  /** After a close, how long the other side has to answer. */
  readonly closeMs: number
  /** Messages of a node: so many at once, and per second. Each KiB beyond the first counts as one more. */
  readonly messageBurst: number
  readonly messagesPerSecond: number
  /** Frames that one message may come in. */
  readonly maxFragments: number
  /** After so many writes to sockets, or so many bytes, everything else gets a turn: some 100 ms. */
  readonly writesPerTurn: number
  readonly bytesPerTurn: number
  /** What nodes report is written to the store after this time: once, however much they said meanwhile. */
  readonly recordMs: number
  /** What follows from that, if this process should crash, is written after this time. */
  readonly recordAllMs: number
}

export const defaultHubLimits: HubLimits = {
  heartbeatMs: 30_000,
  leaseMs: 90_000,
  pollMs: 60_000,
  pollsPerSecond: 500,
  maxWaitMs: 60_000,
  helloMs: 10_000,
  answerMs: 30_000,
  drainMs: 30_000,
  drainBytesPerSecond: 4_096,
  probeMs: 2_000,
  closeMs: 2_000,
  messageBurst: 1_000,
  messagesPerSecond: 500,
  maxFragments: 64,
  writesPerTurn: 10_000,
  bytesPerTurn: 128 * 1024 * 1024,
  recordMs: 500,
  recordAllMs: 10_000,
  connectsPerSecond: 3_000,
  connectBurst: 2_000,
  maxConnections: 50_000,
  keptFrames: 32,
  keptFrameBytes: 256 * 1024 * 1024,
}
