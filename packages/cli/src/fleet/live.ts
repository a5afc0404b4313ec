/** What happens to configs and nodes, as it happens (Server-Sent Events); comes back when the connection breaks. */
import type { IncomingMessage } from 'node:http'
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { answered, bodyOf, noAnswer } from '../admin/request.ts'
import { Refusal } from '../refusal.ts'
import { refusalOf } from './call.ts'
import { pause } from '../pause.ts'

export type LiveItem =
  | { readonly kind: 'connected' }
  | { readonly kind: 'event'; readonly type: string; readonly data: Json }
  /** What came meanwhile is no longer kept. */
  | { readonly kind: 'gap' }
  | { readonly kind: 'lost'; readonly reason: string; readonly retryMs: number }

const firstMs = 500
const mostMs = 15_000
/** Nothing at all for so long, not even the signs of life that come every 15 s, means that the other side has gone. */
const silenceMs = 60_000

const maxFrameLength = 16 * 1024 * 1024

/** @throws Refusal if the first connection fails, or a later one is refused for good. */
export async function* live(address: Address, prefix: string, signal: AbortSignal): AsyncGenerator<LiveItem> {
  let last: string | undefined
  let everConnected = false
  for (let tries = 0; !signal.aborted;) {
    let reason = 'the connection ended'
    try {
      const response = await opened(address, prefix, last, signal)
      yield { kind: 'connected' }
      everConnected = true
      tries = 0
      for await (const frame of frames(response)) {
        last = frame.id ?? last
        if (frame.type === 'reset') yield { kind: 'gap' }
        else if (frame.data !== undefined) yield { kind: 'event', type: frame.type, data: frame.data }
      }
    } catch (error) {
      if (signal.aborted) return
      const mayPass = error instanceof Refusal && (error.code === 'unreachable' || error.code === 'busy')
      if (!everConnected || !mayPass) throw error
      reason = error.message
    }
    if (signal.aborted) return
    const retryMs = Math.round(Math.random() * Math.min(mostMs, firstMs * 2 ** Math.min(++tries, 10)))
    yield { kind: 'lost', reason, retryMs }
    await pause(retryMs, signal)
  }
}

async function opened(
  address: Address,
  prefix: string,
  last: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const opening = new AbortController()
  const timer = setTimeout(() => opening.abort(), address.timeoutMs)
  let response: IncomingMessage
  try {
    const headers = { accept: 'text/event-stream', ...(last !== undefined && { 'last-event-id': last }) }
    const path = `/v1/events?${new URLSearchParams({ prefix }).toString()}`
    response = await answered(address, path, { headers, signal: AbortSignal.any([signal, opening.signal]) })
  } catch (error) {
    throw noAnswer(address, error)
  } finally {
    clearTimeout(timer)
  }
  if (response.statusCode === 200) return response
  throw refusalOf(address, response.statusCode ?? 0, await bodyOf(response))
}

interface Frame {
  readonly id: string | undefined
  readonly type: string
  readonly data: Json | undefined
}

/** A connection that breaks ends them like one that is closed. */
async function* frames(response: IncomingMessage): AsyncGenerator<Frame> {
  response.setEncoding('utf8')
  response.socket.setTimeout(silenceMs, () => response.destroy())
  let rest = ''
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const parts = (rest + chunk).split('\n\n')
      rest = parts.pop() ?? ''
      if (rest.length > maxFrameLength) throw new Refusal('not-midflight', 'an event of more than 16 MiB was sent')
      for (const part of parts) yield frameIn(part)
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
  } finally {
    response.destroy()
  }
}

function frameIn(text: string): Frame {
  const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(text)?.[1]
  const data = field('data')
  return { id: field('id'), type: field('event') ?? 'message', data: data === undefined ? undefined : parsed(data) }
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json
  } catch {
    // Not one of ours: as good as a comment.
    return undefined
  }
}
