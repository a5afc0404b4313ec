/**
 * What can be asked of the HTTP door, path by path. Who may ask, and how requests are read and answers sent, is
 * `admin-http.ts`; nothing here touches a socket.
 */
import { outcomeText, succeeded, type Outcome, type PlanOutcome } from '../../outcome.ts'
import type { Lifecycle, ReloadRequest } from '../../trigger.ts'
import { openMetricsType, prometheusText, prometheusType } from './exposition.ts'
import type { AskedReloads } from './reloads.ts'
import { jsonReply, problemReply, quality, textReply, wantsJson, type Reply } from './reply.ts'
import { outcomeLines, statusLines } from './text.ts'

export interface Ask {
  readonly path: string
  readonly query: URLSearchParams
  readonly accept: string | undefined
  readonly lastEventId: string | undefined
}

/** What the routes work on. */
export interface Doorway {
  readonly engine: Lifecycle
  readonly asked: AskedReloads
  readonly lifecycle: boolean
}

/** Instead of a reply: the events after this id, as long as the caller listens. */
export interface StreamFrom {
  readonly streamAfter: number
}

export interface Route {
  readonly methods: readonly string[]
  /** Needs no token: load balancers and orchestrators ask these. */
  readonly open?: true
  /** Query parameters that mean something here; others are refused, since `?dry-run` must not be a real reload. */
  readonly query: readonly string[]
  answer(ask: Ask, door: Doorway): Promise<Reply | StreamFrom> | Reply | StreamFrom
}

const reading = ['GET', 'HEAD']
const acting = ['POST', 'PUT']

const routes: Readonly<Record<string, Route>> = {
  '/': { methods: reading, query: [], answer: () => textReply(200, index) },
  '/-/healthy': { methods: reading, query: [], open: true, answer: (_, { engine }) => healthy(engine) },
  '/-/ready': { methods: reading, query: [], open: true, answer: (_, { engine }) => ready(engine) },
  '/-/reload': { methods: acting, query: ['dryRun', 'force', 'wait'], answer: reload },
  '/-/plan': { methods: acting, query: ['force'], answer: plan },
  '/status': { methods: reading, query: [], answer: status },
  '/config': { methods: reading, query: [], answer: (_, { engine }) => jsonReply(200, engine.config()) },
  '/events': { methods: reading, query: ['after', 'limit'], answer: events },
  '/metrics': { methods: reading, query: [], answer: metrics },
}
const askedRoute: Route = { methods: reading, query: [], answer: askedReload }

const index = `midflight
  POST /-/reload    reload; ?dryRun ?force ?wait=0
  POST /-/plan      what a reload would do
  GET  /-/healthy   200, or 503 after a rollback failed
  GET  /-/ready     200 while a configuration is live
  GET  /status      what runs, and what happened last
  GET  /config      the live configuration, secrets masked
  GET  /events      what happened; ?after ?limit, or as text/event-stream
  GET  /metrics     for Prometheus`

/** The path is compared as it came: `..`, `%2f` and `//` mean nothing here. */
export function routeFor(path: string): Route | undefined {
  if (Object.hasOwn(routes, path)) return routes[path]
  return /^\/-\/reload\/[0-9a-f-]{1,64}$/.test(path) ? askedRoute : undefined
}

export class BadQuery extends Error {
  override readonly name = 'BadQuery'
}

/** @throws BadQuery for a parameter that is unknown here or given twice. */
export function checkQuery(query: URLSearchParams, known: readonly string[]): void {
  for (const name of new Set(query.keys())) {
    if (!known.includes(name)) {
      const wanted = known.length === 0 ? 'none' : known.map((other) => `?${other}`).join(', ')
      throw new BadQuery(`the query parameter ${JSON.stringify(name.slice(0, 40))} is not known here; want ${wanted}`)
    }
    if (query.getAll(name).length > 1) throw new BadQuery(`the query parameter ${name} is given more than once`)
  }
}

/** `?force`, `?force=1`, `?force=true` · `?force=0`, `?force=false` */
function flag(query: URLSearchParams, name: string, otherwise: boolean): boolean {
  const value = query.get(name)
  if (value === null) return otherwise
  if (['', '1', 'true'].includes(value)) return true
  if (['0', 'false'].includes(value)) return false
  throw new BadQuery(`${name} is ${JSON.stringify(value.slice(0, 40))}; want 1, true, 0 or false`)
}

function integer(value: string, name: string, min: number, max: number): number {
  const number = /^\d{1,16}$/.test(value) ? Number(value) : NaN
  if (number >= min && number <= max) return number
  throw new BadQuery(`${name} is ${JSON.stringify(value.slice(0, 40))}; want an integer from ${min} to ${max}`)
}

async function reload(ask: Ask, door: Doorway): Promise<Reply> {
  if (!door.lifecycle) return disabled(ask)
  const request = { trigger: 'http', force: flag(ask.query, 'force', false) }
  const wait = flag(ask.query, 'wait', true)
  if (flag(ask.query, 'dryRun', false)) {
    if (!wait) throw new BadQuery('dryRun and wait=0 do not go together: a plan is its answer')
    return planned(ask, door, request)
  }
  if (wait) return outcomeReply(ask, await door.engine.reload(request))

  const id = door.asked.add(door.engine.reload(request))
  if (id === undefined) {
    return problemReply(503, 'busy', 'too many reloads are waited for already', { headers: { 'retry-after': '1' } })
  }
  const location = `/-/reload/${id}`
  return wantsJson(ask.accept)
    ? jsonReply(202, { id, state: 'running' }, { location })
    : textReply(202, `reload asked for; its outcome will be at ${location}`, { location })
}

async function plan(ask: Ask, door: Doorway): Promise<Reply> {
  if (!door.lifecycle) return disabled(ask)
  return planned(ask, door, { trigger: 'http', force: flag(ask.query, 'force', false) })
}

async function planned(ask: Ask, door: Doorway, request: ReloadRequest): Promise<Reply> {
  return outcomeReply(ask, await door.engine.plan(request), 'plan')
}

function outcomeReply(ask: Ask, outcome: Outcome | PlanOutcome, asked: 'reload' | 'plan' = 'reload'): Reply {
  const json = wantsJson(ask.accept)
  if (succeeded(outcome)) return json ? jsonReply(200, outcome) : textReply(200, outcomeLines(outcome))
  const status = outcome.kind === 'closed' ? 503 : 500
  const prefix = asked === 'reload' ? 'failed to reload config' : 'reload would fail'
  if (!json) return textReply(status, `${prefix}: ${outcomeLines(outcome)}`)
  const code = asked === 'reload' ? 'reload-failed' : 'plan-failed'
  return problemReply(status, code, `${prefix}: ${outcomeText(outcome)}`, { members: { outcome } })
}

function disabled(ask: Ask): Reply {
  const detail = 'Lifecycle API is not enabled.'
  return wantsJson(ask.accept) ? problemReply(403, 'lifecycle-disabled', detail) : textReply(403, detail)
}

function askedReload(ask: Ask, { asked }: Doorway): Reply {
  const reload = asked.get(ask.path.slice('/-/reload/'.length))
  if (reload === undefined)
    return problemReply(404, 'not-found', 'no reload with this id; only the newest 100 are kept')
  const headers: Record<string, string> = reload.state === 'running' ? { 'retry-after': '1' } : {}
  if (wantsJson(ask.accept)) return jsonReply(200, reload, headers)
  if (reload.state === 'running') return textReply(200, 'running', headers)
  return textReply(200, reload.state === 'done' ? outcomeLines(reload.outcome) : `error: ${reload.error}`)
}

function healthy(engine: Lifecycle): Reply {
  if (engine.status().healthy) return textReply(200, 'healthy')
  return textReply(503, 'degraded: a rollback failed; /status says which component runs what')
}

function ready(engine: Lifecycle): Reply {
  return engine.status().state === 'closed' ? textReply(503, 'closed') : textReply(200, 'ready')
}

function status(ask: Ask, { engine }: Doorway): Reply {
  const now = engine.status()
  return wantsJson(ask.accept) ? jsonReply(200, now) : textReply(200, statusLines(now))
}

function metrics(ask: Ask, { engine }: Doorway): Reply {
  const text = engine.metrics()
  if (quality(ask.accept, 'application/openmetrics-text') > quality(ask.accept, 'text/plain')) {
    return { status: 200, type: openMetricsType, body: text }
  }
  return { status: 200, type: prometheusType, body: prometheusText(text) }
}

function events(ask: Ask, { engine }: Doorway): Reply | StreamFrom {
  const after = ask.query.get('after')
  const from = after === null ? undefined : integer(after, 'after', 0, Number.MAX_SAFE_INTEGER)
  if (quality(ask.accept, 'text/event-stream') > quality(ask.accept, 'application/json')) {
    if (ask.query.has('limit')) throw new BadQuery('limit does not go together with text/event-stream')
    if (ask.lastEventId !== undefined && ask.lastEventId !== '') {
      return { streamAfter: integer(ask.lastEventId, 'Last-Event-ID', 0, Number.MAX_SAFE_INTEGER) }
    }
    return { streamAfter: from ?? engine.events.recent({ limit: 1 })[0]?.id ?? 0 }
  }
  const limit = integer(ask.query.get('limit') ?? '100', 'limit', 1, 1000)
  return jsonReply(200, { events: engine.events.recent(from === undefined ? { limit } : { limit, after: from }) })
}
