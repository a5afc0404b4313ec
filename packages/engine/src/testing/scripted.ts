/** A component that does what a test tells it to, and tells what was done to it. */
import type { Component, Prepared, SliceChange } from '../component.ts'
import type { Issue } from '../issue.ts'
import type { Json } from '../json.ts'

export type Step = 'prepare' | 'commit' | 'rollback' | 'dispose'

export interface ScriptedComponent extends Component<Json | undefined> {
  /** What it runs. */
  readonly live: Json | undefined
  /** The steps it was taken through, oldest first. */
  readonly steps: readonly Step[]
  /** What each step does besides its work: throw, wait, whatever. Kept until changed. */
  on: Partial<Record<Step, (change: SliceChange<Json | undefined>, signal: AbortSignal) => void | Promise<void>>>
}

export interface ScriptedOptions {
  readonly path?: string
  readonly after?: readonly string[]
  readonly hot?: Component['hot']
  readonly deadlines?: Component['deadlines']
  readonly validate?: (next: Json | undefined) => readonly Issue[]
}

export function scripted(name: string, options: ScriptedOptions = {}): ScriptedComponent {
  let live: Json | undefined
  const steps: Step[] = []
  const component: ScriptedComponent = {
    name,
    after: options.after ?? [],
    paths: [options.path ?? name],
    slice: ([value]) => value,
    hot: options.hot ?? 'full',
    ...(options.deadlines && { deadlines: options.deadlines }),
    ...(options.validate && {
      validate: ({ after }: SliceChange<Json | undefined>) => options.validate?.(after) ?? [],
    }),
    on: {},
    get live() {
      return live
    },
    steps,
    async prepare(change, signal): Promise<Prepared> {
      steps.push('prepare')
      await component.on.prepare?.(change, signal)
      const before = live
      let committed = false
      return {
        async commit() {
          steps.push('commit')
          await component.on.commit?.(change, signal)
          live = change.after
          committed = true
        },
        async rollback() {
          steps.push('rollback')
          await component.on.rollback?.(change, signal)
          if (committed) live = before
          committed = false
        },
        async dispose() {
          steps.push('dispose')
          await component.on.dispose?.(change, signal)
        },
      }
    },
  }
  return component
}
