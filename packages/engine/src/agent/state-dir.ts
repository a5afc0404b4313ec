/**
 * The state directory as the node sees it: what was found there at the start, one save after the other, and what is
 * wrong with it. Nothing that goes wrong here keeps a node from its work but that another process has the directory.
 * The files are `disk.ts`.
 */
import { randomUUID } from 'node:crypto'
import { errorText } from '../deadline.ts'
import type { Disk } from './disk.ts'
import { LockedError } from './lock.ts'
import type { Held } from './node.ts'
import type { Policy } from './policy.ts'

export class StateDir {
  auditHead: string | undefined
  readonly #disk: Disk
  readonly #policy: Policy
  readonly #warn: (message: string) => void
  #uid: string | undefined
  #uidProblem: string | undefined
  #saveProblem: string | undefined
  #savedAt: Date | undefined
  /** The last save, and what went wrong with it. */
  #saved: Promise<string | undefined> = Promise.resolve(undefined)

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

  /** The release that was kept there, if it may be used. @throws LockedError while another process has the directory. */
  async restore(): Promise<Held | undefined> {
    await this.#disk.claim().catch((error: unknown) => {
      if (error instanceof LockedError) throw error
      this.#warn(`a second process in the state directory would not be noticed: ${errorText(error)}`)
    })
    await this.#restoreUid()
    const { held, savedAt, auditHead, damaged } = await this.#disk.load()
    for (const message of damaged) this.#warn(message)
    this.auditHead = auditHead
    const problem = held && this.#policy.problem(held.release)
    if (problem !== undefined) {
      this.#warn(`what is on disk is not used: ${problem}`)
      return undefined
    }
    this.#savedAt = savedAt
    return held
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
    this.#saved = this.#saved.then(() => this.#save(held))
  }

  /** Resolves when all is saved that was to be, with what went wrong with the last. */
  get saved(): Promise<string | undefined> {
    return this.#saved
  }

  async #save(held: Held): Promise<string | undefined> {
    try {
      await this.#disk.save(held, this.auditHead)
      this.#savedAt = new Date()
      this.#saveProblem = undefined
    } catch (error) {
      this.#saveProblem = `release ${held.release.number} could not be kept on disk: ${errorText(error)}`
      this.#warn(this.#saveProblem)
    }
    return this.#saveProblem
  }

  release(): Promise<void> {
    return this.#disk.release()
  }
}
