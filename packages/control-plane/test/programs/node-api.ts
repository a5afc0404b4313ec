/**
 * A node-management API, as the HTTP installer talks to it: a process of its own that remembers what it was told. Its
 * answers can be made bad from outside (`POST /behave`), and what it was asked can be looked at (`GET /calls`).
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

interface Subscription {
  digest: string
  enabled: boolean
  inspected: boolean
  installed: boolean
  nodes: string[]
  parameters: unknown
  version: string
}

interface Behaviour {
  /** The next so many calls, other than questions, are answered with this status: done before that, or not. */
  status?: number
  times?: number
  done?: boolean
  /** Only calls of this kind. */
  only?: string
  /** So many answers, to questions too, are none: the connection hangs or is cut in the middle, or they are no sense. */
  broken?: 'hang' | 'cut' | 'redirect' | 'nonsense' | 'twice' | 'forbidden'
  brokenTimes?: number
  /** Only answers to this method. */
  brokenMethod?: string
  /** States of nodes, by their keys. */
  nodes?: Record<string, { state: string; detail?: string }>
}

const subscriptions = new Map<string, Subscription>()
/** An id is used once: what is made late, after it was deleted, is refused. */
const deleted = new Set<string>()
const answered = new Map<string, { status: number; body: unknown }>()
const calls: string[] = []
let behaviour: Behaviour = {}
const token = process.argv[2]

const server = createServer((request, response) => {
  serve(request, response).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`)
    response.destroy()
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.stdout.write(`${address.port}\n`)
})

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  const body = text === '' ? undefined : JSON.parse(text)
  const { pathname } = new URL(request.url ?? '/', 'http://peer')
  const method = request.method ?? 'GET'
  const send = (status: number, answer: unknown = {}): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }
  if (pathname === '/calls') return send(200, { calls, subscriptions: [...subscriptions.keys()] })
  if (pathname === '/held') return send(200, Object.fromEntries(subscriptions))
  if (pathname === '/behave') {
    behaviour = body as Behaviour
    return send(200)
  }
  if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
    return send(401, { detail: 'who is that?' })
  const [, , encoded = '', verb = ''] = pathname.split('/')
  const id = decodeURIComponent(encoded)
  const isBroken =
    behaviour.broken !== undefined &&
    (behaviour.brokenTimes ?? 0) > 0 &&
    (behaviour.brokenMethod === undefined || behaviour.brokenMethod === method)
  if (isBroken) {
    behaviour.brokenTimes = (behaviour.brokenTimes ?? 0) - 1
    // What is asked for happens all the same: only the answer is none.
    if (method !== 'GET') {
      const kind = kindOf(method, verb)
      told(kind, kind === 'create' ? (body as { id: string }).id : id, body)
    }
    return broken(response, request)
  }
  if (method === 'GET') return status(id, send)
  const kind = kindOf(method, verb)
  const key = String(request.headers['idempotency-key'])
  const before = answered.get(key)
  if (before !== undefined) return send(before.status, before.body)
  const isBad = (behaviour.times ?? 0) > 0 && (behaviour.only === undefined || behaviour.only === kind)
  if (isBad) behaviour.times = (behaviour.times ?? 0) - 1
  if (isBad && behaviour.done !== true)
    return send(behaviour.status ?? 503, { detail: `not now: ${JSON.stringify(body?.parameters)}` })
  const answer = told(kind, kind === 'create' ? (body as { id: string }).id : id, body)
  answered.set(key, answer)
  if (isBad) return send(behaviour.status ?? 503, { detail: 'done, and the answer lost' })
  send(answer.status, answer.body)
}

function broken(response: ServerResponse, request: IncomingMessage): void {
  const node = { node: '1', state: 'success' }
  switch (behaviour.broken) {
    case 'hang':
      return
    case 'cut':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 }).write('{"enabled":')
      return void setTimeout(() => response.destroy(), 20)
    case 'redirect':
      return void response.writeHead(302, { location: `http://${request.headers.host}/held` }).end()
    case 'forbidden':
      return void response.writeHead(403).end()
    case 'twice':
      return void response.writeHead(200).end(
        JSON.stringify({
          enabled: true,
          inspected: false,
          digest: null,
          nodes: [node, { ...node, state: 'failed' }],
        }),
      )
    default:
      return void response.writeHead(200).end('<html>{"enabled": true</html>')
  }
}

function kindOf(method: string, verb: string): string {
  if (method === 'DELETE') return 'delete'
  if (verb !== '') return verb
  return method === 'PUT' ? 'update' : 'create'
}

// oxlint-disable-next-line typescript/no-explicit-any -- whatever came
function told(kind: string, id: string, body: any): { status: number; body: unknown } {
  const found = subscriptions.get(id)
  if (found === undefined && kind !== 'create') return { status: 404, body: {} }
  const only = body?.only === undefined ? '' : ` only ${body.only.join(',')}`
  calls.push(kind === 'inspection' ? `inspection ${id} ${body.on ? 'on' : 'off'}` : `${kind} ${id}${only}`)
  if (kind === 'create') {
    if (deleted.has(id)) return { status: 410, body: { detail: 'that id was deleted' } }
    if (found === undefined) subscriptions.set(id, { ...held(body), enabled: true, inspected: false })
    return { status: 201, body: {} }
  }
  const subscription = found as Subscription
  if (kind === 'update') Object.assign(subscription, held(body))
  if (kind === 'enable' || kind === 'disable') subscription.enabled = kind === 'enable'
  if (kind === 'inspection') subscription.inspected = body.on
  if (kind === 'uninstall') subscription.installed = false
  if (kind === 'delete') {
    if (subscription.installed) return { status: 422, body: { detail: 'it is still on its nodes' } }
    subscriptions.delete(id)
    deleted.add(id)
  }
  return { status: 200, body: {} }
}

// oxlint-disable-next-line typescript/no-explicit-any -- whatever came
function held(body: any): Omit<Subscription, 'enabled' | 'inspected'> {
  const nodes = body.nodes.map(({ key }: { key: string }) => key)
  return { digest: body.digest, installed: true, nodes, parameters: body.parameters, version: body.package.version }
}

function status(id: string, send: (status: number, answer?: unknown) => void): void {
  const found = subscriptions.get(id)
  if (found === undefined) return send(404)
  const { enabled, inspected, digest, installed, nodes } = found
  send(200, {
    enabled,
    inspected,
    digest,
    nodes: nodes.map((node) => ({
      node,
      ...(behaviour.nodes?.[node] ?? { state: 'success' }),
      ...(!installed && { state: 'absent' }),
    })),
  })
}
