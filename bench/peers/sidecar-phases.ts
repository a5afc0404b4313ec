/**
 * When each phase of one change of a program began and ended, seen from outside: at the doors of the component and of
 * its files, at the start of processes, at signals and requests. Nothing in `program()` is there for it.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { ChildProcess } from 'node:child_process'
import type { ProgramComponent } from 'midflight/program'
import { Work } from '../../packages/engine/src/program/work.ts'

export type Moment =
  | 'asked' // the configuration has changed
  | 'prepare'
  | 'stage'
  | 'staged'
  | 'checking' // its process has been started
  | 'checked'
  | 'prepared'
  | 'commit'
  | 'swapped'
  | 'told'
  | 'committed'
  | 'done' // the reload's outcome is there

/** Readings of `performance.now()`; of what comes twice, the first. */
export type Moments = Partial<Record<Moment, number>>

let moments: Moments = {}
let onTold: () => void = () => {}
let told = 0

/** How often any program was told, all in all. */
export function timesTold(): number {
  return told
}

/** @param told is called when the program is told of the change that begins now. */
export function follow(told: () => void): Moments {
  moments = { asked: performance.now() }
  onTold = told
  return moments
}

export function reached(moment: Moment): void {
  moments[moment] ??= performance.now()
}

function wasTold(): void {
  told++
  if (moments.swapped === undefined || moments.told !== undefined) return
  reached('told')
  onTold()
}

subscribe('child_process', (message) => {
  // The check: none of these programs is told by a process.
  if (moments.stage === undefined || moments.checking !== undefined) return
  const { process: child } = message as { readonly process: ChildProcess }
  reached('checking')
  child.once('exit', () => reached('checked'))
})
subscribe('http.client.request.start', (message) => {
  if ((message as { readonly request: { readonly method: string } }).request.method === 'POST') wasTold()
})
const kill = process.kill.bind(process)
process.kill = (pid, signal) => {
  // Not the end of what a check has started.
  if (signal === 'SIGHUP' || signal === 'SIGUSR2') wasTold()
  return kill(pid, signal)
}
const { stage, swap } = Work.prototype
Work.prototype.stage = async function (...args) {
  reached('stage')
  const staged = await stage.apply(this, args)
  reached('staged')
  return staged
}
Work.prototype.swap = async function (...args) {
  await swap.apply(this, args)
  reached('swapped')
}

export function followed(component: ProgramComponent): ProgramComponent {
  return {
    ...component,
    async prepare(...args) {
      reached('prepare')
      const prepared = await component.prepare(...args)
      reached('prepared')
      return {
        ...prepared,
        async commit() {
          reached('commit')
          await prepared.commit()
          reached('committed')
        },
      }
    },
  }
}
