/** A program in a fleet as a process of its own, which a test can kill, starve and deny things: `programs/agent-process.ts`. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ended } from '../../../test/rig/ended.ts'
import type { AgentStatus } from '../src/agent/index.ts'
import { until } from './agent-rig.ts'

const program = fileURLToPath(new URL('programs/agent-process.ts', import.meta.url))

interface Said {
  readonly limit?: number
  readonly warning?: string
  readonly refused?: string
  readonly opened?: string
  readonly status?: AgentStatus
}

interface Surroundings {
  readonly within?: readonly string[]
  readonly imports?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export class AgentProcess {
  readonly said: Said[] = []
  readonly #child

  /** @param given `within` is a command that runs the one after it: `['unshare', '-pf']`. */
  constructor(args: readonly string[], given: Surroundings = {}) {
    const { within = [], imports = [], env = {} } = given
    const node = [
      process.execPath,
      '--conditions=midflight-source',
      '--no-warnings',
      ...imports.flatMap((one) => ['--import', one]),
    ]
    const [command, ...rest] = [...within, ...node, program, ...args] as [string, ...string[]]
    this.#child = spawn(command, rest, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...env },
    })
    this.#child.on('message', (message) => void this.said.push(message as Said))
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Resolves once it has applied `limit`, or has been refused. */
  async runs(limit: number): Promise<void> {
    await until(() => this.said.some((one) => one.limit === limit || one.refused !== undefined))
    const refused = this.said.find((one) => one.refused !== undefined)?.refused
    if (refused !== undefined) throw new Error(refused)
  }

  async warns(text: string): Promise<void> {
    await until(() => this.said.some(({ warning }) => warning?.includes(text)))
  }

  async tell(what: 'open-files' | 'close-files' | { readonly clockMs: number }): Promise<void> {
    this.#child.send(what)
    if (what === 'open-files') await until(() => this.said.some(({ opened }) => opened !== undefined))
  }

  async status(): Promise<AgentStatus> {
    const before = this.said.length
    this.#child.send('status')
    const latest = () => this.said.slice(before).find(({ status }) => status)?.status
    await until(() => latest() !== undefined)
    return latest() as AgentStatus
  }

  /** Resolves when it has died. */
  async ended(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit')
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async close(): Promise<void> {
    await ended(this.#child)
  }
}

/** Whether `unshare` may do this here; what a test's name says where it may not. */
export function unshares(...flags: string[]): { readonly can: boolean; readonly note: string } {
  const can = process.platform === 'linux' && spawnSync('unshare', [...flags, 'true']).status === 0
  return { can, note: can ? '' : ` (skipped: \`unshare ${flags.join(' ')}\` is not allowed here)` }
}
