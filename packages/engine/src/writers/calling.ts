/**
 * How the writers of this folder make a call: within its time, on a connection that is kept while it is good, and with
 * every failure as a WriteError that names the writer.
 */
import { DeadlineError, errorText, within } from '../deadline.ts'
import { FollowError } from '../sources/watching.ts'
import { WriteError, type WriteErrorCode } from './writer.ts'

export interface Call {
  readonly signal: AbortSignal
  /** To be called right before a change is sent: from then on nobody knows whether it was made, until the answer. */
  sent(): void
}

/** @throws WriteError */
export async function calling<T>(
  writer: string,
  limitMs: number,
  signal: AbortSignal,
  work: (call: Call) => Promise<T>,
): Promise<T> {
  let isSent = false
  try {
    return await within(limitMs, signal, (inTime) => work({ signal: inTime, sent: () => void (isSent = true) }))
  } catch (error) {
    if (error instanceof WriteError) throw error
    throw new WriteError(codeOf(error, isSent), `${writer}: ${textOf(error, isSent)}`, { cause: error })
  }
}

function codeOf(error: unknown, isSent: boolean): WriteErrorCode {
  if (error instanceof FollowError && !error.transient) return 'denied'
  return isSent ? 'unknown' : 'unreachable'
}

function textOf(error: unknown, isSent: boolean): string {
  const late = error instanceof DeadlineError ? 'no answer: it ' : ''
  return `${late}${errorText(error)}${isSent ? '; whether it was written is not known' : ''}`
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
    if (this.#closing.signal.aborted) throw new WriteError('refused', 'the writer is closed')
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
