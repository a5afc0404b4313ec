/** Targets without a control plane: how they are read, which nodes they mean, what an edit does to each. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  aggregate,
  firstState,
  hasEnded,
  next,
  stepOf,
  stepsOf,
  type DeploymentEvent,
  type DeploymentRecord,
  type Pointer,
  type Step,
} from '../src/targets/deployment.ts'
import { diffTargets, operationOf } from '../src/targets/diff.ts'
import { NodeDirectory, type KnownNode } from '../src/targets/node-directory.ts'
import { shownTargets, withSecretsKept } from '../src/targets/secrets.ts'
import { readTargets, type Targets } from '../src/targets/targets.ts'

const base = {
  kind: 'INSTANCE',
  nodes: [{ id: 'h1' }],
  package: { name: 'mysql', version: '1.1' },
  parameters: { period: 60 },
}

function read(value: object): Targets {
  const reading = readTargets(value)
  if ('issues' in reading) throw new Error(JSON.stringify(reading.issues))
  return reading.targets
}

function issuesOf(value: unknown): string[] {
  const reading = readTargets(value)
  return 'issues' in reading ? reading.issues.map(({ path, message }) => `${path.join('.')} ${message}`) : []
}

const fleet: readonly KnownNode[] = [
  { id: 'h1', ip: '10.0.0.1', cloud: '0', labels: { zone: 'a', module: '33' } },
  { id: 'h2', ip: '10.0.0.2', cloud: '0', labels: { zone: 'a', module: '34' } },
  { id: 'h3', ip: '10.0.0.2', cloud: '7', labels: { zone: 'b', module: '33' } },
]

function plan(before: object | null, after: object, nodes: readonly KnownNode[] = fleet) {
  const [from, to] = [before && read(before), read(after)]
  const diff = diffTargets(from, to, new NodeDirectory(nodes, from, to))
  const keys = (list: readonly { key: string }[]): string[] => list.map(({ key }) => key)
  const { added, updated, removed, unchanged } = diff.nodes
  return {
    diff,
    added: keys(added),
    updated: keys(updated),
    removed: keys(removed),
    unchanged: keys(unchanged),
    kind: operationOf(from, to, diff).kind,
  }
}

describe('identity', () => {
  test('prior-art B2: the same host written as id and as ip and cloud is one node, whichever way the fleet or the targets say so', () => {
    const byId = { ...base, nodes: [{ id: 'h1' }, { bk_host_id: 'h2' }] }
    const byAddress = { ...base, nodes: [{ ip: '10.0.0.2', bk_cloud_id: 0 }, { ip: '10.0.0.1' }] }
    expect(plan(byId, byAddress)).toMatchObject({ added: [], removed: [], unchanged: ['h2', 'h1'], kind: 'nothing' })
    const declared = { ...base, nodes: [{ id: 'x', ip: '192.0.2.9' }] }
    expect(plan(declared, { ...base, nodes: [{ ip: '192.0.2.9' }] }, [])).toMatchObject({
      unchanged: ['x'],
      kind: 'nothing',
    })
    expect(plan(byId, { ...base, nodes: [{ ip: '10.0.0.2', cloud: '7' }] }).added).toEqual(['h3'])
  })

  test('prior-art B2: duplicates are one; an address of two nodes names neither', () => {
    const twice = { ...base, nodes: [{ id: 'h1' }, { ip: '10.0.0.1' }, { id: 'h1', ip: '10.0.0.1' }, { id: 'h1' }] }
    expect(plan(base, twice)).toMatchObject({ unchanged: ['h1'], added: [], kind: 'nothing' })
    const both = [...fleet, { id: 'h9', ip: '10.0.0.1', cloud: '0', labels: {} }]
    expect(plan(null, { ...base, nodes: [{ ip: '10.0.0.1' }] }, both).added).toEqual(['10.0.0.1@0'])
  })

  test('prior-art B2, B3: a remote host written another way is the same; another one replaces', () => {
    const from = { ...base, remoteHost: { ip: '10.0.0.2' } }
    expect(plan(from, { ...base, remoteHost: { id: 'h2' } }).kind).toBe('nothing')
    expect(plan(from, { ...base, remoteHost: { id: 'h3' } })).toMatchObject({
      kind: 'replace',
      added: ['h1'],
      removed: ['h1'],
    })
  })
})

function without<T>(all: ReadonlySet<T>, some: ReadonlySet<T>): Set<T> {
  return new Set([...all].filter((one) => !some.has(one)))
}

describe('the diff', () => {
  test('prior-art B2: on another version the nodes that come and go are shown too, in all four sections', () => {
    const from = { ...base, nodes: [{ id: 'h1' }, { id: 'h2' }] }
    const to = { ...base, nodes: [{ id: 'h2' }, { id: 'h3' }], package: { name: 'mysql', version: '1.2' } }
    const found = plan(from, to)
    expect(found).toMatchObject({ added: ['h3'], updated: ['h2'], removed: ['h1'], unchanged: [], kind: 'update' })
    expect(found.diff).toMatchObject({
      version: { before: '1.1', after: '1.2', changed: true },
      parameters: { changed: false },
      remoteHost: { before: null, after: null, changed: false },
      targets: { changed: true },
    })
    expect(plan(from, { ...to, onVersionChange: 'replace' }).kind).toBe('replace')
  })

  test('prior-art B1: parameters are compared by type, without the order of keys', () => {
    const of = (parameters: object): object => ({ ...base, parameters })
    const [a, b] = [
      { a: 1, b: [1, 2] },
      { b: [1, 2], a: 1 },
    ]
    expect(plan(of(a), of(b)).kind).toBe('nothing')
    for (const other of [
      { a: '1', b: [1, 2] },
      { a: 1, b: [2, 1] },
      { a: null, b: [1, 2] },
    ]) {
      expect(plan(of(a), of(other))).toMatchObject({ kind: 'update', updated: ['h1'] })
    }
    const alike = [[1, 23], [12, 3], null, 'None', [], {}, '', 1, '1', '1&b=2']
    for (const one of alike) {
      const found = alike.map((another) => plan(of({ a: one }), of({ a: another })).kind)
      expect(found.filter((kind) => kind === 'nothing')).toHaveLength(1)
    }
  })

  test('prior-art B6: files and options alone reach the outside', () => {
    const files = { ...base, package: { ...base.package, files: { 'a.conf': 'x' } } }
    expect(plan(base, files)).toMatchObject({ kind: 'update', updated: ['h1'] })
    expect(plan(base, { ...base, autoInspection: true })).toMatchObject({ kind: 'update', unchanged: ['h1'] })
  })

  test('selectors and groups mean the nodes that are known; one that means none stands for itself', () => {
    const zone = { ...base, kind: 'LABELS', nodes: [{ labels: { zone: 'a' } }] }
    expect(plan(null, zone).added).toEqual(['h1', 'h2'])
    expect(plan(zone, { ...zone, nodes: [...zone.nodes, { labels: { zone: 'b', module: '33' } }] })).toMatchObject({
      added: ['h3'],
      unchanged: ['h1', 'h2'],
    })
    const group = {
      ...base,
      kind: 'TOPO',
      nodes: [
        { object: 'module', instance: 33 },
        { bk_obj_id: 'set', bk_inst_id: 1 },
      ],
    }
    expect(plan(zone, group)).toMatchObject({ added: ['h1', 'h3', 'set/1'], removed: ['h1', 'h2'], unchanged: [] })
  })

  const host = fc.integer({ min: 0, max: 20 })
  const written = host.chain((n) =>
    fc.constantFrom(
      { id: `n${n}` },
      { ip: `10.0.0.${n}` },
      { bk_host_id: `n${n}` },
      { id: `n${n}`, ip: `10.0.0.${n}` },
    ),
  )
  const nodes = fc.array(written, { maxLength: 30 })
  const known = Array.from({ length: 21 }, (_, n): KnownNode => ({
    id: `n${n}`,
    ip: `10.0.0.${n}`,
    cloud: '0',
    labels: {},
  }))
  const idsOf = (list: readonly { id?: string; ip?: string; bk_host_id?: string }[]): Set<string> =>
    new Set(list.map(({ id, ip, bk_host_id }) => id ?? bk_host_id ?? `n${ip?.split('.')[3]}`))

  test('property: the nodes fall into the four lists, each in one, however they are written', () => {
    fc.assert(
      fc.property(nodes, nodes, fc.boolean(), (from, to, changes) => {
        const after = { ...base, nodes: to, parameters: { period: changes ? 30 : 60 } }
        const found = plan({ ...base, nodes: from }, after, known)
        const [a, b] = [idsOf(from), idsOf(to)]
        expect(new Set(found.added)).toEqual(without(b, a))
        expect(new Set(found.removed)).toEqual(without(a, b))
        expect(new Set(changes ? found.updated : found.unchanged)).toEqual(without(a, without(a, b)))
        expect(changes ? found.unchanged : found.updated).toEqual([])
        const all = [...found.added, ...found.updated, ...found.removed, ...found.unchanged]
        expect(all).toHaveLength(new Set(all).size)
        const isSame = without(a, b).size + without(b, a).size === 0 && !changes
        expect(found.kind).toBe(isSame ? 'nothing' : 'update')
      }),
    )
  })

  test('property: back again is the same with added and removed swapped', () => {
    fc.assert(
      fc.property(nodes, nodes, (from, to) => {
        const [there, back] = [
          plan({ ...base, nodes: from }, { ...base, nodes: to }, known),
          plan({ ...base, nodes: to }, { ...base, nodes: from }, known),
        ]
        expect(back.added.sort()).toEqual(there.removed.sort())
        expect(back.removed.sort()).toEqual(there.added.sort())
      }),
    )
  })

  test('10,000 targets are planned: every one in its list', () => {
    const of = (first: number): object => ({
      ...base,
      nodes: Array.from({ length: 10_000 }, (_, i) => ({ bk_host_id: first + i })),
    })
    const found = plan(of(1), of(5_001), [])
    expect([found.added.length, found.removed.length, found.unchanged.length]).toEqual([5000, 5000, 5000])
  })
})

describe('what is refused, with its place', () => {
  test.each([
    [null, ' is null; want an object'],
    [{ ...base, kind: 'HOST' }, 'kind is "HOST"; want INSTANCE, LABELS, TOPO'],
    [{ ...base, nodes: [{ ip: '10.0.0.300' }] }, 'nodes.0.ip is "10.0.0.300"'],
    [{ ...base, nodes: [{ cloud: '1' }] }, 'nodes.0 names no host'],
    [{ ...base, nodes: [{ labels: { zone: 'a' } }] }, 'nodes.0.labels is not known here'],
    [{ ...base, nodes: [{ id: 1, bk_host_id: 1 }] }, 'nodes.0 has id and bk_host_id, which are one'],
    [{ ...base, kind: 'LABELS', nodes: [{ labels: {} }] }, 'nodes.0 is no selector'],
    [{ ...base, package: { name: 'mysql' } }, 'package.version is missing'],
    [{ ...base, package: { name: 'm', version: '1', files: { '../x': '' } } }, 'package.files.../x is no path'],
    [{ ...base, package: { name: 'm', version: '1', files: { '/etc/x': '' } } }, 'package.files./etc/x is no path'],
    [
      { ...base, package: { name: 'm', version: '1', files: { a: '', 'a/b': '' } } },
      'package.files.a/b lies in what is a file',
    ],
    [{ ...base, paramters: {} }, 'paramters is not known here'],
    [{ ...base, secrets: [''] }, 'secrets.0 is no path'],
  ])('%j', (value, wanted) => {
    expect(issuesOf(value)[0]).toContain(wanted)
  })

  test('nothing that is given makes it throw, and no value of a parameter is in what is said', () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        readTargets(value)
        readTargets({ ...base, nodes: value })
        readTargets({ ...base, package: value })
      }),
    )
    const found = issuesOf(JSON.parse(`{"kind":"TOPO","parameters":{"__proto__":{"password":"hunter2"}}}`))
    expect(found.join()).not.toContain('hunter2')
  })
})

describe('secrets', () => {
  const secret = {
    ...base,
    parameters: { period: 60, login: { user: 'a', password: 's3cret-1' }, hosts: [{ key: 's3cret-2' }] },
    secrets: ['login.password', 'hosts.*.key'],
  }

  test('those that were not entered again are kept: left out, or with the mark that stands for them', () => {
    const before = read(secret)
    const shown = shownTargets(before)
    expect(JSON.stringify(shown)).not.toContain('s3cret')
    expect(withSecretsKept(before, read(shown))).toEqual({ targets: before })
    const less = read({ ...secret, parameters: { period: 60, login: { user: 'b' }, hosts: [{}] } })
    expect(withSecretsKept(before, less)).toMatchObject({
      targets: { parameters: { login: { user: 'b', password: 's3cret-1' }, hosts: [{ key: 's3cret-2' }] } },
    })
    const other = read({ ...secret, parameters: { ...secret.parameters, login: { user: 'a', password: 'new' } } })
    expect(withSecretsKept(before, other)).toMatchObject({ targets: { parameters: { login: { password: 'new' } } } })
  })

  test('a mark that stands for nothing that is known is refused; what is marked no longer is not shown for it', () => {
    const before = read(secret)
    const unmarked = { ...shownTargets(before), secrets: [] }
    expect(withSecretsKept(before, read(unmarked))).toMatchObject({
      issues: [{ path: ['parameters', 'login', 'password'] }, {}],
    })
    expect(withSecretsKept(null, read(shownTargets(before)))).toHaveProperty('issues')
  })
})

test.each([
  ['SUCCESS', ['success', 'success']],
  ['SUCCESS', []],
  ['WARNING', ['success', 'failed']],
  ['FAILED', ['failed', 'failed']],
  ['UNKNOWN', ['failed', 'running']],
  ['UNKNOWN', ['success', 'pending']],
  // Running and waiting leave it as it was, whatever the others are.
  ['UNKNOWN', ['success', 'failed', 'pending']],
  ['FAILED', ['absent']],
  ['WARNING', ['absent', 'success']],
] as const)('prior-art B5: the status of all is %s if they are %j', (wanted, states) => {
  expect(
    aggregate(
      'UNKNOWN',
      states.map((state, i) => ({ node: `h${i}`, state })),
    ),
  ).toBe(wanted)
})

describe('the machine of a deployment', () => {
  const at = '2026-01-01T00:00:00.000Z'
  const old = { id: 'c#1', installer: 'agents' }
  const fresh = { id: 'c#2', installer: 'agents' }
  const before: Pointer = {
    config: 'c',
    number: 1,
    subscription: old,
    enabled: true,
    inspected: true,
    status: 'SUCCESS',
    at,
  }
  const { at: _, status: __, ...same } = before
  const actions = fc.constantFrom(
    ['create', null, { ...same, number: 2, subscription: fresh }] as const,
    ['update', before, { ...same, number: 2, inspected: false }] as const,
    ['replace', before, { ...same, number: 2, subscription: fresh }] as const,
    ['stop', before, { ...same, enabled: false, inspected: false }] as const,
    ['retry', before, same] as const,
    ['uninstall', { ...before, enabled: false }, null] as const,
  )
  const kinds = fc.constantFrom('begun', 'done', 'refused', 'hindered', 'revoked', 'retried')
  const eventOf = (kind: DeploymentEvent['kind']): DeploymentEvent =>
    kind === 'refused' || kind === 'hindered'
      ? { kind, why: 'no' }
      : kind === 'revoked'
        ? { kind, by: 'ada' }
        : { kind }

  /** What the outside holds after a step that was taken, whether or not it is known to be. */
  function taken(world: Map<string, string>, { kind, on, to }: Step): void {
    if (kind === 'create') world.set(on.id, 'targets 2')
    if (kind === 'update') world.set(on.id, `targets ${to}`)
    if (kind === 'delete') world.delete(on.id)
  }

  test('what a step has left behind is told to the end, what was in its way is not; undone, neither is', () => {
    const [action, from, to] = ['update', before, { ...same, number: 2, inspected: false }] as const
    const state = firstState(stepsOf(action, true, 2, from, to))
    const none = { why: '', targets: null, parent: null, by: '', message: '', createdAt: at, endedAt: null }
    const begun: DeploymentRecord = { ...none, config: 'c', number: 2, action, before: from, after: to, state }
    const noteAfter = (...events: readonly DeploymentEvent[]) =>
      events.reduce((record, event) => next(record, event, at), begun).state.note
    const [begin, done] = [{ kind: 'begun' }, { kind: 'done' }] as const
    const late = { kind: 'done', note: 'up: h2 pending' } as const
    const hindered = { kind: 'hindered', why: 'inspect: no answer' } as const
    expect(noteAfter(begin, hindered, done)).toBe(null)
    expect(noteAfter(begin, done, begin, late, begin, hindered)).toBe('inspect: no answer')
    const toEnd = [begin, done, begin, late, begin, hindered, done, begin, done] as const
    expect(toEnd.reduce((record, event) => next(record, event, at), begun).state.phase).toBe('applied')
    expect(noteAfter(...toEnd)).toBe('up: h2 pending')
    expect(noteAfter(begin, done, begin, late, begin, { kind: 'refused', why: 'no' }, begin, done)).toBe(null)
  })

  test('property: whatever happens, it ends with the old as it was or the new as it is to be, and nothing besides', () => {
    fc.assert(
      fc.property(actions, fc.array(kinds, { maxLength: 40 }), ([action, from, to], events) => {
        const world = new Map(from === null ? [] : [[old.id, 'targets 1']])
        const state = firstState(stepsOf(action, true, 2, from, to))
        const none = { why: '', targets: null, parent: null, by: '', message: '', createdAt: at, endedAt: null }
        let record: DeploymentRecord = { ...none, config: 'c', number: 2, action, before: from, after: to, state }
        const play = (kind: DeploymentEvent['kind']): void => {
          // A step that was begun may have happened, unless it was refused.
          if (kind !== 'refused' && record.state.begun && !hasEnded(record.state)) taken(world, stepOf(record.state))
          record = next(record, eventOf(kind), at)
        }
        for (const kind of events) play(kind)
        for (let i = 0; i < 40 && !hasEnded(record.state); i++) {
          play(record.state.held !== null ? 'retried' : record.state.begun ? 'done' : 'begun')
        }
        expect(hasEnded(record.state)).toBe(true)
        const isApplied = record.state.phase === 'applied'
        const wanted = isApplied
          ? to === null
            ? []
            : [[to.subscription.id, `targets ${to.number}`]]
          : from === null
            ? []
            : [[old.id, 'targets 1']]
        expect([...world]).toEqual(wanted)
      }),
      { numRuns: 2000 },
    )
  })
})
