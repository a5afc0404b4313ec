/** How far it is with many keys, as a bar on standard error, drawn over itself; nothing where nobody watches. */
import process from 'node:process'
import type { Terminal } from '../terminal.ts'

const everyMs = 80
const fewest = 50

export class KeyBar {
  readonly #terminal: Terminal
  readonly #what: string
  readonly #isLive = process.stderr.isTTY && process.env['TERM'] !== 'dumb'
  #drawnAt = 0

  constructor(terminal: Terminal, what: string) {
    this.#terminal = terminal
    this.#what = what
    // Whatever ends the process, the line does not stay half drawn.
    terminal.interrupted.addEventListener('abort', () => this.close())
  }

  draw(done: number, total: number): void {
    const now = performance.now()
    if (!this.#isLive || this.#terminal.interrupted.aborted || total < fewest) return
    if (now - this.#drawnAt < everyMs && done < total) return
    this.#drawnAt = now
    const { errorPaint: paint } = this.#terminal
    const columns = Math.min(30, Math.floor(Math.max(40, process.stderr.columns ?? 80) / 4))
    const full = Math.round((columns * done) / total)
    const bar = paint.green('█'.repeat(full)) + paint.dim('░'.repeat(columns - full))
    process.stderr.write(`\r\u001b[K  ${bar}  ${count(done)} of ${count(total)} keys ${paint.dim(this.#what)}`)
  }

  close(): void {
    if (this.#isLive && this.#drawnAt > 0) process.stderr.write('\r\u001b[K')
    this.#drawnAt = 0
  }
}

export function count(n: number): string {
  return n.toLocaleString('en')
}
