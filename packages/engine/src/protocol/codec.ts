/** Messages to text and back, within their limits. Who closes a connection over a bad one is the reader's affair. */
import { shown } from '../issue.ts'
import { agentMessage, busMessage, serverMessage } from './messages.ts'
import type { AgentMessage, BusMessage, Message, ServerMessage } from './messages.ts'
import { mismatchText, type Shape } from './shape.ts'

/** In bytes of UTF-8. */
export const maxMessageBytes = 64 * 1024
/** In bytes of UTF-8, for `release` alone. */
export const maxReleaseBytes = 128 * 1024 * 1024

export type BadMessageCode = 'binary' | 'encoding' | 'too-large' | 'syntax' | 'shape'

/** The WebSocket close code (RFC 6455) that goes with each. */
export const closeCodes: Readonly<Record<BadMessageCode, number>> = {
  binary: 1003,
  encoding: 1007,
  'too-large': 1009,
  syntax: 1008,
  shape: 1008,
}

/** A message that the other side should not have sent. */
export class BadMessageError extends Error {
  override readonly name = 'BadMessageError'
  readonly code: BadMessageCode

  constructor(code: BadMessageCode, message: string) {
    super(message)
    this.code = code
  }
}

const encoder = new TextEncoder()

/** @throws RangeError if it is larger than its kind may be. The shape is not checked: types do that. */
export function encode(message: Message): string {
  const text = JSON.stringify(message)
  const max = maxBytes(message.type)
  // Counted only where the number of code units does not settle it already.
  if (text.length * 3 > max) {
    const bytes = encoder.encode(text).length
    if (bytes > max) throw new RangeError(`a ${message.type} message has ${bytes} bytes; want at most ${max}`)
  }
  return text
}

/** @throws BadMessageError */
export function decodeFromAgent(frame: string | Uint8Array): AgentMessage {
  return decode(frame, agentMessage, maxMessageBytes)
}

/** @throws BadMessageError */
export function decodeFromServer(frame: string | Uint8Array): ServerMessage {
  return decode(frame, serverMessage, maxReleaseBytes)
}

/** What a control plane says on a bus, without the line before it. @throws BadMessageError */
export function decodeFromBus(frame: string | Uint8Array): BusMessage {
  return decode(frame, busMessage, maxReleaseBytes)
}

function decode<M extends Message>(frame: string | Uint8Array, shape: Shape<M>, limit: number): M {
  const bytes = typeof frame === 'string' ? atLeastBytes(frame, maxMessageBytes) : frame.length
  if (bytes > limit) throw tooLarge(bytes, limit)
  const text = typeof frame === 'string' ? frame : decodeUtf8(frame)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new BadMessageError('syntax', `the message is not JSON: ${(error as Error).message}`)
  }
  const wrong = shape.mismatch(value, [])
  if (wrong) throw new BadMessageError('shape', mismatchText(wrong))
  const message = value as M
  const max = maxBytes(message.type)
  if (bytes > max) throw tooLarge(bytes, max, message.type)
  return message
}

function maxBytes(type: Message['type']): number {
  return type === 'release' ? maxReleaseBytes : maxMessageBytes
}

/** The number of bytes where it matters; where the text is surely within `small`, the number of code units will do. */
function atLeastBytes(text: string, small: number): number {
  if (text.length * 3 <= small || text.length > maxReleaseBytes) return text.length
  return encoder.encode(text).length
}

function decodeUtf8(frame: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(frame)
  } catch {
    throw new BadMessageError('encoding', 'the message is not UTF-8')
  }
}

function tooLarge(bytes: number, limit: number, type?: string): BadMessageError {
  const what = type === undefined ? 'the message' : `the ${shown(type)} message`
  return new BadMessageError('too-large', `${what} has ${bytes} bytes; want at most ${limit}`)
}
