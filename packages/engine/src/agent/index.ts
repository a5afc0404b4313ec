/** The door to `midflight/agent`: a process that takes its configuration from a control plane, and is in its fleet. */
import { randomUUID } from 'node:crypto'
import type { TlsOptions, Token } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import type { Outcome } from '../outcome.ts'
import { configNameProblem } from '../protocol/names.ts'
import { maxMessageBytes } from '../protocol/codec.ts'
import { agentMessage, type Hello } from '../protocol/messages.ts'
import { mismatchText } from '../protocol/shape.ts'
import type { Bus } from '../buses/bus.ts'
import { inRange } from '../range.ts'
import type { AttachedEngine, Source } from '../source.ts'
import type { Trigger } from '../trigger.ts'
import { diskIn, type Disk } from './disk.ts'
import { noNotes } from './notes.ts'
import { besidesIdentityBytes, Member } from './member.ts'
import type { AgentStatus } from './member-shapes.ts'
import { probeSettings, type ProbeOptions } from './probe.ts'
import { anyRelease, policyOf, type VerifyOptions } from './policy.ts'
import { referencesOf, type ReferenceOptions } from './references.ts'
import { isExposed, type Remote } from './remote.ts'

export type { Via } from './link.ts'
export type { AgentStatus } from './member-shapes.ts'
export type { ProbeOptions } from './probe.ts'
export type { Check } from './probe-check.ts'
export { packages, type InstalledPackage, type PackagesOptions } from './packages.ts'
export type { VerifyOptions } from './policy.ts'
export type { ReferenceOptions } from './references.ts'
export type { TlsOptions, Token } from '../credentials.ts'

export interface ControlPlaneOptions {
  /** Of the control plane: `https://midflight.example:8710`. A path is kept, for those behind a proxy. */
  readonly url: string
  /** The config to run: `shop/gateway/prod`. */
  readonly config: string
  /** What this node is, for choosing nodes by: at most 64; keys of at most 64, values of at most 256 characters. */
  readonly labels?: Readonly<Record<string, string>>
  /** Sent as `Authorization: Bearer`. A function is asked before each connection and request. */
  readonly token?: Token
  /**
   * Where the uid and the release in use are kept (mode 0700). Without it the node is a new one after each restart,
   * and does not start from here while the control plane is away. For one process at a time: a second one is refused.
   */
  readonly stateDir?: string
  /** Of the program, as the fleet shows it, at most 256 characters. Default `midflight`. */
  readonly name?: string
  /** Of the program, at most 64 characters. */
  readonly version?: string
  /** A function is asked at each connection: so certificates that were renewed in their files are taken. */
  readonly tls?: TlsOptions | (() => TlsOptions)
  /** Whose signatures releases must have. Without it any release of the config is taken. */
  readonly verify?: VerifyOptions
  /**
   * Resolves `${file:db-password}` and `${ZONE}` in releases, within what is allowed here. Without it they are text
   * like any other.
   */
  readonly references?: ReferenceOptions
  /**
   * A process that dies within this time after it took a release, without a clean close, starts from the release before
   * it, reports it as poisoned, and does not take it again. Milliseconds, 0 to 86,400,000, default 30,000; 0: never.
   * Needs a `stateDir`.
   */
  readonly poisonMs?: number
  /**
   * Releases are heard over it too: `natsBus({ … })`, `redisBus({ … })`, `kafkaBus({ … })`, with the prefix that the control plane
   * has. For one call of `controlPlane()`; closed with it.
   */
  readonly bus?: Bus
  /** How a node without a WebSocket reports what became of a release. Default `http`; `bus` needs a `bus`. */
  readonly acks?: 'http' | 'bus'
  /** `false`: no connection is held to the control plane; a bus tells when to ask it, or else polls wait there. */
  readonly websocket?: boolean
  /** Asks whether this program is well, again and again and after each commit; the fleet is told. */
  readonly probe?: ProbeOptions
}

export interface ControlPlane extends Source, Trigger {
  attached(engine: AttachedEngine): void
  settled(outcome: Outcome | undefined): void
  /** Called by the engine when it closes. Leaves no socket, timer or request behind. */
  close(): Promise<void>
  /** How this node stands to the fleet. */
  status(): AgentStatus
}

/**
 * A source and trigger for `start({ sources: [controlPlane({ … })] })`: gives the newest verified release, asks for a
 * reload when a newer one came, and reports what became of it. One engine to a call.
 * @throws TypeError at the call, for an option that cannot be used.
 */
export function controlPlane(options: ControlPlaneOptions): ControlPlane {
  const { config } = options
  const url = urlOf(options.url)
  const problem = configNameProblem(config)
  if (problem !== undefined) throw new TypeError(`controlPlane(): config ${JSON.stringify(config)} ${problem}`)
  const identity = {
    config,
    labels: { ...options.labels },
    agent: { name: options.name ?? 'midflight', version: options.version ?? '' },
  }
  checkIdentity(identity)
  const disk = options.stateDir === undefined ? noDisk() : diskIn(options.stateDir, config)
  const policy = options.verify ? policyOf(options.verify) : anyRelease
  const remote: Remote = { url, config, token: options.token, tls: options.tls, agent: agentFor(url, options.tls, 4) }
  const references = options.references && referencesOf(options.references)
  const { probe } = options
  if (probe) probeSettings(probe)
  const poisonMs = checkedPoisonMs(options.poisonMs)
  const { bus, acks = 'http', websocket = true } = options
  if (acks === 'bus' && !bus) throw new TypeError('controlPlane(): acks is "bus", and there is no bus')
  const ways = { bus, websocket, reportsByBus: acks === 'bus' }
  const member = new Member({ remote, ways, policy, disk, identity, references, poisonMs, probe })
  if (options.token !== undefined && isExposed(url)) {
    member.warn(`the token goes to ${url.origin} in the clear; want https`)
  }
  return {
    name: `control-plane ${config}`,
    load: (signal) => member.load(signal),
    requests: (signal, onWarning) => member.requests(signal, onWarning),
    attached: (engine) => member.attach(engine),
    settled: (outcome) => member.settled(outcome),
    close: () => member.close(),
    ...(references && { resolve: references.resolve }),
    status: () => member.status(),
  }
}

function checkedPoisonMs(ms = 30_000): number {
  return inRange('controlPlane()', 'poisonMs', ms, 0, 86_400_000)
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`controlPlane(): url is ${JSON.stringify(text)}; want http:// or https://`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new TypeError('controlPlane(): url holds a user name or password; want them in "token"')
  }
  return url
}

function checkIdentity(identity: Pick<Hello, 'config' | 'labels' | 'agent'>): void {
  const hello: Hello = { type: 'hello', uid: randomUUID(), ...identity, runs: null, seen: null, status: 'UNSET' }
  const wrong = agentMessage.mismatch(hello, [])
  if (wrong) throw new TypeError(`controlPlane(): ${mismatchText(wrong)}`)
  const bytes = Buffer.byteLength(JSON.stringify(hello))
  const most = maxMessageBytes - besidesIdentityBytes
  if (bytes > most) throw new TypeError(`controlPlane(): the labels make a message of ${bytes} bytes; want ${most}`)
}

function noDisk(): Disk {
  const uid = randomUUID()
  return {
    claim: async () => {},
    uid: async () => ({ uid }),
    load: async () => ({
      held: undefined,
      before: undefined,
      savedAt: undefined,
      auditHead: undefined,
      ballot: undefined,
      notes: noNotes,
      damaged: [],
    }),
    save: async () => {},
    keep: async () => {},
    note: async () => {},
    release: async () => {},
  }
}
