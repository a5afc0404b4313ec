/**
 * What agents and the control plane say to each other, version `midflight.v1`: JSON texts, each with a `type`. The same
 * over a WebSocket and over HTTP. Written down for other languages in `docs/protocol.md`; a test pins the schemas.
 * How a message becomes a frame is `codec.ts`. Pure and browser-safe.
 */
import type { PatchOperation } from '../to-patch.ts'
import { configText, digestText, releaseInfo, releaseNumber, timeText } from './release.ts'
import * as shape from './shape.ts'
import { maxDetailLength, nodeStatus } from './status.ts'

/** The WebSocket subprotocol. */
export const subprotocol = 'midflight.v1'

const name = shape.text(256)
const uid = shape.text(36, {
  like: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/,
  words: 'a UUID in lower case',
})
/** Of a hash, as hexadecimal digits, with or without a word before it. */
const auditHead = shape.text(128)

const runs = shape.record({ number: releaseNumber, digest: digestText })
/** The release that a node runs. */
export type Runs = shape.Of<typeof runs>

/** Of a coordinator: a higher one has taken over from the lower. */
const epoch = shape.integer(1)

/** What a node holds ready, and waits for the decision on. */
const prepared = shape.record({ number: releaseNumber, digest: digestText, epoch })
export type PreparedRelease = shape.Of<typeof prepared>

/** What a node's own probe found, and the release that it ran then. Holds no secrets. */
const health = shape.record({
  ok: shape.oneOf(true, false),
  release: releaseNumber,
  detail: shape.optional(shape.text(512)),
})
export type ReportedHealth = shape.Of<typeof health>

const hello = shape.record({
  /** Of this process, kept on disk: the same after a restart. */
  uid,
  config: configText,
  labels: shape.dictionary(shape.text(64), name, 64),
  agent: shape.record({ name, version: shape.text(64) }),
  runs: shape.nullable(runs),
  /** The newest release that it has heard of. */
  seen: shape.nullable(releaseNumber),
  status: nodeStatus,
  /** How the `detail` of the report with this status begins, which may come later, as it may go another way. */
  detail: shape.optional(shape.text(512)),
  components: shape.optional(
    shape.list(
      shape.record({
        name,
        hot: shape.oneOf('full', 'partial', 'none'),
        restartFor: shape.list(shape.text(1024), 256),
      }),
      256,
    ),
  ),
  /** The newest head of the audit log that it was given: whoever rewrites the log is found out. */
  auditHead: shape.optional(auditHead),
  /** Asks at the same time what was decided about it. */
  prepared: shape.optional(prepared),
  health: shape.optional(health),
})

const heartbeat = shape.record({
  runs: shape.nullable(runs),
  status: nodeStatus,
  /** Asks at the same time what was decided about it. */
  prepared: shape.optional(prepared),
  health: shape.optional(health),
})

const report = shape.record({
  number: releaseNumber,
  digest: digestText,
  status: nodeStatus,
  /** Why it is not `APPLIED`, for people; holds no secrets. */
  detail: shape.optional(shape.text(maxDetailLength)),
  /** How often this node has tried this release, counting from 1; 0 before the first. */
  attempt: shape.integer(0, 1_000_000),
  /** By the node's clock. */
  at: timeText,
  /** With `PREPARED`: of the coordinator that asked. */
  epoch: shape.optional(epoch),
})

/** Please send this release whole: the delta does not fit. */
const whole = shape.record({ number: releaseNumber })

const milliseconds = (min: number) => shape.integer(min, 86_400_000)

const welcome = shape.record({
  heartbeatMs: milliseconds(100),
  /** A node that was not heard of for this long counts as away. */
  leaseMs: milliseconds(100),
  /** How often to poll besides. */
  pollMs: milliseconds(100),
  /** The newest release that this node should run; `null` if there is none yet. */
  head: shape.nullable(releaseNumber),
  auditHead: shape.optional(auditHead),
  /** Where the control plane speaks over a bus too. */
  bus: shape.optional(
    shape.record({
      /** Ed25519, SPKI as DER in base64url: what it says on the bus is signed with it. */
      key: shape.text(128),
      /** Base64url: this node proves with it what it says on the bus. For nobody else. */
      reportKey: shape.optional(shape.text(128)),
    }),
  ),
})

const maxDepth = 100
const maxNodes = 10_000_000
const content = shape.json(maxDepth, maxNodes)
const pointer = shape.text(65_536)
const operation: shape.Shape<PatchOperation> = shape.tagged('op', {
  add: shape.record({ path: pointer, value: content }),
  replace: shape.record({ path: pointer, value: content }),
  test: shape.record({ path: pointer, value: content }),
  remove: shape.record({ path: pointer }),
  move: shape.record({ from: pointer, path: pointer }),
  copy: shape.record({ from: pointer, path: pointer }),
})

const release = shape.record({
  release: releaseInfo,
  body: shape.tagged('kind', {
    whole: shape.record({ content }),
    /** RFC 6902, onto the content of release `base`. */
    delta: shape.record({ base: releaseNumber, baseDigest: digestText, patch: shape.list(operation, 1_000_000) }),
  }),
  /** Try it again now, although it is the one that failed or is in use. */
  force: shape.optional(shape.oneOf(true)),
  /** Only make it ready, say so or why not within `voteMs`, and wait for the `decision`. */
  prepare: shape.optional(shape.record({ epoch, voteMs: milliseconds(1) })),
  /** Go back to what ran before, unless it is confirmed within this. */
  revertMs: shape.optional(milliseconds(100)),
})

/** What becomes of a release that the node has prepared. The same one may come again. */
const decision = shape.record({
  number: releaseNumber,
  digest: digestText,
  epoch,
  decision: shape.oneOf('commit', 'abort'),
})

/** A release that is to be reverted without it stays. */
const confirm = shape.record({ number: releaseNumber, digest: digestText })

/** On a bus: what nodes are to run has changed, for some of them or for all. Whoever holds less asks. */
const moved = shape.record({
  config: configText,
  /** The newest release. */
  number: releaseNumber,
  /** Ask at a random time within this: others ask too. */
  spreadMs: shape.integer(0, 86_400_000),
})

const pace = shape.record({
  pollMs: milliseconds(100),
  /** Close, and come back after a random time up to this. */
  reconnectAfterMs: shape.optional(shape.integer(0, 86_400_000)),
})

const error = shape.record({ code: shape.text(64), message: shape.text(1024) })

export const agentMessage = shape.tagged('type', { hello, heartbeat, report, whole })
export const serverMessage = shape.tagged('type', { welcome, release, decision, confirm, pace, error })

/** What a control plane says on a bus, to all who listen. */
export const busMessage = shape.tagged('type', { release, moved })

/** From an agent to the control plane. */
export type AgentMessage = shape.Of<typeof agentMessage>
/** From the control plane to an agent. */
export type ServerMessage = shape.Of<typeof serverMessage>
export type BusMessage = shape.Of<typeof busMessage>
export type Message = AgentMessage | ServerMessage | BusMessage

type Named<M, T> = Extract<M, { readonly type: T }>
export type Hello = Named<AgentMessage, 'hello'>
export type Heartbeat = Named<AgentMessage, 'heartbeat'>
export type Report = Named<AgentMessage, 'report'>
export type Whole = Named<AgentMessage, 'whole'>
export type Welcome = Named<ServerMessage, 'welcome'>
export type ReleaseMessage = Named<ServerMessage, 'release'>
export type ReleaseBody = ReleaseMessage['body']
export type Decision = Named<ServerMessage, 'decision'>
export type Confirm = Named<ServerMessage, 'confirm'>
export type Pace = Named<ServerMessage, 'pace'>
export type ErrorMessage = Named<ServerMessage, 'error'>
