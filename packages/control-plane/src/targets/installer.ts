/**
 * Who brings a package to nodes: the interface that Midflight's own agents and a foreign node-management API are behind.
 * What is brought to a set of nodes together is a subscription; its id is given by us, so that one whose making was
 * interrupted can be found again. When which of these is called is `deployment.ts`.
 */
import type { JsonObject } from 'midflight'
import type { TargetNode } from './node-directory.ts'
import type { Host, Target, TargetKind, Targets } from './targets.ts'

export interface Installer {
  /** Everything in one subscription. Called again with the same step it changes nothing. */
  create(id: string, wanted: Wanted, call: Call): Promise<void>
  /** The subscription is to be this from now on. Nodes that are not in `wanted` any more let go of it. */
  update(id: string, wanted: Wanted, call: Call): Promise<void>
  /** It works on its nodes again. */
  enable(id: string, call: Call): Promise<void>
  /** It stays on its nodes, and does not work. */
  disable(id: string, call: Call): Promise<void>
  /** Nodes look after what they hold by themselves, or do not. */
  inspect(id: string, on: boolean, call: Call): Promise<void>
  /** Its nodes stop it, clean up, and say so. */
  uninstall(id: string, call: Call): Promise<void>
  /** It is forgotten. Only after all of its nodes have let go. */
  delete(id: string, call: Call): Promise<void>
  /** `null`: there is no such subscription. */
  status(id: string, signal: AbortSignal): Promise<SubscriptionStatus | null>
}

/** What a subscription is to be. */
export interface Wanted {
  readonly config: string
  /** Of all that follows: says whether a node has this or something else. */
  readonly digest: string
  readonly scope: { readonly kind: TargetKind; readonly nodes: readonly Target[] }
  /** The nodes that the scope means now. */
  readonly nodes: readonly TargetNode[]
  readonly remoteHost: Host | null
  readonly package: Targets['package']
  readonly parameters: JsonObject
  /** Only these nodes have to do something about it; left out: all. */
  readonly only?: readonly string[]
  /** They have had it before, and could not: they are to try once more. */
  readonly again?: true
}

export interface Call {
  /** The same for the same step of the same deployment, also after a crash: what was done under it is not done again. */
  readonly key: string
  readonly signal: AbortSignal
}

export interface SubscriptionStatus {
  readonly enabled: boolean
  readonly inspected: boolean
  /** Of what it was given last; `null`: not all of it has arrived. */
  readonly digest: string | null
  readonly nodes: readonly NodeState[]
}

/**
 * - `success`: it has what it is to have
 * - `running`: it is at it
 * - `pending`: it has not begun: away, or not known yet
 * - `failed`: it could not
 * - `absent`: it has nothing of it
 */
export const nodeStates = ['success', 'running', 'pending', 'failed', 'absent'] as const

export interface NodeState {
  /** `key` of the node. */
  readonly node: string
  readonly state: (typeof nodeStates)[number]
  /** Why, where it is not `success`. */
  readonly detail?: string
  /** With `pending`: it is not here, and gets by itself what it is to have when it comes back. */
  readonly away?: true
}

/** What an installer could not do. */
export class InstallerError extends Error {
  override readonly name = 'InstallerError'
  /** Trying again may help: whether it happened may not be known. Otherwise it was refused, and did not happen. */
  readonly transient: boolean

  constructor(message: string, transient: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.transient = transient
  }
}
