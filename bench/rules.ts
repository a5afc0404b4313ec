/**
 * The configuration that the benches measure with: n rules of 12 fields, and a successor in which 10 are changed, 5
 * added and 5 removed at scattered places. The same on every run.
 */
export interface Rule {
  readonly id: string
  readonly limit: { rps: number }
  readonly targets: { weight: number }[]
}

export interface Pair {
  readonly oldText: string
  readonly newText: string
}

export function pair(n: number): Pair {
  const random = generator(42)
  const rules = Array.from({ length: n }, (_, i) => rule(i, random))
  const next = JSON.parse(JSON.stringify(rules)) as typeof rules
  for (let k = 0; k < 10; k++) {
    const changed = next[Math.floor((n * (k + 0.5)) / 10)] as (typeof rules)[number]
    changed.limit.rps += 1
    const target = changed.targets[1]
    if (k % 2 === 1 && target !== undefined) target.weight += 1
  }
  for (let k = 4; k >= 0; k--) next.splice(Math.floor((n * (k + 0.35)) / 5), 1)
  for (let k = 0; k < 5; k++) next.splice(Math.floor((n * (k + 0.75)) / 5), 0, rule(n + k, random))
  return { oldText: JSON.stringify({ version: 1, rules }), newText: JSON.stringify({ version: 2, rules: next }) }
}

function rule(i: number, random: (below: number) => number) {
  const target = (network: number) => ({
    host: `10.${network}.${random(256)}.${random(256)}`,
    port: 8080,
    weight: random(100),
  })
  return {
    id: `rule-${String(i).padStart(7, '0')}`,
    name: `limit for service ${i}`,
    enabled: random(10) > 0,
    priority: random(1000),
    match: {
      host: `svc-${i % 5000}.internal`,
      pathPrefix: `/api/v${random(4)}/resource/${random(1000)}`,
      methods: ['GET', 'POST'],
      headers: { 'x-tenant': `t${random(500)}` },
    },
    limit: { rps: 10 + random(5000), burst: 20 + random(9000), windowMs: 1000, by: 'ip' },
    action: { type: 'reject', status: 429, retryAfterMs: random(5000) },
    targets: [target(0), target(1)],
    tags: ['prod', `team-${random(40)}`],
    timeoutMs: 100 + random(900),
    ratio: random(1000) / 1000,
    owner: `team-${random(40)}@example.test`,
  }
}

/** A linear congruential generator: whole numbers from 0 to below `below`. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state % below
  }
}
