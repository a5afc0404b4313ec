/** A gateway node as a process of its own: the gateway example's `node.ts`. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface NodeOptions {
  readonly name: string
  readonly program: string
  readonly directory: string
  /** What holds on this machine only; a file that goes over every release. */
  readonly local: object
  readonly controlPlane: string
  readonly config: string
  readonly tokenFile: string
  readonly secrets: string
}

/** How long a node may take to end before it is killed, milliseconds. It lets requests end for 5 s. */
const endMs = 10_000

export class NodeProcess {
  readonly name: string
  readonly address: string
  private readonly child: ChildProcess
  private readonly exited: Promise<unknown>

  private constructor(name: string, address: string, child: ChildProcess, exited: Promise<unknown>) {
    this.name = name
    this.address = address
    this.child = child
    this.exited = exited
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  /** Resolves when it serves. @throws Error with the place of its log, if it ends instead. */
  static async start(options: NodeOptions): Promise<NodeProcess> {
    const { name, directory } = options
    const local = join(directory, 'local.json')
    writeFileSync(local, `${JSON.stringify(options.local, null, 2)}\n`)
    const errors = openSync(join(directory, 'stderr.log'), 'a')
    const child = spawn(
      process.execPath,
      [
        ...process.execArgv,
        options.program,
        ...['--control-plane', options.controlPlane, '--config', options.config, '--token-file', options.tokenFile],
        ...['--dir', directory, '--local', local, '--secrets', options.secrets, '--label', `name=${name}`],
      ],
      // Over the channel it notices when the tour is gone, however that ended.
      { stdio: ['ignore', 'pipe', errors, 'ipc'] },
    )
    closeSync(errors)
    const exited = once(child, 'exit')
    const ready = new Promise<string>((resolve) => {
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        const address = /^gateway (\S+)/.exec(line)?.[1]
        if (address !== undefined) resolve(address)
      })
    })
    const address = await Promise.race([ready, exited.then(() => undefined)])
    if (address === undefined) throw new Error(`node ${name} did not start: see ${join(directory, 'stderr.log')}`)
    return new NodeProcess(name, address, child, exited)
  }

  /** Called with how it ended, if that was not by `end`. */
  onExit(told: (how: string) => void): void {
    void this.exited.then(() => told(this.child.signalCode ?? `exit status ${this.child.exitCode}`))
  }

  async end(): Promise<void> {
    const late = setTimeout(() => this.child.kill('SIGKILL'), endMs)
    this.child.kill('SIGTERM')
    await this.exited
    clearTimeout(late)
  }
}
