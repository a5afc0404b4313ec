/** The protocol over plain HTTP: one request each. When to send which is `link.ts`. */
import { BadMessageError, decodeFromServer, encode, maxMessageBytes, maxReleaseBytes } from '../protocol/codec.ts'
import type { Hello, ReleaseMessage, Report, ServerMessage, Welcome } from '../protocol/messages.ts'
import { agentUrl, type Remote } from './remote.ts'
import { ask, RemoteError, refusal, type Answer } from './request.ts'

/** Beyond what the server was asked to wait. */
const limitMs = 30_000

export interface PollRequest {
  readonly uid: string
  /** The newest release whose content is at hand; 0 for none. */
  readonly index: number
  readonly waitMs: number
  readonly whole: boolean
  /** Whether it may be answered with a release that is only to be made ready. */
  readonly votes: boolean
}

export interface PollAnswer {
  /** `undefined`: nothing newer. */
  readonly message: ReleaseMessage | undefined
  /** The head, where the server names it. */
  readonly head: number | undefined
  readonly pollMs: number | undefined
}

/** @throws RemoteError */
export async function poll(remote: Remote, request: PollRequest, signal: AbortSignal): Promise<PollAnswer> {
  const url = agentUrl(remote, 'poll')
  url.searchParams.set('uid', request.uid)
  url.searchParams.set('index', String(request.index))
  url.searchParams.set('wait', `${Math.round(request.waitMs / 1000)}s`)
  if (request.whole) url.searchParams.set('whole', '1')
  if (request.votes) url.searchParams.set('vote', '1')
  const answer = await ask(remote, {
    method: 'GET',
    url,
    limitMs: request.waitMs + limitMs,
    maxBytes: maxReleaseBytes,
    signal,
  })
  const head = headerNumber(answer, 'x-midflight-index')
  const pollMs = headerNumber(answer, 'x-midflight-poll-ms')
  if (answer.status === 304) return { message: undefined, head, pollMs }
  if (answer.status !== 200) throw refusal(url, remote.config, answer)
  return { message: read(url, answer, 'release'), head, pollMs }
}

/** Says what this node runs. @throws RemoteError */
export async function sayHello(remote: Remote, hello: Hello, signal: AbortSignal): Promise<Welcome> {
  const url = agentUrl(remote, 'heartbeat')
  const answer = await post(remote, url, encode(hello), signal)
  if (answer.status !== 200) throw refusal(url, remote.config, answer)
  return read(url, answer, 'welcome')
}

/** @throws RemoteError */
export async function sayReport(remote: Remote, uid: string, report: Report, signal: AbortSignal): Promise<void> {
  const url = agentUrl(remote, 'report')
  url.searchParams.set('uid', uid)
  const answer = await post(remote, url, encode(report), signal)
  if (answer.status !== 200 && answer.status !== 204) throw refusal(url, remote.config, answer)
}

function post(remote: Remote, url: URL, body: string, signal: AbortSignal): Promise<Answer> {
  return ask(remote, { method: 'POST', url, body, limitMs, maxBytes: maxMessageBytes, signal })
}

/** A login page with 200 is not an answer: what is not the message that was asked for is refused by name. */
function read<T extends ServerMessage['type']>(
  url: URL,
  { body }: Answer,
  type: T,
): Extract<ServerMessage, { readonly type: T }> {
  try {
    const message = decodeFromServer(body)
    if (message.type === type) return message as Extract<ServerMessage, { readonly type: T }>
    throw new RemoteError(`${url.origin} answers with a ${message.type} message to ${url.pathname}; want ${type}`)
  } catch (error) {
    if (!(error instanceof BadMessageError)) throw error
    throw new RemoteError(`${url.origin}: the answer to ${url.pathname} is no message: ${error.message}`, {
      cause: error,
    })
  }
}

function headerNumber({ headers }: Answer, name: string): number | undefined {
  const text = headers[name]
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
