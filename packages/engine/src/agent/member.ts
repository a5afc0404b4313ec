/**
 * A node of the fleet inside this process: carries out what `node.ts` decides, with the disk, the engine and the link.
 * The door for users is `index.ts`.
 */
import { errorText, pause } from '../deadline.ts'
import type { Outcome } from '../outcome.ts'
import { maxMessageBytes } from '../protocol/codec.ts'
import type { Heartbeat, Hello, ReleaseMessage, Report, Runs } from '../protocol/messages.ts'
import { cut, detailOf, statusOf, type NodeStatus } from '../protocol/status.ts'
import { SourceError, type Document } from '../source.ts'
import type { ComponentSupport } from '../status.ts'
import type { ReloadRequest } from '../trigger.ts'
import { toldOf } from './components.ts'
import type { Disk } from './disk.ts'
import { Link, type LinkEnd, type Via } from './link.ts'
import {
  desired,
  isNews,
  newNode,
  next,
  nodeStatusOf,
  runsOf,
  type Held,
  type NodeCommand,
  type NodeEvent,
  type NodeState,
} from './node.ts'
import type { Policy } from './policy.ts'
import { receive } from './receive.ts'
import type { References } from './references.ts'
import type { Remote } from './remote.ts'
import { StateDir } from './state-dir.ts'

/** Of this node, as far as the fleet is concerned. */
export interface AgentStatus {
  readonly uid: string | undefined
  readonly via: Via
  readonly status: NodeStatus
  readonly runs: Runs | null
  /** The newest release that was heard of. */
  readonly seen: number | null
  /** When the control plane was last heard; what runs may be older than what it has published since. */
  readonly heardAt: string | undefined
  /** Milliseconds since then, or since what was found on disk was saved; `undefined` if neither ever was. */
  readonly staleMs: number | undefined
  /** Why a restart may begin with an older release, or as a new node. */
  readonly diskProblem: string | undefined
}

export interface MemberOptions {
  readonly remote: Remote
  readonly policy: Policy
  readonly disk: Disk
  readonly identity: Pick<Hello, 'config' | 'labels' | 'agent'>
  /** `undefined`: references in a release are text like any other. */
  readonly references: References | undefined
}

/** How long a load before the first connection waits for the control plane, if there is something on disk, and if not. */
const lookMs = { withDisk: 5_000, without: 20_000 }
/** How often a process that found its state directory in use looks whether it still is. */
const claimAgainMs = 2_000
/** Of a `hello`, for what is neither identity nor components: a release, a status, the head of the audit log. */
export const besidesIdentityBytes = 4096

export class Member implements LinkEnd {
  readonly #options: MemberOptions
  readonly #link: Link
  readonly #stateDir: StateDir
  #components: Hello['components']
  #node: NodeState = newNode
  #begun: Promise<void> | undefined
  #open = false
  #asked: { readonly force: boolean } | undefined
  #wake = () => {}
  #retry: NodeJS.Timeout | undefined
  #document: { readonly of: Held; readonly document: Document } | undefined
  #warned: string | undefined
  #onWarning: ((message: string) => void) | undefined
  readonly #warnings: string[] = []

  constructor(options: MemberOptions) {
    this.#options = options
    this.#link = new Link(options.remote, this)
    this.#stateDir = new StateDir(options.disk, options.policy, (message) => this.warn(message))
  }

  /** The newest verified release. @throws SourceError, transient, if there is none. */
  async load(signal: AbortSignal): Promise<Document> {
    await this.#begin()
    let why = 'it has no release yet'
    if (!this.#open) {
      try {
        await this.#link.look(desired(this.#node) ? lookMs.withDisk : lookMs.without, signal)
      } catch (error) {
        signal.throwIfAborted()
        why = errorText(error)
        const held = desired(this.#node)
        if (held) this.warn(`starts from release ${held.release.number}, found on disk: ${why}`)
      }
    }
    signal.throwIfAborted()
    const held = desired(this.#node)
    if (!held) {
      const { config } = this.#options.remote
      const message = `nothing was received of ${config} from ${this.#options.remote.url.origin}: ${why}`
      throw new SourceError([{ code: 'unreadable', path: [], message }], { transient: true })
    }
    this.#asked = undefined
    this.#on({ kind: 'loading' })
    // Each time, as what is referred to may have changed.
    if (this.#options.references) return this.#options.references.document(held, signal)
    if (this.#document?.of !== held) this.#document = { of: held, document: documentOf(held) }
    return this.#document.document
  }

  settled(outcome: Outcome | undefined): void {
    const status = outcome && statusOf(outcome)
    if (!outcome || !status) return this.#on({ kind: 'unsettled' })
    this.#on({ kind: 'settled', status, detail: detailOf(outcome), mayRetry: mayRetry(outcome) })
  }

  tellComponents(support: readonly ComponentSupport[]): void {
    const identityBytes = Buffer.byteLength(JSON.stringify(this.#options.identity))
    const { components, whole } = toldOf(support, maxMessageBytes - besidesIdentityBytes - identityBytes)
    if (!whole) {
      const what = components ? 'coarser than they are' : 'not at all'
      this.warn(`the components do not fit into a message: the fleet is told of them ${what}`)
    }
    this.#components = components
  }

  async *requests(
    signal: AbortSignal,
    onWarning?: (message: string) => void,
  ): AsyncGenerator<ReloadRequest, void, undefined> {
    this.#onWarning = onWarning
    for (const message of this.#warnings.splice(0)) onWarning?.(message)
    const onAbort = () => this.#wake()
    signal.addEventListener('abort', onAbort)
    try {
      await this.#beginSoon(signal)
      if (signal.aborted) return
      this.#open = true
      await this.#link.open()
      while (!signal.aborted) {
        if (this.#asked) {
          const { force } = this.#asked
          this.#asked = undefined
          yield { trigger: 'control-plane', ...(force && { force: true }) }
        } else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Not when `requests` ends: what a commit that still runs comes to is to be kept and reported first. */
  async close(): Promise<void> {
    this.#on({ kind: 'close' })
    await this.#begun?.catch(() => {}) // said by whoever began
    await this.#stateDir.saved
    await this.#link.close()
    await this.#stateDir.release()
  }

  status(): AgentStatus {
    const { contactAt, via } = this.#link
    const since = contactAt ?? this.#stateDir.savedAt
    return {
      uid: this.#stateDir.uid,
      via,
      status: nodeStatusOf(this.#node),
      runs: runs(this.#node),
      seen: this.#node.seen,
      heardAt: contactAt?.toISOString(),
      staleMs: since && Math.max(0, Date.now() - since.getTime()),
      diskProblem: this.#stateDir.problem,
    }
  }

  hello(): Hello {
    const { uid = '', auditHead } = this.#stateDir
    return {
      type: 'hello',
      uid,
      ...this.#options.identity,
      runs: runs(this.#node),
      seen: this.#node.seen,
      status: nodeStatusOf(this.#node),
      ...(this.#components && { components: this.#components }),
      ...(auditHead !== undefined && { auditHead }),
    }
  }

  heartbeat(): Heartbeat {
    return { type: 'heartbeat', runs: runs(this.#node), status: nodeStatusOf(this.#node) }
  }

  index(): number {
    return desired(this.#node)?.release.number ?? 0
  }

  hear(message: ReleaseMessage): void {
    // Stale ones and duplicates cost no hashing.
    if (!isNews(this.#node, message.release.number, message.force)) {
      const known = desired(this.#node)?.release
      if (known?.number !== message.release.number || known.digest === message.release.digest) return
    }
    const bases = [desired(this.#node), runsOf(this.#node)].filter((held) => held !== null)
    this.#on(receive(message, this.#options.remote.config, this.#options.policy, bases))
  }

  head(number: number | null, auditHead?: string): void {
    if (auditHead !== undefined) this.#stateDir.auditHead = auditHead
    this.#on({ kind: 'head', number })
  }

  warn(message: string): void {
    if (this.#onWarning) this.#onWarning(message)
    else if (this.#warnings.length < 100) this.#warnings.push(message)
  }

  /** Reads what is on disk, once. @throws SourceError while another process has it. */
  #begin(): Promise<void> {
    this.#begun ??= this.#restore().catch((error: unknown) => {
      this.#begun = undefined
      throw new SourceError([{ code: 'unreadable', path: [], message: errorText(error) }], { transient: true })
    })
    return this.#begun
  }

  /** The engine may have started from elsewhere: this node joins as soon as it can. */
  async #beginSoon(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        return await this.#begin()
      } catch (error) {
        this.#warnOnce(errorText(error))
        await pause(claimAgainMs, signal)
      }
    }
  }

  async #restore(): Promise<void> {
    const held = await this.#stateDir.restore()
    if (held) this.#on({ kind: 'restored', held })
  }

  #on(event: NodeEvent): void {
    const [state, commands] = next(this.#node, event)
    this.#node = state
    for (const command of commands) this.#do(command)
  }

  #do(command: NodeCommand): void {
    switch (command.kind) {
      case 'ask':
        this.#asked = { force: command.force || this.#asked?.force === true }
        return this.#wake()
      case 'report':
        return this.#report(command)
      case 'ask-whole':
        return this.#link.askWhole(command.number)
      case 'save':
        return this.#stateDir.save(command.held)
      case 'retry-later': {
        clearTimeout(this.#retry)
        const ms = command.minMs + Math.random() * (command.maxMs - command.minMs)
        // By itself it does not keep a process alive whose start has failed.
        this.#retry = setTimeout(() => this.#on({ kind: 'retry-due' }), ms).unref()
        return
      }
      case 'no-retry':
        return clearTimeout(this.#retry)
      case 'warn':
        // Every poll may say so again.
        return this.#warnOnce(command.message)
    }
  }

  #report({ release, status, attempt, detail }: NodeCommand & { kind: 'report' }): void {
    const report: Report = { type: 'report', ...release, status, attempt, at: new Date().toISOString() }
    // In order, and not before what it speaks of is kept.
    void this.#stateDir.saved.then((problem) => {
      const all = [detail, status === 'APPLIED' ? problem : undefined].filter((part) => part !== undefined).join('\n')
      this.#link.report(all === '' ? report : { ...report, detail: cut(all) })
    })
  }

  #warnOnce(message: string): void {
    if (message !== this.#warned) this.warn(message)
    this.#warned = message
  }
}

function runs(node: NodeState): Runs | null {
  const release = runsOf(node)?.release
  return release ? { number: release.number, digest: release.digest } : null
}

function documentOf({ release, content }: Held): Document {
  const origin = { file: `${release.config} release ${release.number}` }
  return { config: content, origin: () => origin }
}

/** A check that said no says no again (K4); what was away may come back. */
function mayRetry(outcome: Outcome): boolean {
  return (
    outcome.kind === 'rolled-back' ||
    outcome.kind === 'degraded' ||
    (outcome.kind === 'rejected' && outcome.phase === 'load')
  )
}
