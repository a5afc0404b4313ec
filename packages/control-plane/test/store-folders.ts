/** Folders, processes and mounts that the tests of the store use, and that are gone after them. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openSqlite } from '../src/stores/sqlite.ts'
import { rulesOf, sample } from '../src/stores/conformance/samples.ts'

const made: string[] = []
const mounted: string[] = []

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'midflight-store-'))
  made.push(path)
  return path
}

export function cleanUp(): void {
  for (const path of mounted.splice(0).reverse()) spawnSync('umount', [path], { stdio: 'ignore' })
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true })
}

export function mount(path: string, ...args: string[]): string {
  mkdirSync(path, { recursive: true })
  execFileSync('mount', [...args, path], { stdio: 'pipe' })
  mounted.push(path)
  return path
}

export function unmount(path: string): void {
  execFileSync('umount', [path])
  mounted.splice(mounted.indexOf(path), 1)
}

/** Whether this user may mount what `args` say, tried out. */
export function canMount(...args: string[]): boolean {
  const path = mkdtempSync(join(tmpdir(), 'midflight-mount-'))
  try {
    const done = spawnSync('mount', [...args, path], { stdio: 'ignore' }).status === 0
    if (done) spawnSync('umount', [path], { stdio: 'ignore' })
    return done
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

const program = fileURLToPath(new URL('programs/publish.ts', import.meta.url))
const node = [process.execPath, '--conditions=midflight-source', '--no-warnings', program]

export interface Published {
  readonly lines: readonly string[]
  readonly acknowledged: readonly number[]
}

/** Runs the publishing program to its end, however that comes. `before` is a command to run it under. */
export function publishIn(
  directory: string,
  count: number,
  end: 'close' | 'crash',
  before: readonly string[] = [],
): Published {
  const [command, ...args] = [...before, ...node, directory, String(count), end]
  return published(spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 }).stdout)
}

export function publishForever(directory: string): { child: ChildProcess; output(): Published } {
  const [command, ...args] = [...node, directory, '0', 'forever']
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  return { child, output: () => published(text) }
}

function published(text: string): Published {
  const lines = text.split('\n').slice(0, -1)
  const acknowledged = lines.flatMap((line) => /^acknowledged (\d+)$/.exec(line)?.[1] ?? []).map(Number)
  return { lines, acknowledged }
}

/** Opens what is left and says what is wrong with it: nothing, if all that was acknowledged is there, and all is whole. */
export async function lost(directory: string, acknowledged: readonly number[]): Promise<string[]> {
  const store = await openSqlite({ directory, cacheBytes: 0 })
  try {
    const wrong = (await store.verify()).problems.map((problem) => problem.message)
    return await store.read((tx) => {
      const head = tx.config(sample.config)?.head?.number ?? 0
      for (const number of acknowledged) {
        const content = JSON.stringify(tx.content(sample.config, number))
        if (content !== JSON.stringify(rulesOf(100, { [number % 100]: number }))) wrong.push(`${number}: ${content}`)
      }
      const audited = tx.audit(undefined, 1e6).map((entry) => (entry.detail as { number: number }).number)
      const wanted = Array.from({ length: head }, (_, i) => i + 1)
      if (audited.join() !== wanted.join()) wrong.push(`a release without its entry in the audit log, or the reverse`)
      return wrong
    })
  } finally {
    await store.close()
  }
}
