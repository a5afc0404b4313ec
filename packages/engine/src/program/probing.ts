/**
 * How a program shows that it runs on its new files. A probe is begun before the program is told, as some can only be
 * read against what was before, and asked until it says yes or its time is up.
 */
import { connect } from 'node:net'
import { checkOf } from '../agent/probe-check.ts'
import { backoffMs, errorText, pause } from '../deadline.ts'
import { run } from './command.ts'
import type { Probe } from './options.ts'
import { beginHaproxy } from './probes/haproxy.ts'
import { assertNginxReady, beginNginx } from './probes/nginx.ts'
import { beginPrometheus } from './probes/prometheus.ts'
import { Final, type Ask } from './probes/ask.ts'

/** One answer. What hangs longer than this is asked anew. */
const askMs = 3_000
const firstWaitMs = 10
const longestWaitMs = 300

/** Asked before anything is touched. @throws Error if the program must not be told now. */
export async function assertReady(probes: readonly Probe[]): Promise<void> {
  for (const probe of probes) if ('nginx' in probe) await assertNginxReady(probe.nginx)
}

/** To be called before the program is told; what it gives is asked afterwards. */
export async function begin(probes: readonly Probe[], directory: string, signal: AbortSignal): Promise<readonly Ask[]> {
  return Promise.all(probes.map((probe) => beginOne(probe, directory, signal)))
}

/** @throws Error with what the first one that did not say yes said last. */
export async function allSayYes(asks: readonly Ask[], limitMs: number, stop: AbortSignal): Promise<void> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(limitMs)])
  for (const ask of asks) await saysYes(ask, limitMs, stop, signal)
}

async function saysYes(ask: Ask, limitMs: number, stop: AbortSignal, signal: AbortSignal): Promise<void> {
  let last = 'it was not asked'
  for (let tried = 0; !signal.aborted; tried++) {
    const patience = AbortSignal.timeout(askMs)
    try {
      await ask(AbortSignal.any([signal, patience]))
      return
    } catch (error) {
      if (error instanceof Final) throw error
      // What the end of our time has cut off says less than what was said before it.
      if (!signal.aborted || tried === 0) last = patience.aborted ? `no answer within ${askMs} ms` : errorText(error)
    }
    await pause(firstWaitMs / 2 + backoffMs(tried, firstWaitMs, longestWaitMs), signal)
  }
  stop.throwIfAborted()
  throw new Error(`the probe did not say yes within ${limitMs} ms: ${last}`)
}

async function beginOne(probe: Probe, directory: string, signal: AbortSignal): Promise<Ask> {
  if ('command' in probe) return (asked) => run('the probe', probe.command, directory, asked)
  if ('tcp' in probe) return (asked) => connected(probe.tcp.host ?? '127.0.0.1', probe.tcp.port, asked)
  if ('prometheus' in probe) return beginPrometheus(probe.prometheus.metricsUrl, signal)
  if ('haproxy' in probe) return beginHaproxy(probe.haproxy, signal)
  if ('nginx' in probe) return beginNginx(probe.nginx)
  const { url, status } = probe.http
  const ask = checkOf({ http: url, ...(status !== undefined && { expect: status }) })
  return async (asked) => void (await ask(asked))
}

function connected(host: string, port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal })
    socket.on('connect', () => {
      socket.destroy()
      resolve()
    })
    socket.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      reject(new Error(`no connection to ${host}:${port}: ${code ?? message}`))
    })
  })
}
