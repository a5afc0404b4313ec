/**
 * A node of the fleet inside this process: carries out what `node.ts` decides, with the disk, the engine and the link.
 * The door for users is `index.ts`.
 */
import { errorText, pause } from '../deadline.ts'
import type { Outcome } from '../outcome.ts'
import { maxMessageBytes } from '../protocol/codec.ts'
import type { Confirm, Decision, Heartbeat, Hello, ReleaseMessage, Report, Runs } from '../protocol/messages.ts'
import { cut, detailOf, statusOf, type NodeStatus } from '../protocol/status.ts'
import { SourceError, type AttachedEngine, type Document } from '../source.ts'
import type { ReloadRequest } from '../trigger.ts'
import { toldOf } from './components.ts'
import { Documents } from './documents.ts'
import { HealthOfNode } from './health.ts'
import { Link, type LinkEnd } from './link.ts'
import type { AgentStatus, MemberOptions } from './member-shapes.ts'
import { desired, isNews, newNode, next, nodeStatusOf, runsOf } from './node.ts'
import type { Held, NodeCommand, NodeEvent, NodeState, Refused } from './node-state.ts'
import { receive } from './receive.ts'
import { StateDir } from './state-dir.ts'
import { Trial } from './trial.ts'
import { mayRetry, Voting } from './voting.ts'

/** How long a load before the first connection waits for the control plane, if there is something on disk, and if not. */
const lookMs = { withDisk: 5_000, without: 20_000 }
/** How often a process that found its state directory in use looks whether it still is. */
const claimAgainMs = 2_000
/** Of a `hello`, for what is neither identity nor components: a release, a status and why, the head of the audit log. */
export const besidesIdentityBytes = 8192

type Told = Omit<NodeCommand & { kind: 'report' }, 'kind'> & { readonly epoch?: number }

export class Member implements LinkEnd {
  readonly #options: MemberOptions
  readonly #link: Link
  readonly #documents: Documents
  readonly #health: HealthOfNode
  readonly #stateDir: StateDir
  readonly #trial: Trial
  readonly #voting: Voting
  #engine: AttachedEngine | undefined
  #components: Hello['components']
  #node: NodeState = newNode
  /** The newest release that came here; of those known by their number only, the status says nothing. */
  #received: number | null = null
  #begun: Promise<void> | undefined
  /** What was on disk, and so has stood its trial. */
  #restored: Held | undefined
  #open = false
  #asked: { readonly force: boolean } | undefined
  #wake = () => {}
  #retry: NodeJS.Timeout | undefined
  #warned: string | undefined
  #reported: Told | undefined
  #onWarning: ((message: string) => void) | undefined
  readonly #warnings: string[] = []

  constructor(options: MemberOptions) {
    this.#options = options
    this.#link = new Link(options.remote, this, options.ways)
    this.#documents = new Documents(options.references)
    this.#health = new HealthOfNode(options.probe, {
      running: () => runsOf(this.#node)?.release.number,
      redact: (text) => this.#engine?.redact(text) ?? '',
      changed: () => this.#changed(),
    })
    this.#stateDir = new StateDir(options.disk, options.policy, (message) => this.warn(message))
    this.#trial = new Trial(
      {
        note: (changes) => this.#stateDir.note(changes),
        goBack: (target, refused) => this.#goBack(target, refused),
      },
      options.poisonMs,
    )
    this.#voting = new Voting({
      document: (held, signal) => this.#documents.of(held, signal),
      keep: (ballot, epoch) => this.#stateDir.keep(ballot, epoch),
      noteEpoch: (epoch) => void this.#stateDir.note({ epoch }),
      begin: (held) => this.#trial.begin(held, this.#before()),
      report: ({ release }, status, more) => this.#report({ release, status, attempt: 1, ...more }),
      node: (event) => this.#on(event),
      changed: () => this.#changed(),
      warn: (message) => this.warn(message),
    })
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
    const held = await this.#onTrial(signal)
    if (!held) {
      const { config } = this.#options.remote
      const message = `nothing was received of ${config} from ${this.#options.remote.url.origin}: ${why}`
      throw new SourceError([{ code: 'unreadable', path: [], message }], { transient: true })
    }
    this.#asked = undefined
    this.#on({ kind: 'loading' })
    return this.#documents.of(held, signal)
  }

  /** What the engine is to take; noted on disk, where it is new. */
  async #onTrial(signal: AbortSignal): Promise<Held | null> {
    for (;;) {
      const held = desired(this.#node)
      if (!held || this.#node.kind === 'back' || held === runsOf(this.#node) || held === this.#restored) return held
      await this.#trial.begin(held, this.#before())
      signal.throwIfAborted()
      // Something newer may have come meanwhile.
      if (desired(this.#node) === held) return held
    }
  }

  /** What there is to go back to. */
  #before(): Held | undefined {
    return runsOf(this.#node) ?? this.#restored
  }

  settled(outcome: Outcome | undefined): void {
    const status = outcome && statusOf(outcome)
    if (!outcome || !status) this.#on({ kind: 'unsettled' })
    else this.#on({ kind: 'settled', status, detail: detailOf(outcome), mayRetry: mayRetry(outcome) })
    if (status !== 'APPLIED') this.#trial.dropped()
  }

  attach(engine: AttachedEngine): void {
    this.#engine = engine
    this.#voting.attach(engine)
    const { support } = engine
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
    const onAbort = () => {
      this.#voting.close()
      this.#wake()
    }
    signal.addEventListener('abort', onAbort)
    try {
      await this.#beginSoon(signal)
      if (signal.aborted) return
      this.#open = true
      this.#health.open()
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
    this.#voting.close()
    this.#trial.close()
    await this.#health.close()
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
      status: this.#status(),
      runs: runs(this.#node),
      seen: this.#node.seen,
      prepared: this.#voting.prepared,
      health: this.#health.reported,
      heardAt: contactAt?.toISOString(),
      staleMs: since && Math.max(0, Date.now() - since.getTime()),
      diskProblem: this.#stateDir.problem,
    }
  }

  hello(): Hello {
    const { uid = '', auditHead } = this.#stateDir
    const status = this.#status()
    const detail = this.#reported?.status === status ? this.#reported.detail : undefined
    return {
      ...{ type: 'hello', uid, ...this.#options.identity, runs: runs(this.#node), seen: this.#received, status },
      ...(detail !== undefined && { detail: detail.slice(0, 512).toWellFormed() }),
      ...this.#told(),
      ...(this.#components && { components: this.#components }),
      ...(auditHead !== undefined && { auditHead }),
    }
  }

  heartbeat(): Heartbeat {
    return { type: 'heartbeat', runs: runs(this.#node), status: this.#status(), ...this.#told() }
  }

  #status(): NodeStatus {
    return this.#voting.status ?? nodeStatusOf(this.#node)
  }

  #told(): Pick<Heartbeat, 'prepared' | 'health'> {
    const { prepared } = this.#voting
    const health = this.#health.reported
    return { ...(prepared && { prepared }), ...(health && { health }) }
  }

  /** After what is to be known of it is on disk and reported. */
  #changed(): void {
    void this.#stateDir.saved.then(() => this.#link.sayChange())
  }

  index(): number {
    return desired(this.#node)?.release.number ?? 0
  }

  heardOf(): number {
    return this.#node.seen ?? 0
  }

  hear(message: ReleaseMessage): void {
    // Stale ones and duplicates cost no hashing.
    if (!isNews(this.#node, message.release.number, message.force)) {
      const known = desired(this.#node)?.release
      if (known?.number !== message.release.number || known.digest === message.release.digest) return
    }
    const { prepare, release, revertMs } = message
    // It runs something newer, or will not have it: what it says of itself shows that.
    if (prepare && !isNews(this.#node, release.number)) return this.#changed()
    const bases = [desired(this.#node), runsOf(this.#node), this.#voting.held].filter((held) => !!held)
    const event = receive(message, this.#options.remote.config, this.#options.policy, bases)
    if (event.kind !== 'unfit') this.#received = Math.max(this.#received ?? 0, release.number)
    if (event.kind !== 'release') return this.#on(event)
    this.#trial.wants(release, revertMs)
    if (prepare) {
      this.#on({ kind: 'head', number: release.number })
      this.#voting.prepare(event.held, prepare.epoch, prepare.voteMs)
    } else if (!this.#voting.release(release)) this.#on(event)
  }

  decide(message: Decision): void {
    this.#voting.decide(message)
  }

  confirm(message: Confirm): void {
    this.#trial.confirmed(message)
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
    const { held, before, ballot, notes } = await this.#stateDir.restore()
    const back = this.#trial.restore({ held, before, notes })
    this.#restored = back?.target ?? held
    if (back) {
      this.warn(`starts from release ${back.target.release.number}: ${back.refused.detail}`)
      this.#on({ kind: 'go-back', ...back })
    } else if (held) this.#on({ kind: 'restored', held })
    this.#received = this.#node.seen
    const number = ballot?.held.release.number ?? 0
    const isOpen = number > Math.max(held?.release.number ?? 0, back?.refused.number ?? 0)
    if (ballot && !isOpen) void this.#stateDir.keep(undefined, ballot.epoch)
    this.#voting.restore(notes.epoch, isOpen ? ballot : undefined)
  }

  #goBack(target: Held, { number, digest, detail }: Omit<Refused, 'attempts'>): boolean {
    const state = this.#node
    if (state.kind !== 'current' && state.kind !== 'failed') return state.kind === 'closed'
    const refused: Refused = { number, digest, detail, attempts: state.attempts }
    void this.#stateDir.note({ refused, unconfirmed: undefined, suspect: undefined })
    // The engine needs its turn for it.
    this.#voting.letGo()
    this.warn(detail)
    this.#on({ kind: 'go-back', target, refused })
    return true
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
        this.#stateDir.save(command.held)
        this.#trial.taken(command.held)
        this.#health.checkNow()
        return
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

  #report(told: Told): void {
    this.#reported = told
    const { status, attempt, detail, epoch } = told
    const { number, digest } = told.release
    const at = new Date().toISOString()
    const report: Report = {
      ...{ type: 'report', number, digest, status, attempt, at },
      ...(epoch !== undefined && { epoch }),
    }
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
