/** A server of a benchmark: started on free ports, with a folder of its own, and ended by its id. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { ended } from '../../test/rig/ended.ts'
import { freePort } from '../../test/rig/free-ports.ts'

/** A server that is killed by its own id, and its folder. */
interface Server {
  readonly folder: string
  readonly port: number
  stop(): Promise<void>
}

/** With a folder of its own and two free ports; ready when `isReady` says so. */
export async function serverOf(
  program: string,
  argsOf: (folder: string, port: number, other: number) => readonly string[],
  isReady: (port: number, said: readonly string[]) => boolean | Promise<boolean>,
): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const [port, other] = [await freePort(), await freePort()]
  const child = spawn(program, argsOf(folder, port, other), { stdio: ['ignore', 'pipe', 'pipe'] })
  const said: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      said.push(line)
      if (said.length > 100) said.shift()
    })
  }
  const stop = async () => {
    await ended(child)
    rmSync(folder, { recursive: true, force: true })
  }
  const lastAt = performance.now() + 30_000
  while (!(await isReady(port, said))) {
    if (child.exitCode === null && performance.now() < lastAt) await sleep(20)
    else {
      await stop()
      throw new Error(`${program} does not start:\n${said.join('\n')}`)
    }
  }
  return { folder, port, stop }
}

export function isThere(program: string, option: string): boolean {
  return spawnSync(program, [option]).status === 0
}
