/** Asks the gates of a step again and again while it bakes, and once more at its end, each one at a time. */
import type { RolloutRecord } from '../store.ts'
import type { Gate, GateResult, GateSpec } from './gate.ts'

export interface GateWatchOptions {
  readonly gateOf: (spec: GateSpec) => Gate
  readonly monotonicMs: () => number
  /** An answer about this step; about an earlier one it says nothing of a later. */
  readonly onAnswer: (step: number, gate: string, result: GateResult) => void
  readonly onProblem: (error: unknown) => void
}

const everyMs = 10_000

/** Of one rollout. */
export class GateWatch {
  private readonly options: GateWatchOptions
  private readonly stopped = new AbortController()
  /** When each was asked last; `Infinity`: it is being asked. */
  private readonly asked = new Map<string, number>()

  constructor(options: GateWatchOptions) {
    this.options = options
  }

  stop(): void {
    this.stopped.abort()
  }

  /** Asks what is due. @param uids of nodes in the step, for gates that look at them. */
  look({ config, number, state, strategy }: RolloutRecord, uids: () => readonly string[]): void {
    if (state.phase !== 'baking') return
    const now = this.options.monotonicMs()
    const isOver = state.spentMs >= (strategy.steps[state.step]?.bakeMs ?? 0)
    for (const spec of strategy.gates) {
      const key = `${state.step} ${spec.name}`
      const askedMs = this.asked.get(key) ?? -Infinity
      if (askedMs === Infinity || state.passed.includes(spec.name) || (!isOver && now - askedMs < everyMs)) continue
      this.asked.set(key, Infinity)
      this.ask(spec, key, { config, release: number, step: state.step, nodes: uids() })
    }
  }

  private ask(spec: GateSpec, key: string, context: Parameters<Gate['check']>[0]): void {
    const { signal } = this.stopped
    this.options
      .gateOf(spec)
      .check(context, signal)
      .then((result) => {
        this.asked.set(key, this.options.monotonicMs())
        if (!signal.aborted) this.options.onAnswer(context.step, spec.name, result)
      })
      .catch(this.options.onProblem)
  }
}
