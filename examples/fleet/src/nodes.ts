/** The gateways of the fleet as processes: all are started, one that ends by itself is started again, all are ended. */
import { setTimeout as sleep } from 'node:timers/promises'
import { NodeProcess, type NodeOptions } from './node-process.ts'

/** Before one is started again, milliseconds. It doubles while that fails, or the node ends within `steadyMs`. */
const pauseMs = 1000
const maxPauseMs = 30_000
const steadyMs = 10_000

export class Nodes {
  private readonly line: (text: string) => void
  private readonly running = new Map<string, NodeProcess>()
  private readonly restarts = new Set<Promise<void>>()
  private readonly over: AbortSignal

  /** @param over aborts before the end: from then on one that ends is not started again. */
  constructor(line: (text: string) => void, over: AbortSignal) {
    this.line = line
    this.over = over
  }

  get all(): readonly NodeProcess[] {
    return [...this.running.values()].toSorted((a, b) => a.name.localeCompare(b.name))
  }

  /** All at once. @throws Error of the first that does not start; those that did are ended by `end`. */
  async start(options: readonly NodeOptions[]): Promise<void> {
    const settled = await Promise.allSettled(options.map((one) => this.started(one, pauseMs)))
    const failed = settled.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }

  async end(): Promise<void> {
    await Promise.all(this.restarts)
    await Promise.all(this.all.map((node) => node.end()))
  }

  private async started(options: NodeOptions, nextPauseMs: number): Promise<NodeProcess> {
    const node = await NodeProcess.start(options)
    this.running.set(options.name, node)
    const since = performance.now()
    node.onExit((how) => {
      if (this.over.aborted) return
      const lasted = performance.now() - since >= steadyMs
      const restart = this.again(options, how, lasted ? pauseMs : nextPauseMs)
      this.restarts.add(restart)
      void restart.finally(() => this.restarts.delete(restart))
    })
    return node
  }

  private async again(options: NodeOptions, how: string, firstPauseMs: number): Promise<void> {
    const { over } = this
    let why = how
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, maxPauseMs)) {
      this.line(`node ${options.name} ended (${why}); it is started again in ${pause / 1000} s`)
      // Cut short by the end of the fleet.
      await sleep(pause, undefined, { signal: over }).catch(() => undefined)
      if (over.aborted) return
      try {
        const { pid } = await this.started(options, Math.min(2 * pause, maxPauseMs))
        if (!over.aborted) this.line(`node ${options.name} serves again, process ${pid}`)
        return
      } catch (error) {
        why = error instanceof Error ? error.message : String(error)
      }
    }
  }
}
