/** Time, chance and everything that happens, in an order that a seed fixes. */

/** Mulberry32. */
export class Chance {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** From 0 up to 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** 0 to `below` - 1. */
  int(below: number): number {
    return Math.floor(this.next() * below)
  }

  is(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(all: readonly T[]): T {
    return all[this.int(all.length)] as T
  }
}

interface Happening {
  readonly atMs: number
  readonly order: number
  readonly happen: () => void
}

/** Happenings one after the other; promises that one of them settles have run their course before the next. */
export class World {
  readonly chance: Chance
  nowMs = 0
  readonly log: string[] = []
  private order = 0
  private readonly coming: Happening[] = []

  constructor(seed: number) {
    this.chance = new Chance(seed)
  }

  after(ms: number, happen: () => void): void {
    const happening = { atMs: this.nowMs + ms, order: this.order++, happen }
    // A heap would be no faster: there are some tens of them.
    let i = this.coming.length
    while (i > 0 && isLater(this.coming[i - 1] as Happening, happening)) i--
    this.coming.splice(i, 0, happening)
  }

  say(text: string): void {
    this.log.push(`${String(Math.round(this.nowMs)).padStart(7)} ${text}`)
  }

  async run(untilMs: number): Promise<void> {
    for (let first = this.coming[0]; first !== undefined && first.atMs <= untilMs; first = this.coming[0]) {
      this.coming.shift()
      this.nowMs = first.atMs
      first.happen()
      await new Promise((resolve) => setImmediate(resolve))
    }
    this.nowMs = untilMs
  }
}

function isLater(a: Happening, b: Happening): boolean {
  return a.atMs > b.atMs || (a.atMs === b.atMs && a.order > b.order)
}
