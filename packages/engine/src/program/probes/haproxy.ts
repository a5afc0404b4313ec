/**
 * HAProxy's master starts itself anew for a reload. Where that fails (a port is taken) it goes on with the old worker
 * and writes a line into its log (F67). Who answers at the stats socket says which it is: a new worker puts its own socket
 * in the place of the old one's, and answers once it serves.
 *
 * A signal that comes while the master still starts itself anew for the reload before is lost (seen with 2.6), which looks
 * the same: so it is told again, at growing distances.
 */
import { connect } from 'node:net'
import { processIn } from '../reloading.ts'
import type { Ask } from './ask.ts'

const maxAnswerBytes = 65_536
const firstAgainMs = 1_500

export async function beginHaproxy(
  { statsSocket, pidFile }: { readonly statsSocket: string; readonly pidFile?: string },
  signal: AbortSignal,
): Promise<Ask> {
  // It does not run: whoever answers later is new.
  const before = await serving(statsSocket, signal).catch(() => undefined)
  let againMs = firstAgainMs
  let againAt: number | undefined
  return async (asked) => {
    againAt ??= performance.now() + againMs
    const now = await serving(statsSocket, asked)
    if (now.pid === before?.pid) {
      if (pidFile !== undefined && performance.now() >= againAt) {
        againMs *= 2
        againAt = performance.now() + againMs
        process.kill(await processIn(pidFile, 'haproxy'), 'SIGUSR2')
      }
      throw new Error(`HAProxy runs on its old configuration: process ${now.pid} still answers; its log says why`)
    }
    if (now.stopping) throw new Error(`process ${now.pid} of HAProxy answers and is stopping; want one that serves`)
  }
}

async function serving(
  path: string,
  signal: AbortSignal,
): Promise<{ readonly pid: string; readonly stopping: boolean }> {
  const info = await answerAt(path, 'show info\n', signal)
  const pid = /^Pid: (\d+)$/m.exec(info)?.[1]
  if (pid === undefined) throw new Error(`what answers at ${path} does not say its Pid; want HAProxy's stats socket`)
  return { pid, stopping: /^Stopping: 1$/m.test(info) }
}

async function answerAt(path: string, question: string, signal: AbortSignal): Promise<string> {
  const socket = connect({ path, signal })
  socket.end(question)
  let answer = ''
  try {
    for await (const chunk of socket) {
      answer += String(chunk)
      if (answer.length > maxAnswerBytes) break
    }
    return answer
  } catch (error) {
    signal.throwIfAborted()
    throw new Error(`HAProxy does not answer at ${path}: ${(error as NodeJS.ErrnoException).code}`, { cause: error })
  }
}
