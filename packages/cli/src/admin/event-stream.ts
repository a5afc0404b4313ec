/** Events as they happen, over one connection (Server-Sent Events). Coming back after it broke is `follow.ts`. */
import type { IncomingMessage } from 'node:http'
import type { Event } from 'midflight'
import { Refusal } from '../refusal.ts'
import type { Address } from './address.ts'
import { isEvent, refusalIn } from './admin.ts'
import { answered, bodyOf, noAnswer } from './request.ts'

export type StreamItem =
  | { readonly kind: 'open' }
  | { readonly kind: 'event'; readonly event: Event }
  /** The record no longer held so many events. */
  | { readonly kind: 'gap'; readonly missed: number }
  /** The other side says how long to wait before coming back, milliseconds. */
  | { readonly kind: 'retry'; readonly afterMs: number }

/** Nothing at all for so long, not even the comments that come every 15 s, means that the other side has gone. */
const silenceMs = 60_000
const maxFrameLength = 64 * 1024 * 1024

/**
 * Events with an id above `after`, until the connection ends or `signal` aborts.
 * @throws Refusal if it cannot be opened
 */
export async function* readStream(address: Address, after: number, signal: AbortSignal): AsyncGenerator<StreamItem> {
  const response = await opened(address, after, signal)
  yield { kind: 'open' }
  response.setEncoding('utf8')
  response.socket.setTimeout(silenceMs, () => response.destroy())
  let rest = ''
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const frames = (rest + chunk.replaceAll('\r\n', '\n')).split('\n\n')
      rest = frames.pop() ?? ''
      if (rest.length > maxFrameLength)
        throw new Refusal('not-midflight', `${address.name} sent an event of more than 64 MiB`)
      for (const frame of frames) yield* itemsIn(frame)
    }
  } catch (error) {
    // A connection that breaks ends the stream like one that is closed; who wants more comes back.
    if (error instanceof Refusal) throw error
  } finally {
    response.destroy()
  }
}

async function opened(address: Address, after: number, signal: AbortSignal): Promise<IncomingMessage> {
  const opening = new AbortController()
  const timer = setTimeout(() => opening.abort(), address.timeoutMs)
  let response: IncomingMessage
  try {
    const headers = { accept: 'text/event-stream, application/problem+json;q=0.5', 'last-event-id': String(after) }
    response = await answered(address, '/events', { headers, signal: AbortSignal.any([signal, opening.signal]) })
  } catch (error) {
    if (opening.signal.aborted)
      throw new Refusal('unreachable', `${address.name} gave no answer within ${address.timeoutMs / 1000} s`)
    throw noAnswer(address, error)
  } finally {
    clearTimeout(timer)
  }
  const isStream = response.headers['content-type']?.startsWith('text/event-stream') === true
  if (response.statusCode === 200 && isStream) return response
  const body = isStream ? '' : await bodyOf(response)
  throw refusalIn(address, { status: response.statusCode ?? 0, headers: response.headers, body })
}

function* itemsIn(frame: string): Generator<StreamItem> {
  let name = 'message'
  const data: string[] = []
  for (const line of frame.split('\n')) {
    const [, field, value = ''] = /^([^:]+):? ?(.*)$/.exec(line) ?? []
    if (field === 'event') name = value
    else if (field === 'data') data.push(value)
    else if (field === 'retry' && /^\d{1,7}$/.test(value)) yield { kind: 'retry', afterMs: Number(value) }
  }
  if (data.length === 0) return
  const value = parsed(data.join('\n'))
  if (name === 'gap') {
    const missed = (value as { missed?: unknown } | undefined)?.missed
    if (typeof missed === 'number') yield { kind: 'gap', missed }
  } else if (isEvent(value)) yield { kind: 'event', event: value }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not one of ours: as good as a comment.
    return undefined
  }
}
