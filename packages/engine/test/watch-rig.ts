/** Watches real files and loads them as a source would: identity, bytes, and what the watcher said in between. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { watchFiles } from '../src/sources/file/watch.ts'
import type { WatchOptions, WatchSet } from '../src/sources/file/watch.ts'
import { setOf } from './watch-set.ts'

/** Long enough (ms) for a yield that must not come to have come. */
const wrongYieldMs = 250

export interface Rig {
  /** What the first file held at each yield; undefined: it was not there. */
  readonly texts: (string | undefined)[]
  readonly warnings: string[]
  set: WatchSet
  /** Waits until the last load saw this; fails after ten seconds. */
  loaded(text: string | undefined): Promise<void>
  /** How many yields came from `act` until some time after it. */
  yieldsOf(act: () => void | Promise<void>): Promise<number>
  stop(): Promise<void>
}

export async function until(holds: () => boolean, what: () => string): Promise<void> {
  const giveUpMs = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > giveUpMs) throw new Error(`not within 10 s: ${what()}`)
    await sleep(2)
  }
}

/** Starts watching, and stops when the test is over. */
export async function rig(
  files: readonly string[],
  options: WatchOptions & { listings?: readonly string[]; load?: () => WatchSet; first?: WatchSet } = {},
): Promise<Rig> {
  const load = options.load ?? ((): WatchSet => setOf(files, options.listings))
  const stop = new AbortController()
  const texts: (string | undefined)[] = []
  const warnings: string[] = []
  const made: Rig = {
    texts,
    warnings,
    set: options.first ?? load(),
    loaded: (text) =>
      until(
        () => texts.length > 0 && texts.at(-1) === text,
        () => `a load of ${JSON.stringify(text)}, only ${JSON.stringify(texts)}`,
      ),
    async yieldsOf(act) {
      const before = texts.length
      await act()
      await sleep(wrongYieldMs)
      return texts.length - before
    },
    async stop() {
      stop.abort()
      await watching
    },
  }
  const changes = watchFiles(
    () => made.set,
    { onWarning: (message) => warnings.push(message), ...options },
    stop.signal,
  )
  const watching = (async () => {
    for await (const _ of changes) {
      texts.push(textOf(files[0]!))
      made.set = load()
    }
  })()
  onTestFinished(() => made.stop())
  // The first watches are open before the test acts.
  await sleep(30)
  return made
}

export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** Removes only what `temporaryDirectory` made and what is in it: a wrong path is an error, not a lost checkout. */
export function removeTree(path: string): void {
  if (!resolve(path).startsWith(join(tmpdir(), 'midflight-watch-'))) throw new Error(`will not remove ${path}`)
  rmSync(path, { recursive: true, force: true })
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'midflight-watch-'))
  onTestFinished(() => removeTree(directory))
  return directory
}

/** How many `fs.watch` handles this process has open. */
export function watchHandles(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'FSEventWrap').length
}

/** As Vim saves with a backup: the old file moves away, a new one is written under its name. */
export function saveAsVim(file: string, text: string): void {
  renameSync(file, `${file}~`)
  writeFileSync(file, text)
  chmodSync(file, 0o644)
  unlinkSync(`${file}~`)
}

export function saveByRename(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text)
  renameSync(`${file}.tmp`, file)
}

/** A mounted ConfigMap: `config.yaml` → `..data/config.yaml`, `..data` → a directory that each update replaces. */
export function configMap(directory: string, text: string): { file: string; update(text: string): void } {
  let version = 0
  const write = (content: string): string => {
    const next = `..2026_${version++}`
    mkdirSync(join(directory, next))
    writeFileSync(join(directory, next, 'config.yaml'), content)
    return next
  }
  let current = write(text)
  symlinkSync(current, join(directory, '..data'))
  symlinkSync('..data/config.yaml', join(directory, 'config.yaml'))
  return {
    file: join(directory, 'config.yaml'),
    update(content) {
      const next = write(content)
      symlinkSync(next, join(directory, '..data_tmp'))
      renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
      unlinkSync(join(directory, current, 'config.yaml'))
      removeTree(join(directory, current))
      current = next
    },
  }
}
