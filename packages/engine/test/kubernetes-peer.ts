/**
 * An API server that answers as Kubernetes' public documentation says (API concepts: efficient detection of changes,
 * watch bookmarks, 410 Gone, resource versions and conflicts, JSON merge patches; the references of ConfigMap, Secret,
 * Status and of common parameters): what the tests of `kubernetes()` and `kubernetesWriter()` talk to. Objects are kept
 * in memory, all in one namespace.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { WebServer } from './source-http-rig.ts'

type Data = Readonly<Record<string, string>>

export interface ApiObject {
  readonly kind: 'ConfigMap' | 'Secret'
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string }
  readonly data?: Data
  readonly binaryData?: Data
  readonly immutable?: boolean
}

interface Patch {
  readonly metadata?: { readonly resourceVersion?: string; readonly name?: string }
  readonly data?: Readonly<Record<string, string | null>>
  readonly binaryData?: Readonly<Record<string, string | null>>
}

interface Event {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly version: number
  readonly object: ApiObject
}

interface Watcher {
  readonly resource: string
  readonly name: string
  readonly response: ServerResponse
}

const namespace = 'shop'
const resources = { ConfigMap: 'configmaps', Secret: 'secrets' } as const

export class KubernetesPeer {
  readonly web: WebServer
  /** What a client has to bring. */
  token: string | undefined
  /** What the Role does not let it do. */
  forbidden: 'list' | 'watch' | 'get' | 'patch' | 'create' | undefined
  /** What an admission rule says of every write. */
  denies: string | undefined
  /** Called before a patch or a creation is looked at: somebody else is faster. */
  beforeWrite: (() => void) | undefined
  /** How a version that is too old is told: by the answer's status, or by an event of a watch that was taken on. */
  expiresBy: 'status' | 'event' = 'status'
  #version = 100
  #uids = 0
  /** Versions before are compacted. */
  #oldest = 0
  #objects = new Map<string, ApiObject>()
  #history: Event[] = []
  readonly #watchers = new Set<Watcher>()

  private constructor(web: WebServer) {
    this.web = web
    web.answering = (request, response) => this.#answer(request, response)
  }

  static async listen(): Promise<KubernetesPeer> {
    return new KubernetesPeer(await WebServer.listen())
  }

  get url(): string {
    return this.web.proxy.url
  }

  get version(): number {
    return this.#version
  }

  data(kind: ApiObject['kind'], name: string): Data | undefined {
    return this.object(kind, name)?.data
  }

  object(kind: ApiObject['kind'], name: string): ApiObject | undefined {
    return this.#objects.get(`${resources[kind]}/${name}`)
  }

  /** Values of a Secret are base64 here, as on the wire. */
  apply(kind: ApiObject['kind'], name: string, fields: Pick<ApiObject, 'data' | 'binaryData' | 'immutable'>): void {
    const id = `${resources[kind]}/${name}`
    const before = this.#objects.get(id)
    const version = ++this.#version
    const uid = before?.metadata.uid ?? `uid-${++this.#uids}`
    const object: ApiObject = { kind, metadata: { name, uid, resourceVersion: String(version) }, ...fields }
    this.#objects.set(id, object)
    this.#tell({ type: before ? 'MODIFIED' : 'ADDED', version, object })
  }

  remove(kind: ApiObject['kind'], name: string): void {
    const id = `${resources[kind]}/${name}`
    const before = this.#objects.get(id)
    if (!before) return
    this.#objects.delete(id)
    const version = ++this.#version
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } }
    this.#tell({ type: 'DELETED', version, object })
  }

  /** Of what was before, nothing can be watched any more; watches that run go on. */
  compact(): void {
    this.#version += 10 // others write, too
    this.#oldest = this.#version
    this.#history = []
  }

  /** The cluster is restored from before there was anything: versions start over, and watches end. */
  restoreEmpty(): void {
    this.#version = 10
    this.#oldest = 0
    this.#history = []
    this.#objects.clear()
    this.endWatches()
  }

  bookmark(): void {
    const metadata = { resourceVersion: String(++this.#version), creationTimestamp: null }
    for (const { resource, response } of this.#watchers) {
      const kind = resource === 'secrets' ? 'Secret' : 'ConfigMap'
      send(response, { type: 'BOOKMARK', object: { kind, apiVersion: 'v1', metadata } })
    }
  }

  /** As the server does after `timeoutSeconds`, or when it is stopped. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end()
    this.#watchers.clear()
  }

  get watches(): number {
    return this.#watchers.size
  }

  /** The versions from which was watched, oldest first; `list` where it was listed. */
  get asked(): string[] {
    return this.web.requests.map(({ url }) => {
      const { searchParams } = new URL(url ?? '', 'http://peer')
      return searchParams.has('watch') ? (searchParams.get('resourceVersion') ?? '') : 'list'
    })
  }

  #tell(event: Event): void {
    this.#history.push(event)
    for (const watcher of this.#watchers) give(watcher, event)
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://peer')
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      return refuse(response, 401, 'Unauthorized', 'Unauthorized')
    }
    const [, resource = '', one] =
      new RegExp(`^/api/v1/namespaces/${namespace}/(configmaps|secrets)(?:/([a-z0-9.-]+))?$`).exec(url.pathname) ?? []
    if (resource !== '' && (one !== undefined || request.method === 'POST')) {
      const asked = { resource: resource as 'configmaps' | 'secrets', name: one, request, response }
      this.#answerOne(asked).catch((error: unknown) => response.destroy(error as Error))
      return
    }
    const [, name] = /^metadata\.name=(.+)$/.exec(url.searchParams.get('fieldSelector') ?? '') ?? []
    if (resource === '' || name === undefined) return refuse(response, 404, 'NotFound', 'the server could not find it')
    const verb = url.searchParams.has('watch') ? 'watch' : 'list'
    if (this.forbidden === verb) return forbid(response, verb, resource, name)
    if (verb === 'watch') return this.#watch({ resource, name, response }, url.searchParams)
    const object = this.#objects.get(`${resource}/${name}`)
    json(response, 200, {
      kind: resource === 'secrets' ? 'SecretList' : 'ConfigMapList',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(this.#version) },
      items: object ? [{ ...object, kind: undefined }] : [],
    })
  }

  async #answerOne({ resource, name, request, response }: Asked): Promise<void> {
    const verb = request.method === 'POST' ? 'create' : request.method === 'PATCH' ? 'patch' : 'get'
    if (this.forbidden === verb) return forbid(response, verb, resource, name ?? '')
    const body = await text(request)
    const kind = resource === 'secrets' ? 'Secret' : 'ConfigMap'
    if (verb === 'get') return this.#give(response, kind, name ?? '')
    if (this.denies !== undefined) return refuse(response, 403, 'Forbidden', this.denies)
    this.beforeWrite?.()
    const sent = JSON.parse(body) as Patch
    const id = sent.metadata?.name ?? name ?? ''
    const there = this.object(kind, id)
    const problem = problemOf(verb, request, sent, there) ?? invalid(kind, merged(sent, there), there)
    if (problem) {
      const [code, reason, message] = problem
      return refuse(response, code, reason, `${resource} "${id}" ${message}`)
    }
    this.apply(kind, id, merged(sent, there))
    this.#give(response, kind, id, verb === 'create' ? 201 : 200)
  }

  #give(response: ServerResponse, kind: ApiObject['kind'], name: string, code = 200): void {
    const object = this.object(kind, name)
    if (!object) return refuse(response, 404, 'NotFound', `${resources[kind]} "${name}" not found`)
    json(response, code, { apiVersion: 'v1', ...object })
  }

  #watch(watcher: Watcher, query: URLSearchParams): void {
    const { response } = watcher
    const after = Number(query.get('resourceVersion'))
    if (after < this.#oldest) {
      const message = `too old resource version: ${after} (${this.#oldest})`
      if (this.expiresBy === 'status') return refuse(response, 410, 'Expired', message)
      response.writeHead(200, { 'content-type': 'application/json' })
      send(response, { type: 'ERROR', object: status(410, 'Expired', message) })
      response.end()
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
    for (const event of this.#history) if (event.version > after) give(watcher, event)
    this.#watchers.add(watcher)
    const timer = setTimeout(() => response.end(), 1_000 * Number(query.get('timeoutSeconds') ?? 1_800))
    response.on('close', () => {
      clearTimeout(timer)
      this.#watchers.delete(watcher)
    })
  }
}

interface Asked {
  readonly resource: 'configmaps' | 'secrets'
  readonly name: string | undefined
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

type Problem = readonly [code: number, reason: string, message: string]

function problemOf(verb: string, { headers }: IncomingMessage, sent: Patch, there?: ApiObject): Problem | undefined {
  if (verb === 'create') return there && [409, 'AlreadyExists', 'already exists']
  if (headers['content-type'] !== 'application/merge-patch+json') return [415, 'UnsupportedMediaType', 'is no patch']
  if (!there) return [404, 'NotFound', 'not found']
  const version = sent.metadata?.resourceVersion
  if (version === undefined || version === there.metadata.resourceVersion) return undefined
  return [409, 'Conflict', 'cannot be fulfilled: the object has been modified; please apply your changes to the latest']
}

/** RFC 7396: null takes a field out. */
function merged(sent: Patch, there: ApiObject | undefined): Pick<ApiObject, 'data' | 'binaryData' | 'immutable'> {
  const map = (field: 'data' | 'binaryData') => {
    const entries = Object.entries({ ...there?.[field], ...sent[field] })
    return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== null))
  }
  const [data, binaryData] = [map('data'), map('binaryData')]
  const isImmutable = there?.immutable === true
  return { data, ...(Object.keys(binaryData).length > 0 && { binaryData }), ...(isImmutable && { immutable: true }) }
}

function invalid(
  kind: ApiObject['kind'],
  { data = {}, binaryData = {} }: Pick<ApiObject, 'data' | 'binaryData'>,
  there: ApiObject | undefined,
): Problem | undefined {
  const isInvalid = (message: string): Problem => [422, 'Invalid', `is invalid: ${message}`]
  if (there?.immutable) return isInvalid('data: Forbidden: field is immutable when `immutable` is set')
  const size = (value: string) => Buffer.from(value, kind === 'Secret' ? 'base64' : 'utf8').length
  const sizeBytes = Object.values(data).reduce((sum, value) => sum + size(value), 0)
  if (sizeBytes > 1_048_576) return isInvalid('[]: Too long: must have at most 1048576 bytes')
  const bad = Object.keys(data).find((key) => !/^[-._a-zA-Z0-9]+$/.test(key) || Object.hasOwn(binaryData, key))
  if (bad !== undefined) return isInvalid(`data[${bad}]: Invalid value`)
  return undefined
}

function forbid(response: ServerResponse, verb: string, resource: string, name: string): void {
  const who = `User "system:serviceaccount:${namespace}:gateway" cannot ${verb} resource "${resource}"`
  refuse(response, 403, 'Forbidden', `${resource} "${name}" is forbidden: ${who} in API group ""`)
}

function give({ resource, name, response }: Watcher, { type, object }: Event): void {
  if (object.metadata.name === name && resources[object.kind] === resource) send(response, { type, object })
}

function send(response: ServerResponse, event: unknown): void {
  response.write(`${JSON.stringify(event)}\n`)
}

function status(code: number, reason: string, message: string) {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
}

function refuse(response: ServerResponse, code: number, reason: string, message: string): void {
  json(response, code, status(code, reason, message))
}

function json(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
