/**
 * What stands around a message on a bus: its topic, and a line before it with a proof. A bus is read and written by more
 * than the two ends, so nothing on it is believed for having come. Pure and browser-safe: to sign and to check is the
 * affair of both ends, and who proves what with which key is told in docs/buses.md.
 */
import { BadMessageError } from './codec.ts'

/** Where a control plane speaks to the nodes of a config. No two configs have the same: their names have no capitals. */
export function releaseTopic(config: string): string {
  return `releases.${config.replaceAll('.', 'D').replaceAll('/', '.')}`
}

/** Where nodes speak to their control plane. */
export const reportTopic = 'reports'

export interface Format {
  readonly name: string
  /** How many words stand between the name and the proof. */
  readonly fieldCount: number
}

/** From a control plane. The proof is an Ed25519 signature in base64url, by the key that its `welcome` names. */
export const busFormat: Format = { name: 'midflight.bus.v1', fieldCount: 0 }

/** From a node: its uid, and a count that only grows. The proof is an HMAC-SHA-256 in base64url, by the key of its `welcome`. */
export const reportFormat: Format = { name: 'midflight.report.v1', fieldCount: 2 }

export interface Sealed {
  readonly fields: readonly string[]
  readonly proof: string
  /** What the proof is over. */
  readonly proven: Uint8Array
  /** A message, JSON in UTF-8. */
  readonly body: Uint8Array
}

const maxLineBytes = 512

/** What the proof is to be over: the line without the proof, and the message. */
export function toProve({ name }: Format, fields: readonly string[], body: Uint8Array): Uint8Array {
  return withLine([name, ...fields], body)
}

export function seal({ name }: Format, fields: readonly string[], proof: string, body: Uint8Array): Uint8Array {
  return withLine([name, ...fields, proof], body)
}

/** @throws BadMessageError if it is not of this format. */
export function unseal(bytes: Uint8Array, format: Format): Sealed {
  const end = bytes.subarray(0, maxLineBytes).indexOf(10)
  const words = end < 0 ? [] : new TextDecoder().decode(bytes.subarray(0, end)).split(' ')
  if (words[0] !== format.name || words.length !== format.fieldCount + 2) {
    throw new BadMessageError('syntax', `the message does not begin with a line of ${format.name}`)
  }
  const fields = words.slice(1, -1)
  const body = bytes.subarray(end + 1)
  return { fields, proof: words.at(-1) as string, proven: toProve(format, fields, body), body }
}

function withLine(words: readonly string[], body: Uint8Array): Uint8Array {
  const line = new TextEncoder().encode(`${words.join(' ')}\n`)
  const all = new Uint8Array(line.length + body.length)
  all.set(line)
  all.set(body, line.length)
  return all
}
