// `npm run bench [-- name …]`: the benchmarks one after the other, each in a process of its own. Run nothing else meanwhile.
import { spawnSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'

const [engine, fleet] = [
  ['diff', 'reload', 'yaml', 'read', 'watch', 'memory', 'gateway', 'sources', 'sidecar'],
  ['commit', 'fanout', 'two-phase', 'targets', 'buses'],
]
const all = [...engine, ...fleet]
const [named, options] = [
  process.argv.slice(2).filter((a) => !a.startsWith('-')),
  process.argv.slice(2).filter((a) => a.startsWith('-')),
]
const unknown = named.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`no benchmark is named ${unknown.join(', ')}; there are ${all.join(', ')}`)
  process.exit(1)
}
console.log(
  `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, Node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`,
)
let failed = false
for (const name of named.length > 0 ? named : all) {
  const args = [
    '--conditions=midflight-source',
    '--expose-gc',
    '--max-old-space-size=12000',
    join(import.meta.dirname, `${name}.ts`),
    ...options,
  ]
  failed = spawnSync(process.execPath, args, { stdio: 'inherit' }).status !== 0 || failed
}
process.exit(failed ? 1 : 0)
