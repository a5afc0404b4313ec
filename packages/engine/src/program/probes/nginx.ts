/**
 * nginx answers a reload with nothing: the master reads its files again, and if it cannot use them it writes a line into
 * its log and goes on with the old workers (F67). What happened shows in its workers: new ones, and old ones that are
 * gone or say that they are shutting down.
 */
import { TransientError } from '../../component.ts'
import { childrenOf, titleOf } from '../processes.ts'
import { processIn } from '../reloading.ts'
import type { Ask } from './ask.ts'

const defaultDraining = 64

interface Workers {
  readonly serving: readonly string[]
  readonly draining: number
}

const noWorkers: Workers = { serving: [], draining: 0 }

interface NginxProbe {
  readonly pidFile: string
  readonly maxDraining?: number
}

/**
 * Each reload leaves workers that shut down as their connections end. Before another comes on top, there must not be
 * too many: asked before anything is touched, as a reload to go back would only add to them.
 */
export async function assertNginxReady({ pidFile, maxDraining = defaultDraining }: NginxProbe): Promise<void> {
  const { draining } = await workersOf(pidFile).catch(() => noWorkers)
  if (draining <= maxDraining) return
  const why = `${draining} old workers of nginx are still shutting down; want at most ${maxDraining} before the next reload`
  throw new TransientError(`${why} (worker_shutdown_timeout bounds how long they take)`)
}

export async function beginNginx({ pidFile }: NginxProbe): Promise<Ask> {
  // It does not run: all workers that are there later are new.
  const before = await workersOf(pidFile).catch(() => noWorkers)
  return async () => {
    const { serving } = await workersOf(pidFile)
    const old = serving.filter((worker) => before.serving.includes(worker))
    if (old.length > 0) {
      const why = `${old.length} of its workers are from before the reload and still take connections`
      throw new Error(
        `nginx runs on its old configuration: ${why}, ${serving.length - old.length} are new; its log says why`,
      )
    }
    if (serving.length === 0) throw new Error('nginx has no worker that takes connections')
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
