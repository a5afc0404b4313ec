/** What a member of a fleet is given, and what it tells the program of itself: the shapes of `member.ts`. */
import type { Hello, PreparedRelease, ReportedHealth, Runs } from '../protocol/messages.ts'
import type { NodeStatus } from '../protocol/status.ts'
import type { Disk } from './disk.ts'
import type { LinkOptions, Via } from './link.ts'
import type { Policy } from './policy.ts'
import type { ProbeOptions } from './probe.ts'
import type { References } from './references.ts'
import type { Remote } from './remote.ts'

/** Of this node, as far as the fleet is concerned. */
export interface AgentStatus {
  readonly uid: string | undefined
  readonly via: Via
  readonly status: NodeStatus
  readonly runs: Runs | null
  /** The newest release that was heard of. */
  readonly seen: number | null
  /** What it holds ready, and waits for the decision on. */
  readonly prepared: PreparedRelease | undefined
  /** What its probe found last. */
  readonly health: ReportedHealth | undefined
  /** When the control plane was last heard; what runs may be older than what it has published since. */
  readonly heardAt: string | undefined
  /** Milliseconds since then, or since what was found on disk was saved; `undefined` if neither ever was. */
  readonly staleMs: number | undefined
  /** Why a restart may begin with an older release, or as a new node. */
  readonly diskProblem: string | undefined
}

export interface MemberOptions {
  readonly remote: Remote
  readonly ways: LinkOptions
  readonly policy: Policy
  readonly disk: Disk
  readonly identity: Pick<Hello, 'config' | 'labels' | 'agent'>
  /** `undefined`: references in a release are text like any other. */
  readonly references: References | undefined
  /** A process that dies within this after a commit has died of it; 0: it has not. */
  readonly poisonMs: number
  readonly probe: ProbeOptions | undefined
}
