/**
 * A server that answers as Nacos's public documentation says (Open API: get, listen to, publish and delete
 * configurations; authorization by access tokens): what the tests of `nacos()` and `nacosWriter()` talk to. Of what the
 * documentation leaves out, it does what the server's releases do: `show=all` reads the database, the header `casMd5`
 * is compared from 2.4 on, with a 500 and a sentence where it is another, and `/v1/console/server/state` tells the version.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { WebServer } from './source-http-rig.ts'

type At = readonly [dataId: string, group: string, tenant?: string]

export class NacosPeer {
  readonly web: WebServer
  /** Who may log in, where authentication is on. */
  user: { readonly username: string; readonly password: string } | undefined
  tokenTtlSeconds = 18_000
  /** Long polls are held for so long at most, whatever they ask for. */
  mostHoldMs = Infinity
  /** What long polls asked for, as it came. */
  readonly listened: { readonly body: string; readonly timeout: string | undefined }[] = []
  logins = 0
  /** As the server tells it. Undefined: it does not. */
  version: string | undefined = '2.5.1'
  /** Told with an error of the database that comes instead of an answer to the next publish. */
  failing: string | undefined
  readonly tokens = new Set<string>()
  readonly #contents = new Map<string, Uint8Array>()
  readonly #about = new Map<string, Readonly<Record<string, string | null>>>()
  readonly #waiting = new Set<() => void>()

  private constructor(web: WebServer) {
    this.web = web
    web.answering = (request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error))
    }
  }

  static async listen(): Promise<NacosPeer> {
    return new NacosPeer(await WebServer.listen())
  }

  get url(): string {
    return this.web.proxy.url
  }

  /** @param at data id, group and the id of a namespace */
  put(at: At, content: Uint8Array, about: Readonly<Record<string, string | null>> = {}): void {
    this.#contents.set(placed(...at), content)
    this.#about.set(placed(...at), about)
    for (const wake of this.#waiting) wake()
  }

  get(at: At): Uint8Array | undefined {
    return this.#contents.get(placed(...at))
  }

  /** What is kept beside the content. */
  about(at: At): Readonly<Record<string, string | null>> | undefined {
    return this.#about.get(placed(...at))
  }

  remove(at: At): void {
    this.#contents.delete(placed(...at))
    for (const wake of this.#waiting) wake()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', 'http://peer')
    const what = `${request.method} ${url.pathname}`
    if (what === 'POST /nacos/v1/auth/login') return this.#logIn(request, response)
    if (this.user && !this.tokens.has(url.searchParams.get('accessToken') ?? '')) {
      response.writeHead(403).end('token invalid!')
    } else if (what === 'GET /nacos/v1/console/server/state' && this.version !== undefined) {
      json(response, { version: this.version, standalone_mode: 'standalone' })
    } else if (what === 'GET /nacos/v1/cs/configs' && url.searchParams.get('show') === 'all') {
      this.#tell(response, url.searchParams)
    } else if (what === 'GET /nacos/v1/cs/configs') {
      this.#give(response, url.searchParams)
    } else if (what === 'POST /nacos/v1/cs/configs') {
      this.#publish(request.headers['casmd5'], new URLSearchParams(await text(request)), response)
    } else if (what === 'DELETE /nacos/v1/cs/configs') {
      this.remove(atOf(url.searchParams))
      response.writeHead(200).end('true')
    } else if (what === 'POST /nacos/v1/cs/configs/listener') {
      await this.#listen(request, response)
    } else response.writeHead(404).end()
  }

  async #logIn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = new URLSearchParams(await text(request))
    if (form.get('username') !== this.user?.username || form.get('password') !== this.user?.password) {
      response.writeHead(403).end('unknown user!')
      return
    }
    const accessToken = `token-${++this.logins}`
    this.tokens.add(accessToken)
    response.writeHead(200, { 'content-type': 'application/json;charset=UTF-8' })
    response.end(JSON.stringify({ accessToken, tokenTtl: this.tokenTtlSeconds, globalAdmin: false }))
  }

  #give(response: ServerResponse, query: URLSearchParams): void {
    const at = placed(query.get('dataId') ?? '', query.get('group') ?? '', query.get('tenant') ?? '')
    const content = this.#contents.get(at)
    if (!content) {
      response.writeHead(404).end('config data not exist')
      return
    }
    response.writeHead(200, { 'content-type': 'text/plain;charset=UTF-8', 'content-md5': md5Of(content) }).end(content)
  }

  /** What is not there is answered with nothing at all. */
  #tell(response: ServerResponse, query: URLSearchParams): void {
    const at = atOf(query)
    const content = this.get(at)
    if (!content) return void response.writeHead(200).end()
    const [dataId, group, tenant] = at
    const about = { type: null, desc: null, configTags: null, appName: '', ...this.about(at) }
    json(response, { id: '1', dataId, group, tenant, content: String(content), md5: md5Of(content), ...about })
  }

  #publish(casMd5: string | string[] | undefined, form: URLSearchParams, response: ServerResponse): void {
    const at = atOf(form)
    const content = form.get('content') ?? ''
    if (this.failing !== undefined) {
      response.writeHead(500).end(this.failing)
      this.failing = undefined
    } else if (content.trim() === '') {
      response.writeHead(400).end('caused: invalid content;')
    } else if (this.#compares && casMd5 !== undefined && this.get(at) && md5Of(this.get(at)) !== casMd5) {
      response.writeHead(500).end('caused: Cas publish fail, server md5 may have changed.;')
    } else {
      const sent = { type: form.get('type') ?? 'text', desc: form.get('desc'), configTags: form.get('config_tags') }
      this.put(at, Buffer.from(content), { ...sent, appName: form.get('appName') ?? '' })
      response.writeHead(200).end('true')
    }
  }

  get #compares(): boolean {
    return this.version === undefined || Number.parseFloat(this.version) >= 2.4
  }

  async #listen(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request)
    const timeout = request.headers['long-pulling-timeout']
    this.listened.push({ body, timeout: timeout as string | undefined })
    const configs = new URLSearchParams(body).get('Listening-Configs') ?? ''
    const asked = configs.split('\u0001').filter((one) => one !== '')
    const changed = () =>
      asked.flatMap((one) => {
        const [dataId = '', group = '', md5 = '', tenant] = one.split('\u0002')
        const named = [dataId, group, ...(tenant === undefined ? [] : [tenant])].join('\u0002')
        return md5Of(this.#contents.get(placed(dataId, group, tenant))) === md5 ? [] : [`${named}\u0001`]
      })
    const look = () => {
      const list = changed()
      if (list.length === 0) return
      end()
      response.writeHead(200, { 'content-type': 'text/plain' }).end(`${encodeURIComponent(list.join(''))}\n`)
    }
    const end = () => {
      clearTimeout(timer)
      this.#waiting.delete(look)
    }
    const over = () => {
      end()
      response.writeHead(200).end()
    }
    const timer = setTimeout(over, Math.min(Number(timeout), this.mostHoldMs))
    this.#waiting.add(look)
    response.on('close', end)
    if (response.destroyed) end()
    else look()
  }
}

function atOf(query: URLSearchParams): At {
  return [query.get('dataId') ?? '', query.get('group') ?? '', query.get('tenant') ?? '']
}

function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json;charset=UTF-8' }).end(JSON.stringify(body))
}

function placed(dataId: string, group: string, tenant = ''): string {
  return JSON.stringify([dataId, group, tenant])
}

function md5Of(content: Uint8Array | undefined): string {
  return content ? createHash('md5').update(content).digest('hex') : ''
}
