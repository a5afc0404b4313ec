/** Requests to Nacos with the access token that they need: one that was given, or one that a login brings. */
import type { Token } from '../../credentials.ts'
import { ask, refusal, type Answer, type Ask, type Peer } from '../watching/request.ts'
import { FollowError } from '../watching.ts'

/** Where authentication is on: a user, or a token that comes from elsewhere. */
export interface NacosCredentials {
  readonly username?: string
  readonly password?: string
  /** A function is asked before each request. */
  readonly accessToken?: Token
}

/** Of the life of a token, after which it is not used any more. */
const usedPart = 0.9

export class Login {
  readonly #peer: Peer
  readonly #base: URL
  readonly #credentials: NacosCredentials
  readonly #limitMs: number
  #held: { readonly token: string; readonly until: number } | undefined

  /** @throws TypeError if the credentials cannot be meant */
  constructor(peer: Peer, base: URL, credentials: NacosCredentials, limitMs: number) {
    const { username, password, accessToken } = credentials
    if (
      (username === undefined) !== (password === undefined) ||
      (username !== undefined && accessToken !== undefined)
    ) {
      throw new TypeError('nacos(): want a username and a password, or an accessToken, or none of them')
    }
    this.#peer = peer
    this.#base = base
    this.#credentials = credentials
    this.#limitMs = limitMs
  }

  /** With a new login where the token of the last one is not good any more: the server was started again, say. */
  async ask(options: Ask, maxBytes: number): Promise<Answer> {
    const wasHeld = this.#held
    const answer = await this.#ask(options, maxBytes)
    const isRefused = answer.status === 401 || answer.status === 403
    if (!isRefused) return answer
    this.#held = undefined
    return wasHeld === undefined ? answer : this.#ask(options, maxBytes)
  }

  async #ask(options: Ask, maxBytes: number): Promise<Answer> {
    const token = await this.#token(options.signal)
    if (token === undefined) return ask(this.#peer, options, maxBytes)
    const url = new URL(options.url)
    url.searchParams.set('accessToken', token)
    return ask(this.#peer, { ...options, url, secret: token }, maxBytes)
  }

  async #token(signal: AbortSignal): Promise<string | undefined> {
    const { username, password, accessToken } = this.#credentials
    if (username === undefined || password === undefined) {
      return typeof accessToken === 'function' ? accessToken() : accessToken
    }
    if (this.#held && performance.now() < this.#held.until) return this.#held.token
    const url = new URL(this.#base)
    url.pathname += '/v1/auth/login'
    const body = new URLSearchParams({ username, password }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const began = performance.now()
    const answer = await ask(
      this.#peer,
      { url, method: 'POST', headers, body, signal, limitMs: this.#limitMs },
      64 * 1024,
    )
    const where = `${url.origin}${url.pathname}`
    if (answer.status === 401 || answer.status === 403) {
      throw new FollowError(`${where} refuses the user name or the password (${answer.status})`, { transient: false })
    }
    if (answer.status !== 200) throw refusal(answer)
    const { accessToken: token, tokenTtl: seconds } = objectIn(answer.body)
    if (typeof token !== 'string' || token === '') {
      throw new FollowError(`${where} answers without an access token`, { transient: false })
    }
    const lifeMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : 0
    this.#held = { token, until: began + lifeMs * usedPart }
    return token
  }
}

function objectIn(body: Uint8Array): { accessToken?: unknown; tokenTtl?: unknown } {
  try {
    return Object(JSON.parse(Buffer.from(body).toString()))
  } catch {
    return {} // told by the caller, with the place
  }
}
