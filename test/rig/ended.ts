/** The end of programs that a test started. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

/** Resolves once it is gone, also if it was before. @param signal SIGKILL is a crash. */
export async function ended(child: ChildProcess | undefined, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child === undefined || hasEnded(child)) return
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}
