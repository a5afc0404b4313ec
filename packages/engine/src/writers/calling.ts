/**
 * How the writers of this folder make a call: within its time, on a connection that is kept while it is good, and with
 * every failure as a WriteError that names the writer. And what several of them look at themselves, before they ask.
 */
import { DeadlineError, errorText, within } from '../deadline.ts'
import { FollowError } from '../sources/watching.ts'
import { refusal, type Answer } from '../sources/watching/request.ts'
import { WriteError, type Expected, type Stored, type WriteErrorCode, type Writer } from './writer.ts'

export interface Call {
  readonly signal: AbortSignal
  /** To be called right before a change is sent: from then on nobody knows whether it was made, until the answer. */
  sent(): void
  /** What is there now, if nothing more comes of it: said of whatever ends the call. */
  leaves(what: string): void
}

/** @throws WriteError */
export async function calling<T>(
  writer: string,
  limitMs: number,
  signal: AbortSignal,
  work: (call: Call) => Promise<T>,
): Promise<T> {
  let isSent = false
  let left = ''
  const leaves = (what: string) => void (left = what === '' ? '' : `; ${what}`)
  try {
    return await within(limitMs, signal, (inTime) => work({ signal: inTime, sent: () => void (isSent = true), leaves }))
  } catch (error) {
    if (error instanceof WriteError) {
      throw left === '' ? error : new WriteError(error.code, `${error.message}${left}`, { cause: error })
    }
    const code = codeOf(error, isSent)
    const what = error instanceof DeadlineError ? `no answer within ${limitMs} ms` : errorText(error)
    const holds = code === 'unknown' ? '; whether it was written is not known' : ''
    throw new WriteError(code, `${writer}: ${what}${left}${holds}`, { cause: error })
  }
}

function codeOf(error: unknown, isSent: boolean): WriteErrorCode {
  if (error instanceof FollowError && !error.transient) return 'denied'
  return isSent && !neverArrived(error) ? 'unknown' : 'unreachable'
}

/**
 * An answer over HTTP other than what was hoped for. A 4xx was read and refused: nothing was written.
 * @param said of the body, what may be shown.
 */
export function refused(writer: string, answer: Answer, said = ''): Error {
  const { status, url } = answer
  if (status === 425 || status === 429) {
    const what = refusal(answer)
    return new WriteError('unreachable', `${writer}: ${what.message}; it was not taken`, { cause: what })
  }
  if (status < 400 || status > 499 || [401, 403, 408].includes(status)) return refusal(answer)
  const words = said === '' ? '' : `: ${wordsOf(answer, said)}`
  return new WriteError('refused', `${writer}: ${url.pathname} answers ${status}${words}`)
}

/** What a server says, unless it says what it was sent: that is not for errors. */
export function wordsOf(answer: Answer, said: string): string {
  return answer.repeats(said) ? 'what it says repeats what it was sent, and is not shown' : said
}

/** @throws FollowError for more than this, of which nothing is read. */
export function wholeOf(answer: Answer, mostBytes: number): Answer {
  if (answer.body.length <= mostBytes) return answer
  const at = `${answer.url.origin}${answer.url.pathname}`
  throw new FollowError(`${at} answers with more than ${mostBytes} bytes`, { transient: false })
}

/** What a server says in words, cut. */
export function saidIn({ body }: Answer): string {
  return body.toString('utf8', 0, 200).trim()
}

const noConnection = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']

/** Nobody was there to take it. */
function neverArrived(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  return noConnection.includes(String((cause as NodeJS.ErrnoException | undefined)?.code))
}

export function isAsExpected(found: Stored | undefined, expected: Expected): boolean {
  if (expected === 'any') return true
  return expected === 'absent' ? found === undefined : found?.revision === expected.revision
}

/** `list` of a store that lacks it. */
export function unlisted(writer: string, why: string): Writer['list'] {
  // oxlint-disable-next-line require-yield
  return async function* () {
    throw new WriteError('refused', `${writer}: has no list: ${why}`)
  }
}

/** For a store that holds texts. @throws WriteError if it is not UTF-8. */
export function textOf(writer: string, key: string, value: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
  } catch {
    throw new WriteError('refused', `${writer}: what is to be written to ${key} is not UTF-8`)
  }
}

/** One after the other, whatever becomes of each. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()

  take<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work)
    this.#last = mine.catch(() => undefined) // told to who asked for it
    return mine
  }
}

/** A connection that is made when it is first needed, and again after it was lost. */
export class Kept<Connection> {
  readonly #open: (signal: AbortSignal) => Promise<Connection>
  readonly #shut: (connection: Connection) => void | Promise<void>
  #opening: Promise<Connection> | undefined
  #closing = new AbortController()

  /** @param open gets a signal that lasts as long as the connection. */
  constructor(
    open: (signal: AbortSignal) => Promise<Connection>,
    shut: (connection: Connection) => void | Promise<void>,
  ) {
    this.#open = open
    this.#shut = shut
  }

  async get(): Promise<Connection> {
    if (this.#closing.signal.aborted) throw new Error('the writer is closed')
    const opening = (this.#opening ??= this.#open(this.#closing.signal))
    try {
      return await opening
    } catch (error) {
      if (this.#opening === opening) this.#opening = undefined
      throw error
    }
  }

  /** It is not good any more. */
  async drop(connection: Connection): Promise<void> {
    const kept = this.#opening
    if ((await kept?.catch(() => undefined)) !== connection || this.#opening !== kept) return
    this.#opening = undefined
    await this.#shut(connection)
  }

  async close(): Promise<void> {
    const opening = this.#opening
    this.#opening = undefined
    this.#closing.abort()
    const connection = await opening?.catch(() => undefined)
    if (connection !== undefined) await this.#shut(connection)
  }
}
