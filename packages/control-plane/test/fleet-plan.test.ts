/** What a change means for the fleet: whom it reaches, what their components do with it, how much of the fleet that is. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  fleetPlan,
  type FleetPlanInput,
  type NodeKind,
  type PlannedNode,
  type ReportedComponent,
} from '../src/fleet-plan.ts'
import type { ChangedPath } from '../src/places.ts'
import { nodeOf } from '../src/stores/conformance/samples.ts'

const config = 'shop/gateway/prod'
const rules: ReportedComponent = { name: 'rules', hot: 'full', restartFor: [] }
const listener: ReportedComponent = {
  name: 'listener',
  hot: 'partial',
  restartFor: ['listener.port', 'listener.tls.*'],
}
const plugins: ReportedComponent = { name: 'plugins', hot: 'none', restartFor: ['plugins'] }

function gateway(uid: string, over: Partial<PlannedNode> = {}): PlannedNode {
  return {
    uid,
    config,
    labels: {},
    agent: { name: 'gateway', version: '1.4.0' },
    components: [rules, listener, plugins],
    ...over,
  }
}

function plan(nodes: readonly PlannedNode[], over: Partial<FleetPlanInput> = {}) {
  return fleetPlan({ config, nodes, isAway: () => false, changes: [], restartPaths: [], ...over })
}

/** What each component does with it: `rules hot`. */
function actions(
  changes: readonly ChangedPath[],
  components: readonly ReportedComponent[] = [rules, listener, plugins],
) {
  const [kind] = plan([gateway('a', { components })], { changes }).kinds
  return kind?.components?.map(({ name, action, restartPaths }) => [name, action, ...restartPaths].join(' '))
}

const changed = (path: string): ChangedPath => ({ kind: 'changed', path })

/** One line: `gateway 1.4.0: 3 nodes: listener restart (listener.port), rules hot` */
function kindText({ agent, nodes, components }: NodeKind): string {
  const each = components?.map(({ name, action, restartPaths }) =>
    restartPaths.length === 0 ? `${name} ${action}` : `${name} ${action} (${restartPaths.join(', ')})`,
  )
  return `${agent.name} ${agent.version}: ${nodes}: ${each?.join(', ')}`
}

describe('whom it reaches', () => {
  test('nodes that follow the config; those that are away apart; others only as a part of the whole', () => {
    const nodes = [gateway('a'), gateway('b'), gateway('c'), gateway('d', { config: 'shop/other' })]
    expect(plan(nodes, { isAway: (uid) => uid === 'b' || uid === 'd' })).toMatchObject({
      present: 2,
      away: { count: 1, uids: ['b'] },
      reach: { nodes: 3, of: 4, share: 0.75 },
      zones: [],
    })
  })

  test('no nodes: nothing is reached', () => {
    expect(plan([])).toEqual({
      present: 0,
      away: { count: 0, uids: [] },
      reach: { nodes: 0, of: 0, share: 0 },
      zones: [],
      moreZones: 0,
      kinds: [],
      more: { kinds: 0, nodes: 0 },
      restarts: 0,
    })
  })

  test('the share of each zone, by the label "zone"', () => {
    const at = (uid: string, zone: string, over: Partial<PlannedNode> = {}) =>
      gateway(uid, { labels: { zone }, ...over })
    const nodes = [
      at('a', 'x'),
      at('b', 'x'),
      at('c', 'y'),
      at('d', 'y', { config: 'else' }),
      at('e', 'z', { config: 'else' }),
    ]
    expect(plan(nodes).zones).toEqual([
      { zone: 'x', nodes: 2, of: 2, share: 1 },
      { zone: 'y', nodes: 1, of: 2, share: 0.5 },
    ])
  })

  test('the records of a store will do', () => {
    expect(plan([nodeOf('a', { config })])).toMatchObject({ present: 1, kinds: [{ components: null }] })
  })
})

describe('what components do with it', () => {
  test('hot, unless what changes is what they need a restart for', () => {
    expect(actions([changed('rules.r1.limit')])).toEqual(['rules hot', 'listener hot', 'plugins hot'])
    expect(actions([changed('listener.port')])).toEqual(['listener restart listener.port', 'rules hot', 'plugins hot'])
    expect(actions([changed('listener.tls.cert'), changed('rules.r1.limit')])?.[0]).toBe(
      'listener restart listener.tls.cert',
    )
    expect(actions([{ kind: 'removed', path: 'listener' }])?.[0]).toBe('listener restart listener.port')
  })

  test('one that takes nothing needs a restart for whatever happens to what it reads', () => {
    for (const kind of ['added', 'removed', 'changed', 'moved'] as const) {
      expect(actions([{ kind, path: 'plugins.auth' }])?.[0]).toBe('plugins restart plugins.auth')
    }
    const silent: ReportedComponent = { name: 'old', hot: 'none', restartFor: [] }
    expect(actions([changed('rules')], [silent])).toEqual(['old restart'])
  })

  test('entries that come, go or move need no restart because of their fields', () => {
    const entries: ReportedComponent = { name: 'entries', hot: 'partial', restartFor: ['jobs.*.socket', 'pools.*'] }
    const restartsFor = (kind: ChangedPath['kind'], path: string) => actions([{ kind, path }], [entries])?.[0]
    expect(restartsFor('added', 'jobs.a')).toBe('entries hot')
    expect(restartsFor('removed', 'pools.a')).toBe('entries hot')
    expect(restartsFor('moved', 'jobs.a')).toBe('entries hot')
    expect(actions([{ kind: 'moved', path: 'jobs.a' }], [{ ...entries, restartFor: ['jobs.a'] }])).toEqual([
      'entries hot',
    ])
    expect(restartsFor('changed', 'pools.a')).toBe('entries restart pools.a')
    expect(restartsFor('removed', 'jobs.a.socket')).toBe('entries restart jobs.a.socket')
  })

  test('ten thousand entries that come need no restart either, nor is one among them that changes lost', () => {
    const entries: ReportedComponent = { name: 'entries', hot: 'partial', restartFor: ['jobs.*.socket'] }
    const added = Array.from({ length: 10_000 }, (_, i): ChangedPath => ({ kind: 'added', path: `jobs.j${i}` }))
    expect(actions(added, [entries])).toEqual(['entries hot'])
    const one = [...added, changed('jobs.old.socket')]
    expect(actions(one, [entries])).toEqual(['entries restart jobs.*.socket'])
    // Its name was given up: it may be one that came, or the one that changed.
    expect(actions(one, [{ ...entries, restartFor: ['jobs.old.socket'] }])).toEqual([
      'entries restart jobs.old.socket jobs.*.socket',
    ])
  })

  test('one that says what it reads, and reads nothing of it, is left out', () => {
    const reading = { ...rules, paths: ['rules'] }
    expect(actions([changed('rules.r1')], [reading])).toEqual(['rules hot'])
    expect(actions([changed('log.level')], [reading])).toEqual([])
    const old: ReportedComponent = { name: 'old', hot: 'none', restartFor: [], paths: ['old'] }
    expect(actions([changed('old.x')], [old])).toEqual(['old restart old.x'])
  })

  test('what the schema marks takes a restart on every node, whatever its components say', () => {
    const nodes = [gateway('a'), gateway('b', { components: [rules] })]
    const changes = [changed('rules.r1.limit')]
    expect(plan(nodes, { changes }).restarts).toBe(0)
    expect(plan(nodes, { changes, restartPaths: ['rules.r1.limit'] }).restarts).toBe(2)
  })
})

describe('kinds of nodes', () => {
  test('nodes of one kind are one line, the most frequent first', () => {
    const old = { agent: { name: 'gateway', version: '1.3.9' } }
    const nodes = [
      gateway('o', old),
      gateway('a'),
      gateway('b'),
      gateway('c'),
      gateway('x', { ...old, components: [] }),
    ]
    const { kinds, restarts } = plan(nodes, { changes: [changed('listener.port')] })
    expect(kinds.map(kindText)).toEqual([
      'gateway 1.4.0: 3: listener restart (listener.port), rules hot, plugins hot',
      'gateway 1.3.9: 1: ',
      'gateway 1.3.9: 1: listener restart (listener.port), rules hot, plugins hot',
    ])
    expect(restarts).toBe(4)
    const { components: _, ...silent } = gateway('s')
    expect(plan([silent]).kinds).toMatchObject([{ nodes: 1, components: null }])
  })

  test('the same fleet in another order has the same plan', () => {
    const nodes = ['a', 'b', 'c', 'd', 'e'].map((uid, i) =>
      gateway(uid, { labels: { zone: `z${i % 2}` }, agent: { name: 'gateway', version: `${i % 3}` } }),
    )
    const bare = (order: readonly PlannedNode[]) => {
      const { kinds, ...rest } = plan(order, { changes: [changed('listener.port')] })
      return { ...rest, kinds: kinds.map(kindText) }
    }
    fc.assert(
      fc.property(fc.shuffledSubarray(nodes, { minLength: 5 }), (order) => {
        expect(bare(order)).toEqual(bare(nodes))
      }),
    )
  })
})

describe('bounds', () => {
  test('five thousand nodes, each of its own kind and zone, away and with long lists of components', () => {
    const components = Array.from({ length: 256 }, (_, i): ReportedComponent => ({
      name: `c${i}`,
      hot: 'partial',
      restartFor: ['*.*.limit', `rules.*.x${i}`, '*'],
    }))
    const nodes = Array.from({ length: 5000 }, (_, i) =>
      gateway(`n${i}`, { labels: { zone: `z${i}` }, agent: { name: 'g', version: `${i}` }, components }),
    )
    const changes = Array.from({ length: 100_000 }, (_, i) => changed(`rules.r${i}.${'x'.repeat(i % 50)}limit`))
    const found = plan(nodes, { changes, isAway: () => true })
    expect(found).toMatchObject({
      present: 0,
      away: { count: 5000 },
      moreZones: 4950,
      more: { kinds: 4980, nodes: 4980 },
    })
    expect(found.kinds[0]?.moreComponents).toBe(206)
    expect(JSON.stringify(found).length).toBeLessThan(500_000)
  })

  test('whatever nodes and changes say: it comes to an end, and the same again', () => {
    const text = fc.oneof(
      fc.constantFrom('a', 'a.b', '*', 'a.*', '*.b', '', '__proto__'),
      fc.string({ unit: 'binary' }),
    )
    const component = fc.record<ReportedComponent>({
      name: text,
      hot: fc.anything(),
      restartFor: fc.array(text, { maxLength: 4 }),
    })
    const kind = fc.constantFrom<ChangedPath['kind']>('added', 'removed', 'changed', 'moved')
    fc.assert(
      fc.property(fc.array(fc.record({ kind, path: text })), fc.array(component), (changes, components) => {
        const run = () => plan([gateway('a', { components, labels: { zone: '__proto__' } })], { changes })
        expect(run()).toEqual(run())
        expect(run().kinds[0]?.components).toHaveLength(components.length)
      }),
    )
  })
})
