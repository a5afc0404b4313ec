/**
 * nginx answers a reload with nothing: the master reads its files again, and if it cannot use them it writes a line into
 * its log and goes on with the old workers (F67). What happened shows in its workers: new ones, and old ones that are
 * gone or say that they are shutting down.
 */
import { childrenOf, titleOf } from '../processes.ts'
import { processIn } from '../reloading.ts'
import type { Ask } from './ask.ts'

const defaultDraining = 64

interface Workers {
  readonly serving: readonly string[]
  readonly draining: number
}

export async function beginNginx(options: { readonly pidFile: string; readonly maxDraining?: number }): Promise<Ask> {
  const { pidFile, maxDraining = defaultDraining } = options
  // It does not run: all workers that are there later are new.
  const before = await workersOf(pidFile).catch((): Workers => ({ serving: [], draining: 0 }))
  return async () => {
    const now = await workersOf(pidFile)
    const old = now.serving.filter((worker) => before.serving.includes(worker))
    if (old.length > 0) {
      const fresh = now.serving.length - old.length
      const why = `${old.length} of its workers are from before the reload and still take connections`
      throw new Error(`nginx runs on its old configuration: ${why}, ${fresh} are new; its error log says why`)
    }
    if (now.serving.length === 0) throw new Error('nginx has no worker that takes connections')
    if (now.draining > maxDraining) {
      const why = `${now.draining} old workers of nginx are still shutting down; want at most ${maxDraining}`
      throw new Error(`${why} (worker_shutdown_timeout bounds that)`)
    }
  }
}

async function workersOf(pidFile: string): Promise<Workers> {
  const master = await processIn(pidFile, 'nginx')
  const serving: string[] = []
  let draining = 0
  for (const { pid, startedAt } of await childrenOf(master)) {
    const title = await titleOf(pid)
    if (!title.startsWith('nginx: worker process')) continue
    if (title.includes('shutting down')) draining++
    else serving.push(`${pid}:${startedAt}`)
  }
  return { serving, draining }
}
