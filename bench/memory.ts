/**
 * What it costs to hold ten releases of n rules that differ by 20 changes each, as snapshots that share and as parsed
 * copies: `node --expose-gc --conditions=midflight-source bench/memory.ts [--n=100000] [--json]`. Bytes per further release.
 */
import { parseArgs } from 'node:util'
import { digest } from '../packages/engine/src/digest.ts'
import type { Json } from '../packages/engine/src/json.ts'
import { freezeDeep, share } from '../packages/engine/src/snapshot.ts'
import { pair } from './rules.ts'

const { values: options } = parseArgs({
  options: { n: { type: 'string', default: '100000' }, json: { type: 'boolean', default: false } },
})
const collect = globalThis.gc
if (collect === undefined) throw new Error('the garbage collector is out of reach: run with node --expose-gc')
const releases = 10
const n = Number(options.n)
const { oldText } = pair(n)

interface Doc {
  version: number
  rules: { limit: { rps: number } }[]
}

/** Release `version`: ten rules changed, five gone, five new. */
function release(version: number): Json {
  const doc = JSON.parse(oldText) as Doc
  for (let k = 0; k < 10; k++) {
    const rule = doc.rules[Math.floor((n * (k + 0.5)) / 10)]
    if (rule !== undefined) rule.limit.rps += version
  }
  doc.rules.splice(
    version * 5,
    5,
    ...Array.from({ length: 5 }, (_, i) => ({ ...rule0(doc), id: `new-${version}-${i}` })),
  )
  doc.version = version
  return doc as unknown as Json
}

function rule0(doc: Doc): Doc['rules'][number] {
  return structuredClone(doc.rules[0]) as Doc['rules'][number]
}

function heldBytes(): number {
  for (let i = 0; i < 3; i++) collect?.()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Bytes per release after the first. */
function perRelease(next: (version: number, before: Json | undefined) => Json): number {
  const held: Json[] = [next(1, undefined)]
  const start = heldBytes()
  for (let version = 2; version <= releases; version++) held.push(next(version, held.at(-1)))
  const bytes = (heldBytes() - start) / (releases - 1)
  if (held.length !== releases) throw new Error('a release was lost')
  return bytes
}

const rows = [
  {
    name: 'midflight: snapshots',
    bytes: perRelease((version, before) => share(release(version), before, { rules: 'id' })),
  },
  {
    name: 'midflight: snapshots and their digests',
    bytes: perRelease((version, before) => {
      const snapshot = share(release(version), before, { rules: 'id' })
      digest(snapshot, before)
      return snapshot
    }),
  },
  { name: 'parsed copies', bytes: perRelease((version) => freezeDeep(release(version))) },
]
const copies = rows.at(-1)?.bytes ?? 1
if (!options.json)
  console.log(`${releases} releases of ${n.toLocaleString('en')} rules, 20 changes each; per further release:`)
for (const { name, bytes } of rows) {
  if (options.json)
    console.log(JSON.stringify({ bench: 'memory', n, name, bytes: Math.round(bytes), ratio: bytes / copies }))
  else
    console.log(`  ${name.padEnd(42)} ${(bytes / 1024).toFixed(0).padStart(9)} KiB  × ${(bytes / copies).toFixed(4)}`)
}
