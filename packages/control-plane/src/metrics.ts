/** The figures of one control plane, in a registry of its own: publishes, deliveries, nodes, HTTP. Values of contents are never among them. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Hub } from './push/delivery.ts'
import type { RolloutRecord, Store } from './store.ts'
import type { Progress } from './tally.ts'

export type PublishResultLabel = 'released' | 'unchanged' | 'replayed' | 'refused' | 'failed'

export interface Metrics {
  readonly registry: Registry
  http(method: string, route: string, status: number, seconds: number): void
  publish(kind: 'publish' | 'rollback' | 'batch', result: PublishResultLabel, seconds: number): void
  /** An update that was to go with others. */
  batched(result: 'released' | 'refused' | 'unknown'): void
  rateLimited(by: 'address' | 'token' | 'failures'): void
  liveClients(change: 1 | -1): void
  /** It has moved. */
  rollout(rollout: RolloutRecord): void
  /** Delivery, read when metrics are asked for. */
  observe(hub: Hub): void
  /** How many updates wait for their batch, read when metrics are asked for. */
  observeWaiting(waiting: () => number): void
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** @param nodes how many nodes have each status, asked for when metrics are. */
export function metricsOf(store: Store, nodes: () => Progress['byStatus']): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  // Gauges that are named as counters: Prometheus' own linter refuses them, and those by type say more.
  for (const kind of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${kind}_total`)
  const requests = new Counter({
    name: 'midflight_http_requests_total',
    help: 'Requests answered, by method, route and status.',
    labelNames: ['method', 'route', 'status'],
    registers,
  })
  const durations = new Histogram({
    name: 'midflight_http_request_duration_seconds',
    help: 'From the request line to the end of the answer.',
    labelNames: ['method', 'route'],
    buckets: seconds,
    registers,
  })
  const publishes = new Counter({
    name: 'midflight_publishes_total',
    help: 'Publishes, rollbacks and batches, by what came of them.',
    labelNames: ['kind', 'result'],
    registers,
  })
  const publishing = new Histogram({
    name: 'midflight_publish_duration_seconds',
    help: 'From the request to the release being durable.',
    labelNames: ['kind'],
    buckets: seconds,
    registers,
  })
  const batched = new Counter({
    name: 'midflight_batch_updates_total',
    help: 'Updates that were to go with others, by what came of them.',
    labelNames: ['result'],
    registers,
  })
  const limited = new Counter({
    name: 'midflight_rate_limited_total',
    help: 'Requests that were sent away for coming too often.',
    labelNames: ['by'],
    registers,
  })
  const clients = new Gauge({ name: 'midflight_live_clients', help: 'Readers of /v1/events.', registers })
  new Gauge({
    name: 'midflight_nodes',
    help: 'Nodes by status, of all configs.',
    labelNames: ['status'],
    registers,
    async collect() {
      this.reset()
      for (const [status, count] of Object.entries(nodes())) this.set({ status }, count)
    },
  })
  return {
    registry,
    http(method, route, status, taken) {
      requests.inc({ method, route, status: String(status) })
      durations.observe({ method, route }, taken)
    },
    publish(kind, result, taken) {
      publishes.inc({ kind, result })
      publishing.observe({ kind }, taken)
    },
    batched: (result) => batched.inc({ result }),
    rateLimited: (by) => limited.inc({ by }),
    liveClients: (change) => clients.inc(change),
    rollout: rolloutMetrics(registry, store),
    observe(hub) {
      observeHub(registry, hub)
      observeBuses(registry, hub)
      observeBusReports(registry, hub)
    },
    observeWaiting(waiting) {
      new Gauge({
        name: 'midflight_batch_waiting',
        help: 'Updates that wait for their batch to be written.',
        registers,
        collect() {
          this.set(waiting())
        },
      })
    },
  }
}

const longSeconds = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 604_800]

function rolloutMetrics(registry: Registry, store: Store): Metrics['rollout'] {
  const registers = [registry]
  new Gauge({
    name: 'midflight_rollouts',
    help: 'Rollouts that have not ended, by phase.',
    labelNames: ['phase'],
    registers,
    async collect() {
      this.reset()
      for (const { state } of await store.read((read) => read.rollouts.open())) this.inc({ phase: state.phase })
    },
  })
  const ended = new Counter({
    name: 'midflight_rollouts_ended_total',
    help: 'Rollouts that have ended, by how.',
    labelNames: ['result'],
    registers,
  })
  const took = new Histogram({
    name: 'midflight_rollout_duration_seconds',
    help: 'From the first step to the end, by how it ended.',
    labelNames: ['result'],
    buckets: longSeconds,
    registers,
  })
  const mixed = new Histogram({
    name: 'midflight_rollout_mixed_window_seconds',
    help: 'Two-phase: from the first commit to the last, at most.',
    buckets: seconds,
    registers,
  })
  return ({ state, strategy, startedAt, endedAt }) => {
    if (endedAt === null) return
    ended.inc({ result: state.phase })
    if (startedAt === null) return
    // By the clock on the wall, which may have been set meanwhile.
    took.observe({ result: state.phase }, Math.max(0, (Date.parse(endedAt) - Date.parse(startedAt)) / 1000))
    if (strategy.twoPhase && state.phase === 'completed') mixed.observe(state.mixedMs / 1000)
  }
}

const deliveryGauges = {
  connected: 'Nodes with a connection.',
  polling: 'Polls that wait for a release.',
  inFlight: 'Releases that were sent and not yet confirmed.',
  queued: 'Nodes that wait for their turn to be sent something.',
  bufferedBytes: 'Bytes of releases that sockets have not taken yet.',
  frameBytes: 'Bytes of releases kept ready to be sent.',
} as const
const deliveryCounters = {
  sent: 'Releases sent.',
  deltas: 'Of those, as deltas.',
  bytes: 'Bytes sent.',
  superseded: 'Releases that were never sent, because a newer one came.',
  reports: 'Reports of nodes.',
  heartbeats: 'Heartbeats of nodes.',
  sentAway: 'Connections and polls that were told to come later.',
} as const

function observeHub(registry: Registry, hub: Hub): void {
  const registers = [registry]
  for (const [field, help] of Object.entries(deliveryGauges)) {
    new Gauge({
      name: `midflight_delivery_${snake(field)}`,
      help,
      registers,
      collect() {
        this.set(hub.nodes()[field as keyof typeof deliveryGauges])
      },
    })
  }
  for (const [field, help] of Object.entries(deliveryCounters)) {
    let last = 0
    new Counter({
      name: `midflight_delivery_${snake(field)}_total`,
      help,
      registers,
      collect() {
        const now = hub.nodes()[field as keyof typeof deliveryCounters]
        this.inc(now - last)
        last = now
      },
    })
  }
}

const busCounters = {
  whole: 'Releases put on a bus whole.',
  moved: 'Words on a bus that a config has moved.',
  failed: 'Tries to say something on a bus that failed.',
  dropped: 'Configs of which nothing was said on a bus, as too many waited.',
} as const

function observeBuses(registry: Registry, hub: Hub): void {
  const registers = [registry]
  const labelNames = ['bus']
  new Gauge({
    name: 'midflight_bus_away',
    help: '1: the bus could not be reached at the start, or when something was to be said.',
    ...{ labelNames, registers },
    collect() {
      for (const { bus, isAway } of hub.buses()) this.set({ bus }, isAway ? 1 : 0)
    },
  })
  for (const [field, help] of Object.entries(busCounters)) {
    const last = new Map<string, number>()
    new Counter({
      name: `midflight_bus_${field}_total`,
      ...{ help, labelNames, registers },
      collect() {
        for (const counts of hub.buses()) {
          const now = counts[field as keyof typeof busCounters]
          this.inc({ bus: counts.bus }, now - (last.get(counts.bus) ?? 0))
          last.set(counts.bus, now)
        }
      },
    })
  }
}

function observeBusReports(registry: Registry, hub: Hub): void {
  const last = { taken: 0, refused: 0 }
  new Counter({
    name: 'midflight_bus_reports_total',
    help: 'Reports of nodes over buses; refused is what its node has not said, or said before.',
    labelNames: ['result'],
    registers: [registry],
    collect() {
      const counts = hub.busReports()
      if (!counts) return
      for (const result of ['taken', 'refused'] as const) {
        this.inc({ result }, counts[result] - last[result])
        last[result] = counts[result]
      }
    },
  })
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
