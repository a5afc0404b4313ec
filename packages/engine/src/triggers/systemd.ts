/**
 * Tells systemd what the service is doing: ready, reloading, stopping, still alive (sd_notify(3)). It asks for no
 * reload itself: systemd does that with SIGHUP, so `onSignal()` goes with it.
 *
 * Node has no unix datagram sockets, so each message is sent by `systemd-notify`, which is there wherever systemd is.
 */
import { execFile } from 'node:child_process'
import type { Event } from '../event.ts'
import { outcomeText, succeeded } from '../outcome.ts'
import type { Endpoint, Lifecycle, OpenEndpoint } from '../trigger.ts'

export interface SystemdNotifyOptions {
  /** Where the service manager listens; the environment's NOTIFY_SOCKET by default. */
  readonly socketPath?: string
  /** The program that sends; `systemd-notify` on the PATH by default. */
  readonly command?: string
}

/** Longer than the five seconds for which `systemd-notify` itself waits for the manager. */
const sendLimitMs = 10_000
const maxStatusLength = 500

/**
 * For units with `Type=notify-reload` (systemd 253 and later) or `Type=notify`, with `NotifyAccess=all`.
 * Sends READY=1 once the first configuration is live, RELOADING=1 with MONOTONIC_USEC when a reload begins, READY=1
 * and a STATUS line when it is over, STOPPING=1 at close, and WATCHDOG=1 twice per WATCHDOG_USEC where that is set.
 * Without a socket it does nothing, and its address says so. Opening rejects if the first message cannot be sent.
 */
export function systemdNotify(options: SystemdNotifyOptions = {}): Endpoint {
  return {
    name: 'systemd',
    async open(engine) {
      const socketPath = options.socketPath ?? process.env['NOTIFY_SOCKET']
      if (socketPath === undefined || socketPath === '') {
        return { address: 'not under systemd (NOTIFY_SOCKET is not set)', close: async () => {} }
      }
      return open(engine, socketPath, options.command ?? 'systemd-notify')
    },
  }
}

async function open(engine: Lifecycle, socketPath: string, command: string): Promise<OpenEndpoint> {
  const send = (message: readonly string[]) => notify(command, socketPath, message)
  await send(['READY=1', `STATUS=${statusLine('running')}`])

  // One at a time and in order. What waits is at most one reload: when the next begins, the one before is history.
  let waiting: (readonly string[])[] = []
  let sending = Promise.resolve()
  const drain = async () => {
    for (let message = waiting.shift(); message !== undefined; message = waiting.shift()) {
      await send(message).catch((error: Error) => process.emitWarning(error.message, 'MidflightWarning'))
    }
  }
  const enqueue = (message: readonly string[]) => {
    waiting.push(message)
    sending = sending.then(drain)
  }

  const unsubscribe = engine.events.subscribe((event: Event) => {
    if (event.kind === 'reload-began') {
      waiting = []
      // Taken here and not when it is sent: systemd wants a time after its SIGHUP and of this very reload.
      enqueue(['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`])
    } else if (event.kind === 'reload') {
      const { outcome } = event
      const prefix = succeeded(outcome) ? '' : 'reload failed: '
      enqueue(['READY=1', `STATUS=${statusLine(prefix + outcomeText(outcome))}`])
    }
  })

  const periodMs = watchdogMs(process.env) / 2
  const watchdog = periodMs > 0 ? setInterval(() => enqueue(['WATCHDOG=1']), periodMs) : undefined
  watchdog?.unref()

  return {
    address: `systemd (${socketPath})`,
    async close() {
      unsubscribe()
      clearInterval(watchdog)
      enqueue(['STOPPING=1', 'STATUS=stopping'])
      await sending
    },
  }
}

/** Milliseconds within which systemd wants to hear of this process; 0 where it does not watch it. */
function watchdogMs(environment: NodeJS.ProcessEnv): number {
  const { WATCHDOG_USEC: period, WATCHDOG_PID: pid } = environment
  if (pid !== undefined && pid !== String(process.pid)) return 0
  return period !== undefined && /^\d{1,15}$/.test(period) ? Number(period) / 1000 : 0
}

/** One line, since a line break would begin the next assignment. */
function statusLine(text: string): string {
  return text.replace(/\s+/g, ' ').slice(0, maxStatusLength)
}

async function notify(command: string, socketPath: string, message: readonly string[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const env = { ...process.env, NOTIFY_SOCKET: socketPath }
    execFile(command, [...message], { env, timeout: sendLimitMs }, (error, _, stderr) => {
      if (error === null) return resolve()
      const missing = error.code === 'ENOENT'
      const why = missing
        ? 'there is no such program; install systemd, or leave systemdNotify() out'
        : stderr.trim() || error.message
      reject(
        new Error(`systemd: ${command} could not send ${message[0] ?? ''} to ${socketPath}: ${why}`, { cause: error }),
      )
    })
  })
}
