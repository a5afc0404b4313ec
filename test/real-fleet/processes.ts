/** Processes that a test starts, kills, stops and starts again; each ends with the test, by its own id. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { openSync, closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface ProgramOptions {
  readonly program: 'node-process.ts' | 'plane-process.ts'
  readonly args: () => readonly string[]
  readonly errorsPath: string
  readonly cacheDir: string
  /** Its first line. */
  readonly onLine?: (line: string) => void
}

/** A program that is there again a while after it has died, whatever it died of. */
export class Program {
  private readonly options: ProgramOptions
  private child: ChildProcess | undefined
  private backAfterMs = restartMs
  private timer: NodeJS.Timeout | undefined
  private isOver = false
  starts = 0

  constructor(options: ProgramOptions) {
    this.options = options
  }

  start(): void {
    if (this.isOver) return
    const { program, args, errorsPath, cacheDir, onLine } = this.options
    const path = fileURLToPath(new URL(program, import.meta.url))
    const errors = openSync(errorsPath, 'a')
    this.starts++
    const child = spawn(process.execPath, ['--conditions=midflight-source', '--no-warnings', path, ...args()], {
      stdio: ['ignore', onLine ? 'pipe' : 'ignore', errors],
      env: { ...process.env, NODE_COMPILE_CACHE: cacheDir },
    })
    closeSync(errors)
    this.child = child
    let said = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      if (said.includes('\n')) onLine?.(said.slice(0, said.indexOf('\n')))
    })
    child.on('exit', () => {
      this.child = undefined
      if (this.isOver) return
      this.timer = setTimeout(() => this.start(), this.backAfterMs)
      this.backAfterMs = restartMs
    })
  }

  get isThere(): boolean {
    return this.child !== undefined
  }

  kill(backAfterMs: number): void {
    if (this.child === undefined) return
    this.backAfterMs = backAfterMs
    this.child.kill('SIGKILL')
  }

  stop(): void {
    this.child?.kill('SIGSTOP')
  }

  wake(): void {
    this.child?.kill('SIGCONT')
  }

  /** If it waits to be started, it is started now. */
  heal(): void {
    this.wake()
    this.backAfterMs = restartMs
    if (this.child !== undefined || this.isOver) return
    clearTimeout(this.timer)
    this.start()
  }

  async end(): Promise<void> {
    this.isOver = true
    clearTimeout(this.timer)
    const { child } = this
    if (child === undefined) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}

const restartMs = 300
