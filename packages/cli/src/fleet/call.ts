/** Requests to a control plane: JSON there and back, and its problems (RFC 9457) as refusals. The contract is its OpenAPI document. */
import type { Json, JsonObject } from 'midflight'
import { configNameProblem } from 'midflight/protocol'
import type { Address } from '../admin/address.ts'
import { ask, type Answer, type AskOptions } from '../admin/request.ts'
import { Refusal, type RefusedPlace, type RefusalCode } from '../refusal.ts'

export interface Call {
  readonly method?: AskOptions['method']
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: unknown
  readonly contentType?: string
  readonly signal?: AbortSignal
}

export interface Reply<T> {
  readonly body: T
  readonly headers: Answer['headers']
}

/** `/v1/configs/shop%2Fgateway/…` @throws Refusal for what is no name of a config. */
export function configPath(config: string, rest = ''): string {
  const problem = configNameProblem(config)
  if (problem !== undefined) throw new Refusal('usage', `the config ${JSON.stringify(config)} ${problem}`)
  return `/v1/configs/${encodeURIComponent(config)}${rest}`
}

/** @throws Refusal for everything but success. */
export async function call<T>(address: Address, path: string, options: Call = {}): Promise<Reply<T>> {
  const { method, query = {}, headers, body, signal } = options
  const asked = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) asked.set(name, String(value))
  const answer = await ask(address, asked.size > 0 ? `${path}?${asked.toString()}` : path, {
    ...(method && { method }),
    ...(signal && { signal }),
    headers: { ...headers, ...(body !== undefined && { 'content-type': options.contentType ?? 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const found = jsonIn(answer.body)
  if (answer.status < 200 || answer.status > 299) throw refusalIn(address, answer.status, found)
  if (found === undefined && answer.body !== '') throw foreign(address, answer.status)
  return { body: found as T, headers: answer.headers }
}

interface Page<T> {
  readonly items: readonly T[]
  readonly next?: string | number
}

/** The entries of a list that comes in pages, at most `limit`. */
export async function callAll<T>(address: Address, path: string, query: Call['query'], limit: number): Promise<T[]> {
  const all: T[] = []
  let after: string | number | undefined = query?.['after']
  for (;;) {
    const size = Math.min(1000, limit - all.length)
    const { body } = await call<Page<T>>(address, path, { query: { ...query, after, limit: size } })
    if (!Array.isArray(body?.items)) throw foreign(address, 200)
    all.push(...body.items)
    if (body.next === undefined || all.length >= limit) return all
    after = body.next
  }
}

const attempts = 3

/**
 * As `call`, asked again when nobody knows whether it happened, or others were in the way. Only for what may be asked
 * twice: `headers` must hold an Idempotency-Key.
 */
export async function callAgain<T>(address: Address, path: string, options: Call): Promise<Reply<T>> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call<T>(address, path, options)
    } catch (error) {
      const again = error instanceof Refusal && (error.code === 'unreachable' || error.code === 'busy')
      if (!again || attempt === attempts) throw error
      await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt * Math.random()))
    }
  }
}

const codes: Readonly<Record<string, RefusalCode>> = {
  denied: 'forbidden',
  'foreign-host': 'forbidden',
  'foreign-origin': 'forbidden',
  'not-found': 'not-found',
  conflict: 'conflict',
  'precondition-required': 'conflict',
  invalid: 'invalid',
  busy: 'busy',
  unavailable: 'busy',
  unknown: 'busy',
  'rate-limited': 'busy',
}

/** What an answer that is not a success means. */
export function refusalOf(address: Address, status: number, body: string): Refusal {
  return refusalIn(address, status, jsonIn(body))
}

function refusalIn(address: Address, status: number, body: Json | undefined): Refusal {
  const problem = isObject(body) ? body : {}
  const text = (name: string): string | undefined =>
    typeof problem[name] === 'string' ? (problem[name] as string) : undefined
  const code = text('code')
  if (code !== undefined && text('type') === 'about:blank') {
    return new Refusal(
      'not-midflight',
      `${address.name} is the admin endpoint of a process, and this asks a control plane`,
      'midflight status, plan, reload and watch ask a process',
    )
  }
  if (status === 401) {
    return address.token === undefined
      ? new Refusal(
          'unauthorized',
          `${address.name} wants a token`,
          'midflight login keeps one; so do MIDFLIGHT_TOKEN and --token-file',
        )
      : new Refusal(
          'unauthorized',
          `${address.name} does not accept this token`,
          'it may have expired, or been revoked',
        )
  }
  if (code === undefined) return foreign(address, status)
  const issues = Array.isArray(problem['issues']) ? problem['issues'].flatMap(placeOf) : []
  // In which part of the request it was is nothing that people typed.
  const detail = (text('detail') ?? text('title') ?? `answers ${status}`).replace(/^the (?:path|query): /, '')
  const holds = text('holds')
  return new Refusal(
    codes[code] ?? 'refused',
    holds === undefined ? detail : `${detail}; ${holds}`,
    detail.startsWith('there is no config ') ? noConfig : hints[code],
    issues,
  )
}

const noConfig = 'midflight config list shows those that this token may see; midflight config create makes one'

const hints: Readonly<Record<string, string>> = {
  conflict: 'somebody else published meanwhile; look at the plan again',
  'not-applied': '--break-glass REASON does it all the same',
  review: 'midflight draft create proposes it for review',
  frozen: 'midflight draft create keeps it until then; --break-glass REASON does it all the same',
  busy: 'try again',
  unknown: 'it may have been published; midflight history shows it',
}

/** An issue as it travels, with its place as people write it. */
export function placeOf(issue: Json): RefusedPlace[] {
  if (!isObject(issue) || typeof issue['message'] !== 'string') return []
  const path = typeof issue['path'] === 'string' ? issue['path'] : ''
  const hint = typeof issue['hint'] === 'string' ? ` (${issue['hint']})` : ''
  return [{ path, message: issue['message'] + hint }]
}

function foreign(address: Address, status: number): Refusal {
  return new Refusal(
    'not-midflight',
    `${address.name} answers ${status}, but not as a control plane of Midflight does; is it the right address?`,
  )
}

function jsonIn(body: string): Json | undefined {
  try {
    return JSON.parse(body) as Json
  } catch {
    // Not JSON is one of the answers: a login page, a proxy's error. The caller says so.
    return undefined
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
