/**
 * What it costs to find 20 changes among n rules, beside other libraries and the least that it could cost, all in one
 * run: `node --conditions=midflight-source bench/diff.ts [--n=1000,10000,100000] [--json]`. Medians in milliseconds; the ratio
 * is to the contender marked 1.00 of its group.
 */
import { parseArgs } from 'node:util'
import fastDeepEqual from 'fast-deep-equal'
import fastJsonPatch from 'fast-json-patch'
import microdiff from 'microdiff'
import { digest } from '../packages/engine/src/digest.ts'
import { changes, diff, diffEntries } from '../packages/engine/src/diff.ts'
import type { Json } from '../packages/engine/src/json.ts'
import { check, defaultLimits, freezeDeep, share } from '../packages/engine/src/snapshot.ts'
import { pair, type Rule } from './rules.ts'

interface Doc {
  version: number
  rules: Rule[]
}

/** Made anew for every run, outside of what is timed: a function that is timed and says what it found. */
type Contender = () => () => unknown

const keys = { rules: 'id' }
const { values: options } = parseArgs({
  options: { n: { type: 'string', default: '1000,10000,100000' }, json: { type: 'boolean', default: false } },
})

for (const n of options.n.split(',').map(Number)) {
  for (const [group, contenders] of Object.entries(groups(n))) report(n, group, contenders)
}

function groups(n: number): Record<string, Record<string, Contender>> {
  const { oldText, newText } = pair(n)
  const parse = (text: string): Doc & Json => JSON.parse(text) as Doc & Json
  const live = freezeDeep(parse(oldText))
  const held = share(parse(newText), live, keys) as Doc & Json
  const [old, fresh] = [parse(oldText), parse(newText)]
  const [oldById, freshById] = [byId(old), byId(fresh)]
  const oldMap = new Map(old.rules.map((rule) => [rule.id, rule]))
  const perRule =
    (equal: (a: unknown, b: unknown) => boolean): Contender =>
    () =>
    () => {
      let same = 0
      for (const rule of fresh.rules) {
        const other = oldMap.get(rule.id)
        if (other !== undefined && equal(other, rule)) same++
      }
      return n - same
    }
  const listed = (): Doc & Json => ({ version: 2, rules: [...held.rules] }) as unknown as Doc & Json
  const comparing = (next: Doc & Json) => () => {
    diffEntries(live.rules as unknown as Json[], next.rules as unknown as Json[], 'id')
    return changes(diff(live, next, keys)).length
  }
  const others: Record<string, Contender> = {
    'fast-json-patch': () => () => fastJsonPatch.compare(oldById, freshById).length,
    microdiff: () => () => microdiff(oldById, freshById, { cyclesFix: false }).length,
    'fast-deep-equal per rule': perRule(fastDeepEqual),
    'hand-written deep equality per rule': perRule(deepEqual),
  }
  return {
    'two unshared trees': {
      'midflight: share + diff + changes': () => {
        const next = parse(newText)
        return () => changes(diff(live, share(next, live, keys), keys)).length
      },
      'midflight: diff + changes': () => () => changes(diff(old, fresh, keys)).length,
      ...others,
    },
    'two held snapshots': {
      // Each time a snapshot that was never compared, made as the engine makes them.
      'midflight: diff + changes + diffEntries': () => comparing(share(listed(), live, keys) as Doc & Json),
      'midflight: the same, of snapshots made apart': () => comparing(freezeDeep(listed())),
      microdiff: others.microdiff as Contender,
      'fast-deep-equal per rule': others['fast-deep-equal per rule'] as Contender,
    },
    'a tree that is nearly all live objects': {
      'midflight: check + share': () => {
        const next = listed()
        return () => [check(next, live, defaultLimits).length, share(next, live, keys)].length
      },
    },
    'a tree for the first time': {
      'JSON.parse': () => () => parse(oldText).rules.length,
      'midflight: check': () => {
        const next = parse(oldText)
        return () => check(next, undefined, defaultLimits).length
      },
      'midflight: freeze': () => {
        const next = parse(oldText)
        return () => freezeDeep(next).rules.length
      },
      'midflight: digest': () => () => digest(old),
    },
    'the digest of the next version': {
      'midflight: digest': () => {
        digest(live)
        const next = freezeDeep(listed())
        return () => digest(next, live)
      },
    },
  }
}

function report(n: number, group: string, contenders: Record<string, Contender>): void {
  const medians = measured(contenders)
  const reference = medians[0]?.ms ?? 1
  if (options.json) {
    for (const { name, ms } of medians)
      console.log(JSON.stringify({ bench: 'diff', n, group, name, ms, ratio: ms / reference }))
    return
  }
  console.log(`\n${n.toLocaleString('en')} rules, ${group}`)
  for (const { name, ms } of medians) {
    console.log(`  ${name.padEnd(46)} ${ms.toFixed(3).padStart(10)} ms  × ${(ms / reference).toFixed(2)}`)
  }
}

/** The contenders take turns, so that what else the machine does falls on all of them. */
function measured(contenders: Record<string, Contender>): { name: string; ms: number }[] {
  const times = new Map<string, number[]>(Object.keys(contenders).map((name) => [name, []]))
  const until = performance.now() + 12_000
  for (let i = 0; i < 60 && (i < 7 || performance.now() < until); i++) {
    for (const [name, make] of Object.entries(contenders)) {
      const run = make()
      const start = performance.now()
      run()
      // The first runs compile.
      if (i >= 2) times.get(name)?.push(performance.now() - start)
    }
  }
  return [...times].map(([name, all]) => ({ name, ms: all.sort((x, y) => x - y)[all.length >> 1] as number }))
}

function byId(doc: Doc): Record<string, Rule> {
  return Object.fromEntries(doc.rules.map((rule) => [rule.id, rule]))
}

/** The floor: equality of JSON values and nothing else. */
function deepEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!deepEqual(a[i], b[i])) return false
    return true
  }
  const x = a as Record<string, unknown>
  const y = b as Record<string, unknown>
  let n = 0
  for (const k in x) {
    n++
    const v = y[k]
    if (v === undefined || !deepEqual(x[k], v)) return false
  }
  for (const _ in y) n--
  return n === 0
}
