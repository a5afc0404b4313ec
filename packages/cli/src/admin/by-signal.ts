/** Asks a process for a reload by signal, which has no answer, and where there is a door waits for the outcome there. */
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import process from 'node:process'
import type { Outcome } from 'midflight'
import { Refusal } from '../refusal.ts'
import type { Address } from './address.ts'
import { askEvents } from './admin.ts'
import { readStream } from './event-stream.ts'

const maxPid = 4_194_304

export function pidOf(text: string): number {
  const pid = /^\d{1,7}$/.test(text) ? Number(text) : NaN
  if (pid >= 1 && pid <= maxPid) return pid
  throw new Refusal('usage', `--pid is ${JSON.stringify(text)}; want a process id from 1 to ${maxPid}`)
}

export function signalOf(text: string): NodeJS.Signals {
  const name = text.toUpperCase().replace(/^(?!SIG)/, 'SIG')
  if (name in constants.signals && name !== 'SIGKILL' && name !== 'SIGSTOP') return name as NodeJS.Signals
  throw new Refusal(
    'usage',
    `--signal is ${JSON.stringify(text)}; want a signal that can be taken, like SIGHUP or SIGUSR2`,
  )
}

/**
 * @returns the outcome of the reload that began after the signal, if `watched` says where to see it
 * @throws Refusal if there is no such process, if it may not be signalled or would not survive it, or if no reload
 *   is seen in time
 */
export async function signalled(
  pid: number,
  signal: NodeJS.Signals,
  watched: Address | undefined,
): Promise<Outcome | undefined> {
  send(pid, 0)
  mustTake(pid, signal)
  if (watched === undefined) {
    send(pid, signal)
    return undefined
  }
  const newest = (await askEvents(watched, { limit: 1 })).at(-1)?.id ?? 0
  send(pid, signal)
  return outcomeAfter(watched, newest, pid, signal)
}

function send(pid: number, signal: NodeJS.Signals | 0): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ESRCH') throw new Refusal('signal', `there is no process ${pid}`)
    if (code === 'EPERM') throw new Refusal('signal', `process ${pid} belongs to another user and may not be signalled`)
    throw new Refusal('signal', `process ${pid} cannot be signalled: ${message}`)
  }
}

/** A signal that nobody takes ends the process; the system knows beforehand, where it has /proc. @throws Refusal */
export function mustTake(pid: number, signal: NodeJS.Signals): void {
  let status: string
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    // Without /proc nobody can tell; the user asked for the signal.
    return
  }
  const isIn = (field: string): boolean => {
    const mask = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1]
    return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n
  }
  if (isIn('SigCgt')) return
  const name = /^Name:\s*(.*)$/m.exec(status)?.[1] ?? ''
  const what = isIn('SigIgn') ? `ignores ${signal}` : `does not take ${signal} and would be ended by it`
  throw new Refusal(
    'signal',
    `process ${pid} (${name}) ${what}; nothing was sent`,
    `the program takes it with triggers: [onSignal('${signal}')]`,
  )
}

async function outcomeAfter(address: Address, after: number, pid: number, signal: string): Promise<Outcome> {
  const late = AbortSignal.timeout(address.timeoutMs)
  let run: number | undefined
  try {
    for await (const item of readStream(address, after, late)) {
      if (item.kind !== 'event') continue
      const { event } = item
      if (event.kind === 'reload-began' && event.triggers.includes('signal')) run ??= event.run
      if (event.kind === 'reload' && event.outcome.run === run) return event.outcome
    }
  } catch (error) {
    if (!late.aborted) throw error
  }
  throw new Refusal(
    'unreachable',
    late.aborted
      ? `sent ${signal} to process ${pid}, but ${address.name} showed no reload within ${address.timeoutMs / 1000} s`
      : `sent ${signal} to process ${pid}, but ${address.name} went away before the reload was over`,
    'is it the same process?',
  )
}
