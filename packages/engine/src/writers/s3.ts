/**
 * Writes to a bucket of S3, or of a store that speaks as S3 does: conditional PUT and DELETE by ETag. A store that does
 * not know conditions and says so is written to by force only. How a bucket is spoken to is `../sources/s3/bucket.ts`.
 */
import { Buffer } from 'node:buffer'
import { inRange } from '../range.ts'
import { asked, codeOf, locationOf, refused, unspeakable } from '../sources/s3/bucket.ts'
import type { Bucket, Question, S3Place } from '../sources/s3/bucket.ts'
import { list } from '../sources/s3/listing.ts'
import type { TlsOptions } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import type { Answer } from '../sources/watching/request.ts'
import { calling, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type StoredEntry, type Writer } from './writer.ts'

export type { S3Credentials, S3Place } from '../sources/s3/bucket.ts'

/** The credentials need s3:GetObject and s3:PutObject, to list s3:ListBucket, to remove s3:DeleteObject. */
export interface S3WriterOptions extends S3Place {
  readonly tls?: TlsOptions
  /** How long each answer may take as a whole, milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

const maxBytes = 16 * 1024 * 1024
/** Objects of a list that are read at the same time. */
const atOnce = 8

/** @throws TypeError, RangeError at the call, if an option cannot be meant. */
export function s3Writer(options: S3WriterOptions): Writer {
  const { timeoutMs = 10_000, credentials } = options
  inRange('s3Writer()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  const { base, region } = locationOf(options)
  const agent = agentFor(base, options.tls)
  const bucket: Bucket = { peer: { agent }, base, region, credentials, timeoutMs, derived: new Map() }
  const name = `s3:${base.host}/${options.bucket}`
  const call = <T>(signal: AbortSignal, work: (call: Call) => Promise<T>) => calling(name, timeoutMs * 2, signal, work)
  const check = (key: string) => {
    const wrong = key === '' ? 'is empty' : unspeakable(key)
    if (wrong !== undefined) throw new WriteError('refused', `${name}: the key ${JSON.stringify(key)} ${wrong}`)
  }
  const request = (question: Question) => asked(bucket, question, maxBytes)

  async function read(key: string, signal: AbortSignal): Promise<Stored | undefined> {
    const answer = await request({ key, signal })
    if (answer.status === 404 && codeOf(answer) !== 'NoSuchBucket') return undefined
    if (answer.status !== 200) throw explained(name, answer)
    if (answer.body.length > maxBytes) throw new WriteError('refused', `${name}: ${key} is more than ${maxBytes} bytes`)
    return { value: answer.body, revision: answer.headers.etag ?? '' }
  }

  return {
    name,
    lacks: { revisions: 'the ETag of an object tells its content, and comes back with it' },
    read: (key, signal) =>
      call(signal, async (current) => {
        check(key)
        return await read(key, current.signal)
      }),
    async *list(prefix, signal) {
      const objects = await call(signal, (current) => list(bucket, prefix, Infinity, current.signal))
      if (!('size' in objects)) throw new WriteError('refused', `${name}: ${objects.key} ${objects.message}`)
      const keys = [...objects.keys()]
      for (let i = 0; i < keys.length; i += atOnce) {
        const some = keys.slice(i, i + atOnce).map(async (key): Promise<StoredEntry[]> => {
          const stored = await call(signal, (current) => read(key, current.signal))
          // It was removed meanwhile.
          return stored ? [{ key, ...stored }] : []
        })
        for (const entries of await Promise.all(some)) yield* entries
      }
    },
    write: (key, value, expected, signal) =>
      call(signal, async ({ signal: inTime, sent }) => {
        check(key)
        const headers = { 'content-type': 'application/json', ...conditions(expected) }
        sent()
        const answer = await request({ key, method: 'PUT', headers, body: Buffer.from(value), signal: inTime })
        if (isConflict(answer, expected)) return { kind: 'conflict' }
        if (answer.status !== 200) throw explained(name, answer)
        return { kind: 'written', revision: answer.headers.etag ?? '' }
      }),
    remove: (key, expected, signal) =>
      call(signal, async ({ signal: inTime, sent }) => {
        check(key)
        // S3 removes what is not there without a word.
        const there = await read(key, inTime)
        if (!there) return { kind: typeof expected === 'object' ? 'conflict' : 'absent' }
        if (expected === 'absent') return { kind: 'conflict' }
        if (typeof expected === 'object' && there.revision !== expected.revision) return { kind: 'conflict' }
        sent()
        const answer = await request({ key, method: 'DELETE', headers: conditions(expected), signal: inTime })
        if (isConflict(answer, expected)) return { kind: 'conflict' }
        if (answer.status !== 204 && answer.status !== 200) throw explained(name, answer)
        return { kind: 'removed' }
      }),
    async close() {
      agent.destroy()
    },
  }
}

function conditions(expected: Expected): Record<string, string> {
  if (expected === 'any') return {}
  return expected === 'absent' ? { 'if-none-match': '*' } : { 'if-match': expected.revision }
}

/** 409 is what S3 says where two conditional requests meet; a key that is gone cannot have the ETag. */
function isConflict(answer: Answer, expected: Expected): boolean {
  if (expected === 'any') return false
  return answer.status === 412 || answer.status === 409 || (answer.status === 404 && codeOf(answer) === 'NoSuchKey')
}

/** What was read and refused: nothing was written. */
function explained(name: string, answer: Answer): unknown {
  const { status } = answer
  const isAboutRequest = status === 501 || (status >= 400 && status < 500 && ![401, 403, 408, 429].includes(status))
  if (!isAboutRequest) return refused(answer)
  const what = status === 501 ? 'does not know conditional writes; it can be written by force' : refused(answer).message
  return new WriteError('refused', `${name}: ${what}`)
}
