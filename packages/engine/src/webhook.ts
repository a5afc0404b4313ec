/**
 * Tells a URL how reloads ended: POSTs the event as JSON. Where it may go is decided here and in `webhook-target.ts`;
 * when it is tried again, in `notify.ts`.
 */
import type * as Http from 'node:http'
import type * as Https from 'node:https'
import { eventText } from './event-text.ts'
import { NotificationError, type Notification, type ReloadEvent } from './notify.ts'
import { targetOf, type Target } from './webhook-target.ts'

export interface WebhookOptions {
  /** `http:` or `https:`. Its path and query may be secret: warnings name the host only. */
  readonly url: string
  /** Which reloads it is told of; default `both`. */
  readonly on?: Notification['on']
  /** Sent with each request, such as `Authorization`. Never shown. */
  readonly headers?: Readonly<Record<string, string>>
  /** From the start of a try to the end of the response; milliseconds, 1 to 60 000, default 5000. */
  readonly timeoutMs?: number
  /**
   * Hosts (`hooks.internal`) or hosts with a port (`127.0.0.1:8080`) that may be reached although their addresses are
   * private, loopback or otherwise not public.
   */
  readonly allowHosts?: readonly string[]
}

/** An event that is larger is sent shortened. */
const maxBodyBytes = 2 ** 18
/** So much of a response is read, and thrown away; the connection is closed then. */
const maxResponseBytes = 2 ** 16
const ownHeaders = new Set([
  'host',
  'content-length',
  'content-type',
  'transfer-encoding',
  'connection',
  'expect',
  'upgrade',
  'te',
  'trailer',
])

/**
 * A 2xx is success. A 5xx, 408, 429 or an unreachable host is tried again, not before `Retry-After`; any other answer
 * is not. Redirects are not followed.
 * @throws TypeError at the call, if the URL, a header or the time limit is wrong, or the URL names an address that is
 *   not public and not in `allowHosts`. Names are checked at each try, by every address that they resolve to.
 */
export function webhook(options: WebhookOptions): Notification {
  const { timeoutMs = 5000, headers = {} } = options
  const target = targetOf(options.url, options.allowHosts ?? [])
  if (!(timeoutMs >= 1 && timeoutMs <= 60_000)) {
    throw new TypeError(`webhook timeoutMs is ${timeoutMs}; want 1 to 60000`)
  }
  for (const [name, value] of Object.entries(headers)) checkHeader(name, value)
  return {
    name: `webhook ${target.shown}`,
    on: options.on ?? 'both',
    send: (event, signal) => post(target, headers, timeoutMs, event, signal),
  }
}

// Not imported: that alone takes as long as all the rest of the engine, and most programs have no webhook.
const http = (): typeof Http => process.getBuiltinModule('node:http')
const https = (): typeof Https => process.getBuiltinModule('node:https')

function checkHeader(name: string, value: string): void {
  if (ownHeaders.has(name.toLowerCase())) throw new TypeError(`webhook header ${name} cannot be set`)
  http().validateHeaderName(name)
  try {
    http().validateHeaderValue(name, value)
  } catch {
    throw new TypeError(`webhook header ${name} has a character that a header must not have`)
  }
}

async function post(
  target: Target,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
  event: ReloadEvent,
  signal: AbortSignal,
): Promise<void> {
  const body = Buffer.from(eventText(event, maxBodyBytes))
  const { status, retryAfter } = await exchange(target, headers, timeoutMs, body, signal)
  if (status >= 200 && status < 300) return
  if (status >= 300 && status < 400) {
    throw new NotificationError(`answered ${status}; redirects are not followed`, { transient: false })
  }
  const transient = status >= 500 || status === 429 || status === 408
  const retryAfterMs = transient ? retryAfterOf(retryAfter) : undefined
  throw new NotificationError(`answered ${status}`, {
    transient,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
}

interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
}

function exchange(
  target: Target,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
  body: Buffer,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answer: Answer | undefined
    const { request: send } = target.url.protocol === 'https:' ? https() : http()
    const request = send(target.url, {
      method: 'POST',
      // A connection of its own each time: one from a pool was checked at some other time.
      agent: false,
      lookup: target.lookup,
      signal,
      headers: {
        'user-agent': 'midflight',
        ...headers,
        'content-type': 'application/json',
        'content-length': body.length,
      },
    })
    const timer = setTimeout(() => {
      request.destroy(new NotificationError(`no answer within ${timeoutMs} ms`, { transient: true }))
    }, timeoutMs)
    // The status has said all: what comes of the rest of the response no longer matters.
    const settle = (error?: Error): void => {
      clearTimeout(timer)
      if (answer) resolve(answer)
      else reject(failureOf(error))
    }
    request.on('response', (response) => {
      answer = { status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] }
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > maxResponseBytes) request.destroy()
      })
      response.on('error', settle)
      response.on('close', () => settle())
    })
    request.on('error', settle)
    request.on('close', () => settle())
    request.end(body)
  })
}

function failureOf(error: Error | undefined): NotificationError {
  if (error instanceof NotificationError) return error
  const { code = 'connection closed' } = (error ?? {}) as NodeJS.ErrnoException
  // Only the code: a message of TLS or of the parser may quote what went over the wire.
  return new NotificationError(code, { transient: true, cause: error })
}

/** `Retry-After` in seconds or as a date, in milliseconds from now; `undefined` if there is none that makes sense. */
function retryAfterOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms > 0 ? ms : undefined
}
