/** One HTTP request to a program beside us: a bounded answer, a deadline, no redirects. */
import { bodyOf, headOf } from '../http-request.ts'

const maxBodyBytes = 65_536

export interface Asked {
  readonly url: string
  readonly method: string
  readonly body?: Buffer
  readonly contentType?: string
  /** Of the answer so much counts; default 64 KiB. */
  readonly maxBytes?: number
}

/** Any status is an answer. @throws Error if there is none. */
export async function answerOf(
  what: string,
  { url, method, body, contentType, maxBytes = maxBodyBytes }: Asked,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  const headers = {
    // To pack it costs a program beside us more than to send it.
    'accept-encoding': 'identity',
    // What is sent is to be taken also if it is what was sent before: a file that it names may be another.
    ...(body && { 'cache-control': 'must-revalidate' }),
    ...(contentType !== undefined && { 'content-type': contentType }),
  }
  try {
    const response = await headOf({ url: new URL(url), method, headers, body, agent: false, signal })
    const said = (await bodyOf(response, maxBytes)).toString().slice(0, maxBytes).trim()
    return { status: response.statusCode ?? 0, body: said }
  } catch (error) {
    signal.throwIfAborted()
    // Only the code: the rest may quote the URL, or what went over the wire.
    const { code = 'the connection was closed' } = error as NodeJS.ErrnoException
    throw new Error(`${what} was not answered: ${code}`, { cause: error })
  }
}
