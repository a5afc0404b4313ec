/**
 * A config service that answers as Apollo's public documentation says ("Other Language Client User Guide": configs,
 * notifications/v2, access keys, gray releases), and a portal ("Apollo Open API Platform": namespaces, items, releases):
 * what the tests of `apollo()` and `apolloWriter()` talk to. The portal has one environment, DEV, and one app.
 */
import { createHmac } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { WebServer } from './source-http-rig.ts'

type Items = Readonly<Record<string, string>>

interface Namespace {
  readonly items: Items
  readonly releaseKey: string
  readonly gray: readonly { readonly ip?: string; readonly label?: string; readonly items: Items }[]
}

interface Item {
  readonly key: string
  readonly value: string
  readonly comment?: string
  readonly dataChangeCreatedBy?: string
  readonly dataChangeLastModifiedBy?: string
}

export class ApolloPeer {
  readonly web: WebServer
  /** What the portal wants in `Authorization`, and who is a user of it. */
  portalToken = 'portal-token'
  portalUser = 'jo'
  /** As `item.value.length.limit` sets it. */
  mostCharacters = 20_000
  /** Called before a release is made. A text is why it is refused. */
  beforeRelease: (() => string | void) | undefined
  /** The access key of the app. */
  secret: string | undefined
  /** Apollo holds long polls for 60 seconds. */
  holdMs = 1_000
  /** A notification is not told, as when its message is lost. */
  isMute = false
  #releases = 0
  #messages = 100
  readonly #namespaces = new Map<string, Namespace>()
  /** What was edited, by namespace: released or not. */
  readonly #drafts = new Map<string, Map<string, Item>>()
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
    const before = this.#drafts.get(namespace)
    const drafts = Object.entries(items).map(([key, value]) => [key, { ...before?.get(key), key, value }] as const)
    this.#drafts.set(namespace, new Map(drafts))
    this.#announce(namespace)
  }

  /** As somebody does in the portal: a namespace without items and releases. */
  create(namespace: string): void {
    if (!this.#drafts.has(namespace)) this.#drafts.set(namespace, new Map())
  }

  /** As somebody edits in the portal. Undefined: the item is deleted. Nothing is released. */
  edit(namespace: string, key: string, value: string | undefined): void {
    const drafts = this.drafts(namespace)
    if (value === undefined) drafts.delete(key)
    else drafts.set(key, { ...drafts.get(key), key, value })
  }

  drafts(namespace: string): Map<string, Item> {
    const drafts = this.#drafts.get(namespace)
    if (!drafts) throw new Error(`there is no ${namespace}`)
    return drafts
  }

  /** How many releases there were. */
  get releases(): number {
    return this.#releases
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
    if (request.url?.startsWith('/openapi/v1/')) {
      this.#answerPortal(request, response).catch((error: unknown) => response.destroy(error as Error))
      return
    }
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

  async #answerPortal(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request)
    if (request.headers.authorization !== this.portalToken)
      return json(response, { status: 401, message: 'Unauthorized' }, 401)
    const url = new URL(request.url ?? '', 'http://peer')
    const [, appId, cluster, namespace, rest = ''] =
      /^\/openapi\/v1\/envs\/DEV\/apps\/([^/]+)\/clusters\/([^/]+)\/namespaces\/([^/]+)(\/.*)?$/.exec(url.pathname) ??
      []
    const at = [appId, cluster, decodeURIComponent(namespace ?? '')].join('/')
    const drafts = this.#drafts.get(at)
    if (request.method === 'GET' && rest === '/releases/latest') return this.#tellRelease(response, at)
    if (!drafts) return json(response, { status: 404, message: `namespace not found for ${at}` }, 404)
    const why = this.#edited(`${request.method} ${rest}`, {
      at,
      drafts,
      query: url.searchParams,
      sent: body === '' ? {} : JSON.parse(body),
    })
    if (why !== undefined) return json(response, { status: 400, message: why }, 400)
    if (request.method === 'GET' && rest === '') {
      return json(response, { appId, clusterName: cluster, namespaceName: namespace, items: [...drafts.values()] })
    }
    if (rest === '/releases') this.#tellRelease(response, at)
    else response.writeHead(200).end()
  }

  /** @returns why not */
  #edited(what: string, { at, drafts, query, sent }: Edit): string | undefined {
    const who = sent.releasedBy ?? sent.dataChangeLastModifiedBy ?? sent.dataChangeCreatedBy ?? query.get('operator')
    if (what === 'GET ') return undefined
    if (who !== this.portalUser) return `user(${who}) not exists`
    if ((sent.value?.length ?? 0) > this.mostCharacters) return `value too long. length limit:${this.mostCharacters}`
    const [, verb, name] = /^(\w+) \/items(?:\/(.+))?$/.exec(what) ?? []
    const key = name === undefined ? (sent.key ?? '') : decodeURIComponent(name)
    if (verb !== undefined) {
      if (verb === 'POST' && drafts.has(key)) return 'item already exists'
      if (verb !== 'POST' && !drafts.has(key)) return 'item not exists'
      if (verb === 'DELETE') drafts.delete(key)
      else drafts.set(key, sent as Item)
      return undefined
    }
    if (what !== 'POST /releases' || !sent.releaseTitle || sent.releaseTitle.length > 64) return `no ${what}`
    const why = this.beforeRelease?.()
    if (why) return why
    this.release(at, Object.fromEntries([...drafts].map(([id, { value }]) => [id, value])))
    return undefined
  }

  /** A namespace that was never released is answered with nothing. */
  #tellRelease(response: ServerResponse, at: string): void {
    const release = this.#namespaces.get(at)
    if (!release) return void response.writeHead(200).end()
    const [appId, clusterName, namespaceName] = at.split('/')
    const id = Number(release.releaseKey.replace('release-', ''))
    json(response, { id, appId, clusterName, namespaceName, configurations: release.items })
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

interface Edit {
  readonly at: string
  readonly drafts: Map<string, Item>
  readonly query: URLSearchParams
  readonly sent: Partial<Item> & { readonly releaseTitle?: string; readonly releasedBy?: string }
}

function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json;charset=UTF-8' }).end(JSON.stringify(body))
}
