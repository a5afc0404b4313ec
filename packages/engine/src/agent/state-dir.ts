/**
 * The state directory as the node sees it: what was found there at the start, one save after the other, and what is
 * wrong with it. Nothing that goes wrong here keeps a node from its work but that another process has the directory.
 * The files are `disk.ts`.
 */
import { randomUUID } from 'node:crypto'
import { errorText } from '../deadline.ts'
import type { Disk, Kept } from './disk.ts'
import { LockedError } from './lock.ts'
import type { Held } from './node-state.ts'
import { noNotes, type Notes } from './notes.ts'
import type { Policy } from './policy.ts'
import type { Ballot } from './vote.ts'

export class StateDir {
  auditHead: string | undefined
  readonly #disk: Disk
  readonly #policy: Policy
  readonly #warn: (message: string) => void
  #uid: string | undefined
  #uidProblem: string | undefined
  #saveProblem: string | undefined
  #savedAt: Date | undefined
  #noteProblem: string | undefined
  /** What is on disk as the newest. */
  #kept: Held | undefined
  #notes: Notes = noNotes
  /** The last write: one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(disk: Disk, policy: Policy, warn: (message: string) => void) {
    this.#disk = disk
    this.#policy = policy
    this.#warn = warn
  }

  get uid(): string | undefined {
    return this.#uid
  }

  /** Of the release in use, or of the one that was found. */
  get savedAt(): Date | undefined {
    return this.#savedAt
  }

  /** Why a restart may begin with an older release, or as a new node. */
  get problem(): string | undefined {
    return this.#saveProblem ?? this.#uidProblem
  }

  /** What was kept there, as far as it may be used. @throws LockedError while another process has the directory. */
  async restore(): Promise<Pick<Kept, 'held' | 'before' | 'ballot' | 'notes'>> {
    await this.#disk.claim().catch((error: unknown) => {
      if (error instanceof LockedError) throw error
      this.#warn(`a second process in the state directory would not be noticed: ${errorText(error)}`)
    })
    await this.#restoreUid()
    const { savedAt, auditHead, damaged, notes, ...kept } = await this.#disk.load()
    for (const message of damaged) this.#warn(message)
    this.auditHead = auditHead
    this.#notes = notes
    const held = this.#usable(kept.held)
    if (held) this.#savedAt = savedAt
    this.#kept = held
    const ballot = kept.ballot && this.#usable(kept.ballot.held) && kept.ballot
    return { held, before: this.#usable(kept.before), ballot, notes }
  }

  #usable(held: Held | undefined): Held | undefined {
    const problem = held && this.#policy.problem(held.release)
    if (problem === undefined) return held
    this.#warn(`what is on disk is not used: ${problem}`)
    return undefined
  }

  async #restoreUid(): Promise<void> {
    try {
      const { uid, damaged } = await this.#disk.uid()
      this.#uid = uid
      if (damaged !== undefined) this.#warn(damaged)
    } catch (error) {
      this.#uid = randomUUID()
      this.#uidProblem = `the uid cannot be kept on disk, so this node is a new one after a restart: ${errorText(error)}`
      this.#warn(this.#uidProblem)
    }
  }

  save(held: Held): void {
    void this.#inTurn(() => this.#save(held))
  }

  /** Writes down what is prepared, or that nothing is. @returns what went wrong. */
  keep(ballot: Ballot | undefined, epoch: number): Promise<string | undefined> {
    return this.#inTurn(async () => {
      try {
        await this.#disk.keep(ballot)
      } catch (error) {
        return `what is prepared could not be kept on disk: ${errorText(error)}`
      }
      if (epoch > this.#notes.epoch) await this.#note({ epoch })
      return undefined
    })
  }

  /** What cannot be written is a warning. */
  note(changes: Partial<Notes>): Promise<void> {
    return this.#inTurn(() => this.#note(changes))
  }

  async #note(changes: Partial<Notes>): Promise<void> {
    const notes = { ...this.#notes, ...changes }
    if (JSON.stringify(notes) === JSON.stringify(this.#notes)) return
    this.#notes = notes
    try {
      await this.#disk.note(notes)
      this.#noteProblem = undefined
    } catch (error) {
      const problem = `what is to be known of releases after a restart could not be kept on disk: ${errorText(error)}`
      if (this.#noteProblem === undefined) this.#warn(problem)
      this.#noteProblem = problem
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done
    return done
  }

  /** Resolves when all is saved that was to be, with what went wrong with the last. */
  get saved(): Promise<string | undefined> {
    return this.#last.then(() => this.#saveProblem)
  }

  async #save(held: Held): Promise<void> {
    const { number, digest } = held.release
    // The one before it stays beside it, to go back to.
    const known = this.#saveProblem === undefined ? this.#kept?.release : undefined
    if (known?.number === number && known.digest === digest) return
    try {
      await this.#disk.save(held, this.auditHead)
      this.#savedAt = new Date()
      this.#saveProblem = undefined
      this.#kept = held
    } catch (error) {
      this.#saveProblem = `release ${held.release.number} could not be kept on disk: ${errorText(error)}`
      this.#warn(this.#saveProblem)
    }
  }

  release(): Promise<void> {
    return this.#disk.release()
  }
}
