/**
 * The rate-limit rules: one counter each, found by resource in constant time, however many there are. What a reload
 * costs here is what changed. A rule that expires does so by the clock; nothing else ever takes a rule away.
 */
import { componentsFor, type KeyedComponent } from 'midflight'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { schema, type Config } from './config.ts'

type Rule = Config['rules'][number]

export interface RunningRule {
  readonly id: string
  readonly resource: string
  readonly per: Rule['per']
  readonly counter: RateLimiterMemory
  limit: number
  expiresAtMs: number
}

/** What the rules say about one request. `limit` and the rest are those of the rule that leaves the least. */
export interface Verdict {
  readonly allowed: boolean
  readonly ruleId: string
  readonly limit: number
  readonly remaining: number
  readonly resetMs: number
}

export interface ShownRule extends Pick<RunningRule, 'id' | 'resource' | 'limit' | 'per'> {
  readonly counted: number
  readonly remaining: number
  readonly expiresAt?: string
  readonly expired?: true
}

export interface Rules {
  readonly component: KeyedComponent<RunningRule>
  /** Counts a request against the rules of each resource. `undefined` where there is none. */
  count(resources: readonly string[]): Promise<Verdict | undefined>
  /** All rules with their counters. */
  shown(): Promise<ShownRule[]>
}

const seconds = { second: 1, minute: 60, hour: 3600 } as const
/** A rule counts all callers together. */
const everyone = 'all'
const resourceShape = /^(api:[A-Z]+:\/\S*|service:[\w.-]+)$/

/** @param now the time, in milliseconds since 1970, by which rules expire. */
export function rateLimits(now: () => number): Rules {
  const { keyed } = componentsFor(schema)
  // Holds what has been started, also what a reload has prepared and not committed: `runs` tells.
  const byResource = new Map<string, Set<RunningRule>>()
  const component = keyed({
    name: 'rules',
    path: 'rules',
    key: 'id',
    replaceFor: ['resource', 'per'],
    validate: ({ resource, expiresAt }) => [
      ...(resourceShape.test(resource)
        ? []
        : [`resource is ${JSON.stringify(resource)}; want api:METHOD:/path or service:upstream`]),
      ...(expiresAt === undefined || isRealDay(expiresAt)
        ? []
        : [`expiresAt is ${JSON.stringify(expiresAt)}, a day that the calendar does not have`]),
    ],
    start({ id, resource, limit, per, expiresAt }): RunningRule {
      const counter = new RateLimiterMemory({ points: limit, duration: seconds[per] })
      const rule = { id, resource, per, counter, limit, expiresAtMs: expiryOf(expiresAt) }
      const others = byResource.get(resource)
      if (others) others.add(rule)
      else byResource.set(resource, new Set([rule]))
      return rule
    },
    update(rule, { limit, expiresAt }) {
      rule.limit = limit
      rule.counter.points = limit
      rule.expiresAtMs = expiryOf(expiresAt)
    },
    stop(rule) {
      const others = byResource.get(rule.resource)
      others?.delete(rule)
      if (others?.size === 0) byResource.delete(rule.resource)
      void rule.counter.delete(everyone)
    },
  })

  const runs = (rule: RunningRule) => component.running.get(rule.id) === rule
  const holds = (rule: RunningRule) => runs(rule) && now() < rule.expiresAtMs

  return {
    component,
    async count(resources) {
      // All are found before the first is counted, so that a request meets the rules of one moment.
      const found: RunningRule[] = []
      for (const resource of resources) {
        for (const rule of byResource.get(resource) ?? []) if (holds(rule)) found.push(rule)
      }
      let least: Verdict | undefined
      for (const rule of found) {
        const verdict = await counted(rule)
        if (!least || (least.allowed && !verdict.allowed) || verdict.remaining < least.remaining) least = verdict
        if (!verdict.allowed) break
      }
      return least
    },
    async shown() {
      return Promise.all(
        [...component.running.values()].map(async (rule) => {
          const { id, resource, limit, per, counter, expiresAtMs } = rule
          const record = await counter.get(everyone)
          const expiry = expiresAtMs === Infinity ? {} : { expiresAt: new Date(expiresAtMs).toISOString() }
          const expired = holds(rule) ? {} : { expired: true as const }
          const used = record?.consumedPoints ?? 0
          return {
            id,
            resource,
            limit,
            per,
            counted: used,
            remaining: Math.max(limit - used, 0),
            ...expiry,
            ...expired,
          }
        }),
      )
    },
  }
}

async function counted(rule: RunningRule): Promise<Verdict> {
  const { id: ruleId, limit, counter } = rule
  try {
    const { remainingPoints, msBeforeNext } = await counter.consume(everyone)
    return { allowed: true, ruleId, limit, remaining: remainingPoints, resetMs: msBeforeNext }
  } catch (refused) {
    if (refused instanceof Error) throw refused
    // rate-limiter-flexible rejects with the counter's state when the limit is passed
    return { allowed: false, ruleId, limit, remaining: 0, resetMs: (refused as { msBeforeNext: number }).msBeforeNext }
  }
}

function expiryOf(expiresAt: string | undefined): number {
  return expiresAt === undefined ? Infinity : Date.parse(expiresAt)
}

/** `Date` takes 30 February for 2 March. */
function isRealDay(dateTime: string): boolean {
  const [year = 0, month = 0, day = 0] = dateTime.slice(0, 10).split('-').map(Number)
  const made = new Date(Date.UTC(year, month - 1, day))
  return made.getUTCMonth() === month - 1 && made.getUTCDate() === day && !Number.isNaN(Date.parse(dateTime))
}
