/** The program that a sidecar starts after `--exec --`: it gets the signals, and the sidecar ends as it ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import process from 'node:process'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'

/** Those that a supervisor sends for the program; SIGHUP is the sidecar's own, SIGTERM and SIGINT end both. */
const passedOn = ['SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

export class Child {
  readonly #command: readonly string[]
  readonly #over = new AbortController()
  #process: ChildProcess | undefined
  #failure: Refusal | undefined

  constructor(command: readonly string[]) {
    this.#command = command
  }

  /** Aborts when it has ended. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  start(): void {
    const [file = '', ...args] = this.#command
    // Readiness is the sidecar's to tell, and what it shows to its control plane is nobody else's.
    const { NOTIFY_SOCKET: _, WATCHDOG_USEC: __, MIDFLIGHT_TOKEN: ___, ...env } = process.env
    const child = spawn(file, args, { stdio: 'inherit', env })
    this.#process = child
    const pass = passedOn.map((signal) => [signal, () => void child.kill(signal)] as const)
    for (const [signal, send] of pass) process.on(signal, send)
    child.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      this.#failure = new Refusal('usage', `${file} cannot be run: ${code ?? message}`)
      this.#over.abort()
    })
    child.on('exit', () => {
      for (const [signal, send] of pass) process.off(signal, send)
      this.#over.abort()
    })
  }

  /** Ends it where it still runs, and takes its exit status over. How long it may take is its supervisor's to say. */
  async end(terminal: Terminal): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    const asked = !this.#over.signal.aborted
    if (asked) {
      child.kill('SIGTERM')
      await new Promise<void>((done) => this.over.addEventListener('abort', () => done(), { once: true }))
    }
    if (this.#failure) throw this.#failure
    const { exitCode, signalCode } = child
    const how = signalCode === null ? `ended with ${exitCode}` : `was ended by ${signalCode}`
    if (!asked) terminal.note(`${this.#command[0]} ${how}; the sidecar ends with it`)
    const isWanted = asked && signalCode === 'SIGTERM'
    terminal.exitCode = isWanted ? 0 : signalCode === null ? (exitCode ?? 1) : 128 + constants.signals[signalCode]
  }
}
