/**
 * Planning an edit of targets: read as somebody wrote them, compared with what holds, by node: who gains, loses and keeps
 * what is brought. Besides, the same question by the two ways that come to mind: each host looked for among those before
 * (as the same host may be written two ways), and the texts of the hosts compared as sets (which cannot know that).
 *
 *   node --conditions=midflight-source --expose-gc bench/targets.ts [--json] [--n=10000]
 *
 * What holds is read from JSON each time, as from a store. `plan` is all of it; `diff` without reading either side.
 * Memory is what a plan holds on to, the two sides included, and what the process grew by at most while one was made.
 */
import { parseArgs } from 'node:util'
import type { Json } from '../packages/engine/src/index.ts'
import type { StoreRead } from '../packages/control-plane/src/store.ts'
import type { KnownNode } from '../packages/control-plane/src/targets/node-directory.ts'
import { compared, planTargets, type TargetsPlan } from '../packages/control-plane/src/targets/plan.ts'
import { readTargets, type Host, type Targets } from '../packages/control-plane/src/targets/targets.ts'
import { median, report } from './report.ts'

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, n: { type: 'string', default: '10000' } },
})
const n = Number(options.n)
const collect = globalThis.gc
if (collect === undefined) throw new Error('the garbage collector is out of reach: run with node --expose-gc')

interface Written {
  readonly kind: string
  readonly nodes: readonly Json[]
  readonly package: { readonly name: string; readonly version: string; readonly files: Record<string, string> }
  readonly parameters: Json
}

const ipOf = (i: number) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`
const hosts = Array.from({ length: n }, (_, i) => i)
const fleet: readonly KnownNode[] = hosts.map((i) => ({
  id: `host-${i}`,
  ip: ipOf(i),
  cloud: '0',
  labels: { zone: `z${i % 10}`, role: 'collector' },
}))
const byId = hosts.map((i): Json => ({ id: `host-${i}` }))
const byAddress = hosts.map((i): Json => ({ ip: ipOf(i), cloud: '0' }))
const replaced = (nodes: readonly Json[], one: Json) => nodes.with(n >> 1, one)

function written(nodes: readonly Json[], more: Partial<Written> = {}): Written {
  return {
    kind: 'INSTANCE',
    nodes,
    package: { name: 'collector', version: '1.0.0', files: { 'collector.conf': 'listen 9100\n' } },
    parameters: { interval: 15, paths: ['/var/log/a', '/var/log/b'] },
    ...more,
  }
}

const selectors = ['z0', 'z1', 'z2', 'z3', 'z4', 'z5', 'z6', 'z7', 'z8', 'z9'].map((zone): Json => ({
  labels: { zone },
}))

/** What holds, and what somebody writes. */
const cases: readonly (readonly [what: string, before: Written | null, after: Written])[] = [
  ['the first', null, written(byId)],
  ['the same', written(byId), written(byId)],
  [`1 of ${n} another`, written(byId), written(replaced(byId, { id: 'new-host' }))],
  ['all written by address, which were by id', written(byId), written(byAddress)],
  ['the parameters', written(byId), written(byId, { parameters: { interval: 30, paths: [] } })],
  ['half others', written(byId), written(hosts.map((i) => ({ id: `host-${i < n >> 1 ? i : i + n}` })))],
  [
    `labels that mean all, 1 of 10 others`,
    written(selectors, { kind: 'LABELS' }),
    written([...selectors.slice(1), { labels: { zone: 'none' } }], { kind: 'LABELS' }),
  ],
]

function read(value: Written): Targets {
  const reading = readTargets(value)
  if ('issues' in reading) throw new Error(JSON.stringify(reading.issues.slice(0, 3)))
  return reading.targets
}

/** As much of a store as a plan reads. */
function storeOf(before: Written | null): StoreRead {
  const text = before && JSON.stringify({ targets: read(before) })
  return {
    config: () => ({ name: 'bench' }),
    deployments: {
      pointer: () => (text === null ? undefined : { number: 1 }),
      get: () => JSON.parse(text as string) as Json,
    },
  } as unknown as StoreRead
}

interface Sides {
  readonly added: number
  readonly removed: number
  readonly kept: number
}

/** Each host is looked for among the others; two are one if they have an id or an address in common. */
function nested(before: readonly Host[], after: readonly Host[]): Sides {
  const isSame = (a: Host, b: Host) =>
    (a.id !== undefined && a.id === b.id) || (a.ip !== undefined && a.ip === b.ip && a.cloud === b.cloud)
  const kept = after.filter((host) => before.some((other) => isSame(host, other))).length
  const removed = before.filter((host) => !after.some((other) => isSame(host, other))).length
  return { added: after.length - kept, removed, kept }
}

/** The texts of the hosts as sets: another way to write the same host is another host. */
function byText(before: readonly Host[], after: readonly Host[]): Sides {
  const [from, to] = [before, after].map((all) => new Set(all.map((host) => JSON.stringify(host)))) as [
    Set<string>,
    Set<string>,
  ]
  const kept = [...to].filter((text) => from.has(text)).length
  return { added: to.size - kept, removed: from.size - kept, kept }
}

function msOf(times: number, work: () => unknown): number {
  const all: number[] = []
  for (let i = 0; i < times; i++) {
    const began = performance.now()
    work()
    all.push(performance.now() - began)
  }
  return median(all)
}

function heldBytes(): number {
  for (let i = 0; i < 3; i++) collect?.()
  return process.memoryUsage().heapUsed
}

/** What a plan holds, and the growth while it is made, nothing collected in between unless it has to be. */
function memoryOf(plan: () => TargetsPlan): { readonly held: number; readonly peak: number } {
  const before = heldBytes()
  const one = plan()
  const peak = process.memoryUsage().heapUsed - before
  const held = heldBytes() - before
  if (one.after.nodes.length === 0) throw new Error('the plan was lost')
  return { held, peak }
}

const rows: Record<string, string | number>[] = []
for (const [what, before, after] of cases) {
  const store = storeOf(before)
  const plan = () => planTargets(store, 'bench', after, fleet)
  const { diff, operation } = plan()
  const [from, to] = [before && read(before), read(after)]
  const pointer = undefined
  const fromHosts = (from?.nodes ?? []) as readonly Host[]
  const toHosts = to.nodes as readonly Host[]
  // Selectors, and what is the first, give neither of the others anything to compare.
  const isHosts = from?.kind === 'INSTANCE'
  const text = JSON.stringify(after)
  const parse = msOf(30, () => JSON.parse(text))
  const planMs = msOf(30, plan)
  const nestedMs = isHosts ? msOf(n > 2_000 ? 3 : 30, () => nested(fromHosts, toHosts)) : '-'
  const { held, peak } = memoryOf(plan)
  rows.push({
    what,
    n,
    operation: operation.kind,
    '+': diff.nodes.added.length,
    '~': diff.nodes.updated.length,
    '-': diff.nodes.removed.length,
    '=': diff.nodes.unchanged.length,
    'plan ms': planMs,
    'x JSON.parse of it': isHosts ? planMs / parse : '-',
    'diff ms': msOf(30, () => compared(from, to, pointer, fleet)),
    'nested ms': nestedMs,
    'x nested': nestedMs === '-' ? '-' : planMs / nestedMs,
    'texts ms': isHosts ? msOf(30, () => byText(fromHosts, toHosts)) : '-',
    'texts find': isHosts ? Object.values(byText(fromHosts, toHosts)).join('/') : '-',
    'held KiB': Math.round(held / 1024),
    'peak KiB': Math.round(peak / 1024),
  })
}
report(`targets: ${n} planned (texts find: added/removed/kept)`, rows)
