/**
 * A node's part in two-phase commit: carries out what `vote.ts` decides, with the engine, the disk and the wire. At most
 * one reload is held ready at a time, and not for ever: while it is, no other reload runs in the engine.
 */
import { errorText, within } from '../deadline.ts'
import type { Outcome, PreparedReload } from '../outcome.ts'
import type { Decision, PreparedRelease } from '../protocol/messages.ts'
import type { ReleaseInfo } from '../protocol/release.ts'
import { detailOf, statusOf, type NodeStatus } from '../protocol/status.ts'
import type { AttachedEngine, Document } from '../source.ts'
import type { Held, NodeEvent } from './node-state.ts'
import { next, noVote, preparedIn, type Ballot, type VoteCommand, type VoteEvent, type VoteState } from './vote.ts'

export interface VotingEnd {
  document(held: Held, signal: AbortSignal): Promise<Document>
  /** Keeps it on disk, or that there is none. @returns what went wrong. */
  keep(ballot: Ballot | undefined, epoch: number): Promise<string | undefined>
  noteEpoch(epoch: number): void
  /** To be waited for before a commit. */
  begin(held: Held): Promise<void>
  report(held: Held, status: NodeStatus, more: { readonly detail?: string | undefined; readonly epoch?: number }): void
  node(event: NodeEvent): void
  /** What a heartbeat says of it has changed. */
  changed(): void
  warn(message: string): void
}

/** How long the engine holds a reload ready after the vote was due. Then only the disk holds it, which bars nobody. */
const holdMs = 60_000
/** How long a commit waits for its note to be on disk. */
const noteMs = 2_000

export class Voting {
  readonly #end: VotingEnd
  #engine: AttachedEngine | undefined
  #state: VoteState = noVote
  /** What the engine holds ready; `nothing`, where the release changes nothing here. */
  #staged: PreparedReload | 'nothing' | undefined
  /** Of the preparation under way: what an earlier one comes to is given up. */
  #staging: AbortController | undefined
  #deadline: NodeJS.Timeout | undefined
  #rollback: Promise<void> = Promise.resolve()
  #voteMs = 0
  #no: NodeStatus | undefined
  /** How often something was written: what an earlier one comes to is no matter. */
  #keeps = 0
  #isClosing = false

  constructor(end: VotingEnd) {
    this.#end = end
  }

  attach(engine: AttachedEngine): void {
    this.#engine = engine
  }

  restore(epoch: number, ballot: Ballot | undefined): void {
    this.#on({ kind: 'restored', epoch: Math.max(epoch, ballot?.epoch ?? 0), ballot })
  }

  /** As hello and heartbeats say it. */
  get prepared(): PreparedRelease | undefined {
    const ballot = preparedIn(this.#state)
    if (!ballot) return undefined
    const { number, digest } = ballot.held.release
    return { number, digest, epoch: ballot.epoch }
  }

  /** A release whose content is at hand. */
  get held(): Held | undefined {
    return this.#state.kind === 'idle' ? undefined : this.#state.ballot.held
  }

  /** How the node stands to what it votes on; a no stays one until something else comes. */
  get status(): NodeStatus | undefined {
    switch (this.#state.kind) {
      case 'idle':
        return this.#no
      case 'preparing':
      case 'keeping':
        return 'RECEIVED'
      case 'prepared':
        return 'PREPARED'
      case 'committing':
        return 'APPLYING'
    }
  }

  prepare(held: Held, epoch: number, voteMs: number): void {
    this.#voteMs = voteMs
    this.#on({ kind: 'prepare', held, epoch })
  }

  decide({ number, digest, epoch, decision }: Decision): void {
    this.#on({ kind: 'decision', number, digest, epoch, commit: decision === 'commit' })
  }

  /** A release that is to be run. @returns whether it is the one that was prepared, and is committed as such. */
  release({ number, digest }: ReleaseInfo): boolean {
    this.#on({ kind: 'release', number, digest })
    return this.#state.kind === 'committing' && this.#state.ballot.held.release.number === number
  }

  /** The engine needs its turn, or holds it no more: what is prepared stays so, on disk. */
  letGo(): void {
    const { kind } = this.#state
    if (kind === 'prepared' || kind === 'keeping') this.#giveUp()
    this.#on({ kind: 'let-go' })
  }

  close(): void {
    this.#isClosing = true
    clearTimeout(this.#deadline)
    this.#staging?.abort()
    this.letGo()
  }

  #on(event: VoteEvent): void {
    if (event.kind === 'prepare' || event.kind === 'release') this.#no = undefined
    const before = this.#state
    const [state, commands] = next(before, event)
    this.#state = state
    if (event.kind !== 'restored') this.#note(before, commands)
    for (const command of commands) this.#do(command)
    if (state.kind !== before.kind) {
      this.#time()
      this.#end.changed()
    }
  }

  /** A higher epoch outlives a restart, whatever came of what it asked. */
  #note(before: VoteState, commands: readonly VoteCommand[]): void {
    const { epoch } = this.#state
    if (epoch <= before.epoch || commands.some(({ kind }) => kind === 'keep' || kind === 'forget')) return
    this.#end.noteEpoch(epoch)
  }

  #do(command: VoteCommand): void {
    switch (command.kind) {
      case 'stage':
        return void this.#stage(command.held)
      case 'keep':
        return void this.#keep(command.ballot)
      case 'vote-yes':
        return this.#end.report(command.ballot.held, 'PREPARED', { epoch: command.ballot.epoch })
      case 'vote-no':
        this.#no = command.status
        return this.#afterRollback(() => {
          this.#end.report(command.held, command.status, { detail: command.detail })
        })
      case 'commit':
        return void this.#commit(command.held)
      case 'give-up':
        return this.#giveUp()
      case 'take':
        return this.#end.node({ kind: 'release', held: command.held, force: false })
      case 'report-aborted':
        return this.#afterRollback(() => {
          this.#end.report(command.held, 'ROLLED_BACK', { detail: 'given up by the control plane' })
        })
      case 'forget':
        return void this.#end.keep(undefined, this.#state.epoch)
      case 'warn':
        return this.#end.warn(command.message)
    }
  }

  async #stage(held: Held): Promise<void> {
    this.#staging?.abort()
    const staging = new AbortController()
    this.#staging = staging
    try {
      if (!this.#engine) throw new Error('there is no engine to prepare it')
      const document = await this.#end.document(held, staging.signal)
      if (staging.signal.aborted) return
      const found = await this.#engine.prepare(document)
      if (staging.signal.aborted) {
        if (found.kind === 'prepared') this.#giveUp(found)
        return
      }
      this.#staging = undefined
      this.#staged = found.kind === 'prepared' ? found : 'nothing'
      const no = refusal(found)
      // The engine closes: nothing was found out.
      if (no === undefined) return
      if (no === 'none') return this.#on({ kind: 'staged' })
      this.#giveUp()
      if (no.status === 'DEGRADED') this.#end.node({ kind: 'settled', ...no, mayRetry: true })
      this.#on({ kind: 'unstaged', ...no })
    } catch (error) {
      if (staging.signal.aborted) return
      this.#staging = undefined
      const detail = this.#engine?.redact(errorText(error)) ?? errorText(error)
      this.#on({ kind: 'unstaged', status: 'FAILED', detail })
    }
  }

  async #keep(ballot: Ballot): Promise<void> {
    const number = ++this.#keeps
    const problem = await this.#end.keep(ballot, ballot.epoch)
    if (this.#state.kind === 'keeping' && number === this.#keeps) this.#on({ kind: 'kept', problem })
    else if (problem !== undefined) this.#end.warn(problem)
  }

  async #commit(held: Held): Promise<void> {
    const staged = this.#staged
    this.#staged = undefined
    this.#end.report(held, 'APPLYING', {})
    // A disk that hangs must not keep one node on the old while the others run the new.
    await within(noteMs, undefined, () => this.#end.begin(held)).catch((error: unknown) => {
      this.#end.warn(`the commit did not wait for the disk: ${errorText(error)}`)
    })
    // The engine has given it up. It is still on disk: what was decided is asked for again after the restart.
    if (this.#isClosing) return
    const outcome = typeof staged === 'object' ? await outcomeOf(() => staged.commit()) : undefined
    const status = outcome && ('problem' in outcome ? 'FAILED' : statusOf(outcome))
    if (outcome && status) {
      const detail = 'problem' in outcome ? outcome.problem : detailOf(outcome)
      const again = !('problem' in outcome) && mayRetry(outcome)
      this.#end.node({ kind: 'tried', held, status, detail, mayRetry: again })
    } else this.#end.node({ kind: 'release', held, force: false })
    this.#on({ kind: 'committed' })
  }

  #giveUp(staged = this.#staged): void {
    if (staged === this.#staged) this.#staged = undefined
    if (typeof staged !== 'object') return
    const before = this.#rollback
    this.#rollback = outcomeOf(() => staged.rollback()).then(async (outcome) => {
      await before
      if ('problem' in outcome) return this.#end.warn(outcome.problem)
      if (outcome.kind !== 'degraded') return
      this.#end.node({ kind: 'settled', status: 'DEGRADED', detail: detailOf(outcome), mayRetry: true })
    })
  }

  #afterRollback(say: () => void): void {
    void this.#rollback.then(say)
  }

  /** Of how long the state may last. */
  #time(): void {
    const { kind } = this.#state
    // One deadline for all of the preparation.
    if (kind === 'keeping') return
    clearTimeout(this.#deadline)
    const ms = kind === 'prepared' ? this.#voteMs + holdMs : this.#voteMs
    if (kind === 'idle' || kind === 'committing' || (kind === 'prepared' && this.#staged === undefined)) return
    this.#deadline = setTimeout(() => this.#due(), ms).unref()
  }

  #due(): void {
    const detail = `it was not ready within ${this.#voteMs} ms`
    switch (this.#state.kind) {
      case 'preparing':
        this.#staging?.abort()
        return this.#on({ kind: 'unstaged', status: 'FAILED', detail })
      case 'keeping':
        return this.#on({ kind: 'kept', problem: detail })
      case 'prepared':
        this.#end.warn('no decision came on what is prepared: reloads go on, and it stays prepared on disk')
        return this.letGo()
      case 'idle':
      case 'committing':
        return
    }
  }
}

/** A check that said no says no again (K4); what was away may come back. */
export function mayRetry(outcome: Outcome): boolean {
  return (
    outcome.kind === 'rolled-back' ||
    outcome.kind === 'degraded' ||
    (outcome.kind === 'rejected' && outcome.phase === 'load')
  )
}

/** Why this is a no; `none`: it is a yes; `undefined`: neither. */
function refusal(found: PreparedReload | Outcome) {
  if (found.kind === 'prepared') {
    const held = found.plan.components.flatMap(({ restartPaths }) => restartPaths)
    if (held.length === 0) return 'none'
    return { status: 'RESTART_REQUIRED', detail: `would be held until a restart: ${held.join(', ')}` } as const
  }
  const status = statusOf(found)
  if (status === undefined || status === 'APPLIED') return status && 'none'
  return { status, detail: detailOf(found) }
}

async function outcomeOf(end: () => Promise<Outcome>): Promise<Outcome | { readonly problem: string }> {
  try {
    return await end()
  } catch (error) {
    return { problem: `an internal error of the engine: ${errorText(error)}` }
  }
}
