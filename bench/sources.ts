/**
 * What a source costs over the bare client library: from the start of a put until a component has been given the new
 * value, beside the client's own watch on the same server, in the same run, in turns.
 *
 *   node --conditions=midflight-source --expose-gc bench/sources.ts [--json] [--only=etcd] [--puts=150] [--gap-ms=40] [--keys=10000]
 *
 * `one document`: 1 KiB of JSON in one key, put every `gap-ms`. Where a store holds many keys: `one of n keys` is one
 * changed below a prefix of n, with the processor time of this process per change (the put included, on both sides);
 * `burst` is 1,000 keys changed as fast as the client can, until the last is live; and the memory that n keys take.
 */
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { componentsFor, jsonSchema, start } from 'midflight'
import { contenders, type Contender } from './peers/source-stores.ts'
import type { OnValue, Place, Store } from './peers/stores/store.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    puts: { type: 'string', default: '150' },
    'gap-ms': { type: 'string', default: '40' },
    keys: { type: 'string', default: '10000' },
  },
})
const [puts, gapMs, most] = [Number(options.puts), Number(options['gap-ms']), Number(options.keys)]
const burstKeys = 1_000
const waitMs = 30_000
const collect = globalThis.gc
if (collect === undefined) throw new Error('the garbage collector is out of reach: run with node --expose-gc')

/** Follows a place, and says what it sees of it. */
interface Follower {
  readonly who: 'midflight' | 'bare'
  /** Reloads so far; for the bare one, values. */
  count(): number
  close(): Promise<void>
}

type Row = Record<string, string | number>
const rows: Record<'latency' | 'burst' | 'memory', Row[]> = { latency: [], burst: [], memory: [] }

/** @param onValue is told the value at `path`, steps of a key below `place`, or fields of its document. */
async function midflight(
  store: Store,
  place: Place,
  path: string,
  onValue: (value: unknown) => void,
): Promise<Follower> {
  const schema = jsonSchema({ type: 'object' })
  const { value } = componentsFor(schema)
  const component = value({ name: 'bench', path: path as never, apply: onValue })
  const engine = await start({ schema, sources: [store.source(place)], components: [component], logger: false })
  return { who: 'midflight', count: () => engine.stats().runs, close: () => engine.close() }
}

async function bare(store: Store, place: Place, onValue: OnValue): Promise<Follower> {
  let count = 0
  const close = await store.watch(place, (key, value) => {
    count++
    onValue(key, value)
  })
  return { who: 'bare', count: () => count, close: async () => close() }
}

/** What someone waits for, with a deadline. */
class Awaited {
  #isMet: () => boolean = () => false
  #onMet: () => void = () => {}

  /** Call it whenever something was seen. */
  readonly look = (): void => {
    if (this.#isMet()) this.#onMet()
  }

  until(what: string, isMet: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${what} is not seen within ${waitMs} ms`)), waitMs)
      this.#isMet = isMet
      this.#onMet = () => {
        clearTimeout(late)
        resolve()
      }
    })
  }
}

interface Contestant {
  readonly follower: Follower
  readonly awaited: Awaited
  /** Puts the `seq`th value, in its own place. */
  put(seq: number): Promise<unknown>
  isSeen(seq: number): boolean
}

interface Took {
  readonly ms: number[]
  cpuMs: number
}

/** In turns, so that what else the machine does meets both. */
async function inTurns(contestants: readonly Contestant[], times: number, everyMs: number): Promise<Took[]> {
  const took = contestants.map((): Took => ({ ms: [], cpuMs: 0 }))
  const warmUps = Math.ceil(times / 10)
  for (let seq = 1; seq <= warmUps + times; seq++) {
    for (const [i, { follower, awaited, put, isSeen }] of contestants.entries()) {
      const seen = awaited.until(`${follower.who}: put ${seq}`, () => isSeen(seq))
      const before = process.cpuUsage()
      const began = performance.now()
      const written = put(seq)
      await seen
      const ms = performance.now() - began
      await written
      // What it does after the value is live counts as well, but not for the time.
      await sleep(Math.max(1, everyMs / contestants.length - ms))
      const { user, system } = process.cpuUsage(before)
      if (seq <= warmUps) continue
      took[i]?.ms.push(ms)
      ;(took[i] as Took).cpuMs += (user + system) / 1000 / times
    }
  }
  return took
}

function latencyRows(source: string, what: string, watch: string, took: readonly Took[]): void {
  const [ours, theirs] = took as [Took, Took]
  const row = (who: string, { ms, cpuMs }: Took): Row => ({
    source,
    what,
    who,
    'p50 ms': median(ms),
    'p99 ms': quantile(ms, 0.99),
    'x p50': median(ms) / median(theirs.ms),
    'cpu ms': cpuMs,
    'x cpu': cpuMs / theirs.cpuMs,
  })
  rows.latency.push(row('midflight', ours), row(watch, theirs))
}

async function oneDocument(name: string, watch: string, store: Store): Promise<void> {
  const text = (seq: number) => JSON.stringify({ seq, rules: rulesOf(12) })
  const [ours, theirs] = ['app.json', 'bare.json']
  await store.put(ours, text(0))
  await store.put(theirs, text(0))
  const seen = { ours: -1, theirs: -1 }
  const [a, b] = [new Awaited(), new Awaited()]
  const contestants: Contestant[] = [
    {
      follower: await midflight(store, { key: ours }, 'seq', (seq) => {
        seen.ours = seq as number
        a.look()
      }),
      awaited: a,
      put: (seq) => store.put(ours, text(seq)),
      isSeen: (seq) => seen.ours === seq,
    },
    {
      follower: await bare(store, { key: theirs }, (_, value) => {
        seen.theirs = (JSON.parse(Buffer.from(value).toString()) as { seq: number }).seq
        b.look()
      }),
      awaited: b,
      put: (seq) => store.put(theirs, text(seq)),
      isSeen: (seq) => seen.theirs === seq,
    },
  ]
  latencyRows(name, 'one document', watch, await inTurns(contestants, puts, gapMs))
  for (const { follower } of contestants) await follower.close()
}

function rulesOf(count: number) {
  return Array.from({ length: count }, (_, i) => ({ id: `rule-${i}`, path: `/api/v1/things/${i}`, limit: 100 + i }))
}

/** Keys of a tree of a hundred to a branch: the steps of the `i`th. */
function stepsOf(i: number): [branch: string, leaf: string] {
  return [`g${Math.floor(i / 100)}`, `k${i % 100}`]
}

async function fill(store: Store, top: string, n: number, text: string): Promise<void> {
  const keys = Array.from({ length: n }, (_, i) => [top, ...stepsOf(i)].join(store.separator))
  const atOnce = 64
  for (let from = 0; from < n; from += atOnce) {
    const some = keys.slice(from, from + atOnce)
    await (store.putAll?.(some, text) ?? Promise.all(some.map((key) => store.put(key, text))))
  }
}

function prefixOf(store: Store, top: string): Place {
  return { prefix: `${top}${store.separator}` }
}

async function oneOfMany(name: string, watch: string, store: Store, tops: readonly string[], n: number): Promise<void> {
  const [ours, theirs] = tops as [string, string]
  const [branch, leaf] = stepsOf(n >> 1)
  const seen = { ours: '', theirs: '' }
  const values = new Map<string, Uint8Array>()
  const [a, b] = [new Awaited(), new Awaited()]
  const text = (seq: number) => `value ${seq}`
  const at = (top: string) => [top, branch, leaf].join(store.separator)
  const contestants: Contestant[] = [
    {
      follower: await midflight(store, prefixOf(store, ours), `${branch}.${leaf}`, (value) => {
        seen.ours = value as string
        a.look()
      }),
      awaited: a,
      put: (seq) => store.put(at(ours), text(seq)),
      isSeen: (seq) => seen.ours === text(seq),
    },
    {
      follower: await bare(store, prefixOf(store, theirs), (key, value) => {
        values.set(key, value)
        seen.theirs = Buffer.from(value).toString()
        b.look()
      }),
      awaited: b,
      put: (seq) => store.put(at(theirs), text(seq)),
      isSeen: (seq) => seen.theirs === text(seq),
    },
  ]
  latencyRows(name, `one of ${n} keys`, watch, await inTurns(contestants, Math.ceil(puts / 4), gapMs))
  for (const { follower } of contestants) await follower.close()
}

/** A thousand keys, as fast as the client puts them. */
async function burst(name: string, watch: string, store: Store, tops: readonly string[]): Promise<void> {
  const [ours, theirs] = tops as [string, string]
  const rounds = 3
  let tree: Readonly<Record<string, Readonly<Record<string, string>>>> = {}
  const values = new Map<string, string>()
  const [a, b] = [new Awaited(), new Awaited()]
  const branches = burstKeys / 100
  const putAll = (top: string) => (seq: number) => fill(store, top, burstKeys, `burst ${seq}`)
  const keys = Array.from({ length: burstKeys }, (_, i) => [theirs, ...stepsOf(i)].join(store.separator))
  const contestants: Contestant[] = [
    {
      follower: await midflight(store, prefixOf(store, ours), '', (value) => {
        tree = value as typeof tree
        a.look()
      }),
      awaited: a,
      put: putAll(ours),
      isSeen: (seq) => {
        const text = `burst ${seq}`
        for (let i = 0; i < branches; i++)
          for (const leaf of Object.values(tree[`g${i}`] ?? {})) if (leaf !== text) return false
        return true
      },
    },
    {
      follower: await bare(store, prefixOf(store, theirs), (key, value) => {
        values.set(key, Buffer.from(value).toString())
        // As the last to be put may not be the last to come, but is near the end.
        if (key.endsWith('99')) b.look()
      }),
      awaited: b,
      put: putAll(theirs),
      isSeen: (seq) => keys.every((key) => values.get(key) === `burst ${seq}`),
    },
  ]
  const told = contestants.map(() => ({ ms: [] as number[], putMs: [] as number[], counts: [] as number[] }))
  for (let seq = 1; seq <= rounds; seq++) {
    for (const [i, { follower, awaited, put, isSeen }] of contestants.entries()) {
      const before = follower.count()
      const began = performance.now()
      const seen = awaited.until(`${follower.who}: burst ${seq}`, () => isSeen(seq))
      const again = setInterval(awaited.look, 1)
      await put(seq)
      told[i]?.putMs.push(performance.now() - began)
      await seen
      told[i]?.ms.push(performance.now() - began)
      clearInterval(again)
      await sleep(100)
      told[i]?.counts.push(follower.count() - before)
    }
  }
  const theirMs = median(told[1]?.ms ?? [])
  for (const [i, who] of ['midflight', watch].entries()) {
    const { ms, putMs, counts } = told[i] as (typeof told)[number]
    rows.burst.push({
      source: name,
      who,
      keys: burstKeys,
      'put ms': median(putMs),
      'all seen ms': median(ms),
      x: median(ms) / theirMs,
      'reloads, or values': median(counts),
    })
  }
  for (const { follower } of contestants) await follower.close()
}

/** Once what is no longer used is gone: clients let go of connections and buffers a little later. */
async function heldBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let unchanged = 0; unchanged < 3; unchanged++) {
    await sleep(200)
    for (let i = 0; i < 3; i++) collect?.()
    const { heapUsed, external } = process.memoryUsage()
    if (heapUsed + external < least - 50_000) unchanged = 0
    least = Math.min(least, heapUsed + external)
  }
  return least
}

/** A function of its own, so that nothing of it is left when the next one begins. */
async function costOf(follow: () => Promise<Follower>): Promise<number> {
  const before = await heldBytes()
  const follower = await follow()
  const cost = (await heldBytes()) - before
  await follower.close()
  return cost
}

async function memory(name: string, store: Store, tops: readonly string[], n: number): Promise<void> {
  const [ours, theirs] = tops as [string, string]
  const values = new Map<string, Uint8Array>()
  const costs: number[] = []
  const follow = [
    () => midflight(store, prefixOf(store, ours), 'g0', () => {}),
    () => bare(store, prefixOf(store, theirs), (key, value) => void values.set(key, value)),
  ]
  for (const one of follow) costs.push(await costOf(one))
  if (values.size !== n) throw new Error(`${name}: the bare watch has ${values.size} of ${n} keys`)
  const [cost, theirCost] = costs as [number, number]
  const row = (who: string, bytes: number): Row => ({
    source: name,
    who,
    keys: n,
    'bytes per key': Math.round(bytes / n),
    x: bytes / theirCost,
  })
  rows.memory.push(row('midflight, engine included', cost), row("Map of the client's values", theirCost))
}

async function measure({ name, bare: watch, hasPrefixes, open }: Contender): Promise<void> {
  const store = await open()
  try {
    await oneDocument(name, watch, store)
    if (!hasPrefixes) return
    for (const n of [100, most]) {
      const tops = [`app${n}`, `bare${n}`]
      for (const top of tops) await fill(store, top, n, 'a value of some twenty bytes')
      await oneOfMany(name, watch, store, tops, n)
      if (n === most) await memory(name, store, tops, n)
    }
    const tops = ['app-burst', 'bare-burst']
    for (const top of tops) await fill(store, top, burstKeys, 'burst 0')
    await burst(name, watch, store, tops)
  } finally {
    await store.close()
  }
}

const wanted = contenders.filter(({ name }) => name.startsWith(options.only))
for (const contender of wanted.filter(({ lacking }) => lacking === undefined)) await measure(contender)
report('sources: put to applied (bar 1.3 x the p50 of the bare watch, moonshot 1.1 x)', rows.latency)
report(`sources: a burst of ${burstKeys} keys`, rows.burst)
report('sources: memory of many keys', rows.memory)
for (const { name, lacking } of wanted) if (lacking !== undefined) console.log(`skipped ${name}: ${lacking}`)
