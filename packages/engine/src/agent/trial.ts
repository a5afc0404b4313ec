/**
 * Whether a release may stay that this node has taken. It is on trial twice: until it is confirmed, where the control
 * plane wants that, or else it is taken back; and for a while after the commit, in which the process must not die. Both
 * are noted on disk before the commit, so that neither a cut wire nor a crash gets around them. One step back, never two.
 */
import type { Runs } from '../protocol/messages.ts'
import type { Held, Refused } from './node-state.ts'
import type { Notes } from './notes.ts'

export interface TrialEnd {
  /** Durable when it resolves, as far as the disk lets it. */
  note(changes: Partial<Notes>): Promise<void>
  /** @returns whether the node can go back now. */
  goBack(target: Held, refused: Omit<Refused, 'attempts'>): boolean
}

export interface Found {
  readonly held: Held | undefined
  /** What was in use before it. */
  readonly before: Held | undefined
  readonly notes: Notes
}

interface Taking {
  readonly held: Held
  readonly before: Held | undefined
  readonly revertMs: number | undefined
}

/** While the engine is at something newer. */
const askAgainMs = 1_000

export class Trial {
  readonly #end: TrialEnd
  /** 0: whether the process dies is no matter. */
  readonly #settleMs: number
  /** Of releases that were heard of and are not in use yet; the newest is last. */
  #wanted: readonly { readonly of: Runs; readonly ms: number }[] = []
  #taking: Taking | undefined
  #settling: { readonly of: Runs; readonly timer: NodeJS.Timeout } | undefined
  #unconfirmed: (Taking & { readonly timer: NodeJS.Timeout }) | undefined

  constructor(end: TrialEnd, settleMs: number) {
    this.#end = end
    this.#settleMs = settleMs
  }

  /** What the process is to begin with instead of `held`, and why. */
  restore({ held, before, notes }: Found): { readonly target: Held; readonly refused: Refused } | undefined {
    const { suspect, unconfirmed, refused } = notes
    if (!held) return undefined
    const { number } = held.release
    // The newest first: one that died of two releases must not be given the second again for the sake of the first.
    const isNewer = suspect !== undefined && suspect.number > (refused?.number ?? 0)
    if (suspect && isNewer && this.#settleMs > 0 && number <= suspect.number) {
      const target = usable([held, before], refused ? [suspect, refused] : [suspect])
      if (target) {
        const detail = `poisoned: the process died while or soon after it took release ${suspect.number}`
        const poison: Refused = { number: suspect.number, digest: suspect.digest, detail, attempts: 0 }
        void this.#end.note({ refused: poison, suspect: undefined, unconfirmed: undefined })
        return { target, refused: poison }
      }
    }
    if (refused && number <= refused.number) {
      const target = usable([held, before], [refused])
      return target && { target, refused }
    }
    const revertMs = unconfirmed?.number === number ? unconfirmed.revertMs : undefined
    const suspectMs = suspect?.number === number ? suspect.revertMs : undefined
    const ms = revertMs ?? suspectMs
    // How long it has been is not known, as clocks jump.
    if (ms !== undefined) this.#taking = { held, before, revertMs: ms }
    return undefined
  }

  /** That a release is to be taken back unless it is confirmed. */
  wants(of: Runs, revertMs: number | undefined): void {
    this.#wanted = this.#wanted.filter((one) => !isSame(one.of, of)).slice(-7)
    if (revertMs !== undefined) this.#wanted = [...this.#wanted, { of: runsOf(of), ms: revertMs }]
  }

  /** To be waited for before the engine commits `held`. */
  async begin(held: Held, before: Held | undefined): Promise<void> {
    const revertMs = this.#wanted.find((one) => isSame(one.of, held.release))?.ms
    this.#taking = { held, before, revertMs }
    if (this.#settleMs === 0 && revertMs === undefined) return
    await this.#end.note({ suspect: { ...runsOf(held.release), ...(revertMs !== undefined && { revertMs }) } })
  }

  /** It is in use. */
  taken(held: Held): void {
    const taking = this.#taking?.held === held ? this.#taking : undefined
    this.#taking = undefined
    if (!taking) return
    this.#stop()
    const { revertMs } = taking
    const of = runsOf(held.release)
    if (this.#settleMs > 0) {
      const settled = () => {
        this.#settling = undefined
        void this.#end.note({ suspect: undefined })
      }
      this.#settling = { of, timer: setTimeout(settled, this.#settleMs).unref() }
    }
    const unconfirmed = revertMs === undefined ? undefined : { ...of, revertMs }
    void this.#end.note({ unconfirmed, refused: undefined, suspect: this.#settling?.of })
    if (revertMs !== undefined && taking.before) this.#wait(taking, revertMs)
  }

  /** What was to be taken is not. */
  dropped(): void {
    if (!this.#taking) return
    this.#taking = undefined
    void this.#end.note({ suspect: this.#settling?.of })
  }

  confirmed(of: Runs): void {
    this.wants(of, undefined)
    if (this.#taking && isSame(this.#taking.held.release, of)) this.#taking = { ...this.#taking, revertMs: undefined }
    if (!this.#unconfirmed || !isSame(this.#unconfirmed.held.release, of)) return
    clearTimeout(this.#unconfirmed.timer)
    this.#unconfirmed = undefined
    void this.#end.note({ unconfirmed: undefined })
  }

  /** The process ends in good order: nobody has died. */
  close(): void {
    this.#stop()
    void this.#end.note({ suspect: undefined })
  }

  #wait(taking: Taking, ms: number): void {
    const timer = setTimeout(() => this.#due(taking), ms).unref()
    this.#unconfirmed = { ...taking, timer }
  }

  #due(taking: Taking): void {
    const { held, before, revertMs } = taking
    const { number } = held.release
    const detail = `release ${number} was not confirmed within ${revertMs} ms and was taken back`
    if (!before) return
    if (!this.#end.goBack(before, { ...runsOf(held.release), detail })) return this.#wait(taking, askAgainMs)
    this.#stop()
  }

  #stop(): void {
    clearTimeout(this.#settling?.timer)
    clearTimeout(this.#unconfirmed?.timer)
    this.#settling = undefined
    this.#unconfirmed = undefined
  }
}

/** The newest that is older than those that are bad, is none of them, and does not hold what one of them holds. */
function usable(kept: readonly (Held | undefined)[], bad: readonly Runs[]): Held | undefined {
  const newest = Math.max(...bad.map(({ number }) => number))
  return kept.find((held) => {
    if (held === undefined || held.release.number >= newest) return false
    return !bad.some(({ number, digest }) => number === held.release.number || digest === held.release.digest)
  })
}

function isSame(a: Runs, b: Runs): boolean {
  return a.number === b.number && a.digest === b.digest
}

function runsOf({ number, digest }: Runs): Runs {
  return { number, digest }
}
