/** Each contender: starts to watch, calls `look` for whatever it is told, and gives back how to stop. */
import { readFileSync, statSync, watch } from 'node:fs'
import { contentDigest, identityOf, watchFiles } from '../../packages/engine/src/sources/file/watch.ts'
import type { WatchSet } from '../../packages/engine/src/sources/file/watch.ts'

export type Contender = (directory: string, file: string, look: () => void) => Promise<() => Promise<void> | void>

export const contenders: Record<string, Contender> = {
  async 'fs.watch(dir)'(directory, _file, look) {
    const watcher = watch(directory, look)
    return () => watcher.close()
  },
  async 'chokidar 5'(_directory, file, look) {
    const { watch: chokidar } = await import('chokidar')
    const watcher = chokidar(file, { ignoreInitial: true })
    watcher.on('all', look)
    await new Promise<void>((ready) => watcher.once('ready', ready))
    return () => watcher.close()
  },
  async midflight(_directory, file, look) {
    const load = (): WatchSet => {
      const identity = identityOf(statSync(file, { bigint: true }))
      const digest = contentDigest(readFileSync(file))
      return { files: new Map([[file, { path: file, identity, digest }]]), listings: new Map() }
    }
    let loaded = load()
    const stop = new AbortController()
    const watching = (async () => {
      for await (const _ of watchFiles(() => loaded, {}, stop.signal)) {
        look()
        loaded = load()
      }
    })()
    return async () => {
      stop.abort()
      await watching
    }
  },
}
