/**
 * A config service that answers as Apollo's public documentation says ("Other Language Client User Guide": configs,
 * notifications/v2, access keys, gray releases): what the tests of `apollo()` talk to.
 */
import { createHmac } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { WebServer } from './source-http-rig.ts'

type Items = Readonly<Record<string, string>>

interface Namespace {
  readonly items: Items
  readonly releaseKey: string
  readonly gray: readonly { readonly ip?: string; readonly label?: string; readonly items: Items }[]
}

export class ApolloPeer {
  readonly web: WebServer
  /** The access key of the app. */
  secret: string | undefined
  /** Apollo holds long polls for 60 seconds. */
  holdMs = 1_000
  /** A notification is not told, as when its message is lost. */
  isMute = false
  #releases = 0
  #messages = 100
  readonly #namespaces = new Map<string, Namespace>()
  readonly #ids = new Map<string, number>()
  readonly #waiting = new Set<() => void>()

  private constructor(web: WebServer) {
    this.web = web
    web.answering = (request, response) => this.#answer(request, response)
  }

  static async listen(): Promise<ApolloPeer> {
    return new ApolloPeer(await WebServer.listen())
  }

  get url(): string {
    return this.web.proxy.url
  }

  /** @param namespace as `app/default/application` */
  release(namespace: string, items: Items, gray: Namespace['gray'] = []): void {
    this.#namespaces.set(namespace, { items, gray, releaseKey: `release-${++this.#releases}` })
    this.#announce(namespace)
  }

  items(namespace: string): Items {
    return this.#namespaces.get(namespace)?.items ?? {}
  }

  deleteNamespace(namespace: string): void {
    this.#namespaces.delete(namespace)
    this.#announce(namespace)
  }

  /** The table of messages starts over: ids are lower than before. */
  forgetMessages(): void {
    this.#messages = 1
    for (const namespace of this.#ids.keys()) this.#ids.set(namespace, ++this.#messages)
  }

  #announce(namespace: string): void {
    if (this.isMute) return
    this.#ids.set(namespace, ++this.#messages)
    for (const wake of this.#waiting) wake()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#isSigned(request)) {
      response.writeHead(401).end()
      return
    }
    const url = new URL(request.url ?? '', 'http://peer')
    const [, what, ...rest] = url.pathname.split('/').map(decodeURIComponent)
    if (what === 'configs' && rest.length === 3) this.#giveRelease(response, rest.join('/'), url.searchParams)
    else if (what === 'notifications' && rest[0] === 'v2') this.#giveNotification(response, url.searchParams)
    else response.writeHead(404).end()
  }

  #isSigned({ headers, url }: IncomingMessage): boolean {
    if (this.secret === undefined) return true
    const timestamp = String(headers['timestamp'])
    const isNow = Math.abs(Date.now() - Number(timestamp)) < 60_000
    const signature = createHmac('sha1', this.secret).update(`${timestamp}\n${url}`).digest('base64')
    return isNow && headers.authorization === `Apollo app:${signature}`
  }

  #giveRelease(response: ServerResponse, at: string, query: URLSearchParams): void {
    const namespace = this.#namespaces.get(at)
    if (!namespace) {
      response.writeHead(404).end()
      return
    }
    const [ip, label] = [query.get('ip'), query.get('label')]
    const rule = namespace.gray.findIndex((one) => (one.ip ?? NaN) === ip || (one.label ?? NaN) === label)
    const items = namespace.gray[rule]?.items ?? namespace.items
    const releaseKey = rule < 0 ? namespace.releaseKey : `${namespace.releaseKey}-gray-${rule}`
    if (query.get('releaseKey') === releaseKey) {
      response.writeHead(304).end()
      return
    }
    const [appId, cluster, namespaceName] = at.split('/')
    response.writeHead(200, { 'content-type': 'application/json;charset=UTF-8' })
    response.end(JSON.stringify({ appId, cluster, namespaceName, configurations: items, releaseKey }))
  }

  #giveNotification(response: ServerResponse, query: URLSearchParams): void {
    const asked = JSON.parse(query.get('notifications') ?? '[]') as { namespaceName: string; notificationId: number }[]
    const news = () =>
      asked.flatMap(({ namespaceName, notificationId }) => {
        const id = this.#ids.get(`${query.get('appId')}/${query.get('cluster')}/${namespaceName}`)
        return id !== undefined && id > notificationId ? [{ namespaceName, notificationId: id }] : []
      })
    const look = () => {
      const list = news()
      if (list.length === 0) return
      end()
      response.writeHead(200, { 'content-type': 'application/json;charset=UTF-8' }).end(JSON.stringify(list))
    }
    const end = () => {
      clearTimeout(timer)
      this.#waiting.delete(look)
    }
    const timer = setTimeout(() => {
      end()
      response.writeHead(304).end()
    }, this.holdMs)
    this.#waiting.add(look)
    response.on('close', end)
    look()
  }
}
