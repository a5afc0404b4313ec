/** Who has a turn and when: ticks, and one thing after the other for each name. */

/** When it has its turns; in a simulation moved by hand. */
export interface Turns {
  /** Calls `turn` every so often. Returns what ends that. */
  every(ms: number, turn: () => void): () => void
  /** Calls `turn` once, after what goes on now. */
  soon(turn: () => void): void
}

export const realTurns: Turns = {
  every(ms, turn) {
    const timer = setInterval(turn, ms)
    timer.unref()
    return () => clearInterval(timer)
  },
  soon: (turn) => void setImmediate(turn),
}

/** Work under one name is done in the order in which it came, whatever becomes of the work before it. */
export class Lines {
  private readonly lines = new Map<string, Promise<unknown>>()

  isBusy(name: string): boolean {
    return this.lines.has(name)
  }

  inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.lines.get(name) ?? Promise.resolve()).then(work)
    const settled = turn.then(
      () => {},
      () => {},
    )
    this.lines.set(name, settled)
    void settled.then(() => {
      if (this.lines.get(name) === settled) this.lines.delete(name)
    })
    return turn
  }

  async idle(): Promise<void> {
    await Promise.all(this.lines.values())
  }
}
