/**
 * One HTTP request to an admin endpoint or a control plane, by URL or over a unix socket, and what it means when there
 * is no answer. What the answers mean is `admin.ts` and `../fleet/call.ts`.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { Refusal } from '../refusal.ts'
import type { Address } from './address.ts'

export interface AskOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal?: AbortSignal
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

const maxBodyBytes = 256 * 1024 * 1024

/** @throws Refusal if there is no answer in time. */
export async function ask(address: Address, path: string, options: AskOptions = {}): Promise<Answer> {
  const late = AbortSignal.timeout(address.timeoutMs)
  const signal = options.signal ? AbortSignal.any([late, options.signal]) : late
  try {
    const response = await answered(address, path, { ...options, signal })
    return { status: response.statusCode ?? 0, headers: response.headers, body: await bodyOf(response) }
  } catch (error) {
    if (late.aborted) {
      throw new Refusal(
        'unreachable',
        `${address.name} gave no answer within ${address.timeoutMs / 1000} s`,
        'what was asked for may still happen; --timeout waits longer',
      )
    }
    throw noAnswer(address, error)
  }
}

/** Resolves with the head of the answer; its body is still to come. Rejects with the system's error. */
export function answered(address: Address, path: string, options: AskOptions): Promise<IncomingMessage> {
  const { at, token, ca } = address
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers }
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`
  const asked = {
    method: options.method ?? 'GET',
    agent: false as const,
    ...(options.signal ? { signal: options.signal } : {}),
  }
  return new Promise((resolve, reject) => {
    const sent =
      at.kind === 'socket'
        ? httpRequest({ ...asked, socketPath: at.path, path, headers: { ...headers, host: 'localhost' } }, resolve)
        : (at.base.protocol === 'https:' ? httpsRequest : httpRequest)(
            new URL(path.replace(/^\//, './'), at.base),
            { ...asked, headers, ...(ca !== undefined && { ca }) },
            resolve,
          )
    sent.on('error', reject)
    sent.end(options.body)
  })
}

export async function bodyOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length
    if (sizeBytes > maxBodyBytes) throw new Error('the answer is larger than 256 MiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Why there is no answer, and what to look at. */
export function noAnswer(address: Address, error: unknown): Refusal {
  if (error instanceof Refusal) return error
  const { code = '', message } = error as NodeJS.ErrnoException
  const on = address.missing ?? 'is the admin endpoint of the process on?'
  const refused =
    address.at.kind === 'socket' ? `nobody listens on ${address.name}` : `nothing listens at ${address.name}`
  if (code === 'ECONNREFUSED') return new Refusal('unreachable', `${refused}; ${on}`)
  if (code === 'ENOENT') return new Refusal('unreachable', `there is no socket at ${address.name}; ${on}`)
  if (code === 'EACCES' || code === 'EPERM') {
    return new Refusal(
      'unreachable',
      `${address.name} may not be opened by this user (${code})`,
      'the socket belongs to the user whom the process runs as, mode 0600',
    )
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new Refusal('unreachable', `the host of ${address.name} has no address (${code})`)
  }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'ETIMEDOUT') {
    return new Refusal('unreachable', `there is no way to ${address.name} (${code})`)
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new Refusal(
      'unreachable',
      `${address.name} closed the connection before it answered`,
      'did the process end, or does it speak something else than HTTP there?',
    )
  }
  if (code.startsWith('HPE_'))
    return new Refusal('not-midflight', `what listens at ${address.name} does not speak HTTP (${code})`)
  if (/^(?:DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|CERT_|ERR_TLS_CERT)/.test(code)) {
    return new Refusal(
      'not-midflight',
      `the certificate of ${address.name} is not trusted here: ${message}`,
      'NODE_EXTRA_CA_CERTS names a file with further certificate authorities',
    )
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return new Refusal(
      'not-midflight',
      `what listens at ${address.name} does not speak TLS`,
      address.missing ?? 'the admin endpoint itself is plain http://',
    )
  }
  return new Refusal('unreachable', `${address.name} cannot be asked: ${message}`)
}
