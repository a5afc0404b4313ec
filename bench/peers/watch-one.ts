/** One contender in one mode in a process of its own: `watch-one.ts <contender> <mode> <writes> <bursts>`. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { contenders } from './watch-contenders.ts'

const [name, mode, writes, bursts] = process.argv.slice(2) as [string, string, string, string]
const directory = mkdtempSync(join(tmpdir(), 'midflight-bench-watch-'))
const file = join(directory, 'config.json')
const writer = fork(join(import.meta.dirname, 'watch-writer.ts'), [mode, directory])

let version = -1
const write = (): Promise<bigint> =>
  new Promise((done) => {
    writer.once('message', (message: { beganNs: string }) => done(BigInt(message.beganNs)))
    writer.send({ version: ++version })
  })

let wanted = -1
let callbacks = 0
let torn = 0
let fresh: ((atNs: bigint) => void) | undefined

function look(): void {
  callbacks++
  try {
    const read = JSON.parse(readFileSync(file, 'utf8')) as { version: number; end: number }
    if (read.version === wanted && read.end === wanted) fresh?.(process.hrtime.bigint())
  } catch {
    torn++
  }
}

/** @returns when the wanted version was first seen whole, or undefined after a second. */
function seen(): Promise<bigint | undefined> {
  return Promise.race([new Promise<bigint>((done) => (fresh = done)), sleep(1000, undefined)])
}

await write()
const stop = await contenders[name]!(directory, file, look)
await sleep(300)

const latenciesMs: number[] = []
let missed = 0
callbacks = torn = 0
for (let i = 0; i < Number(writes); i++) {
  wanted = version + 1
  const seenNs = seen()
  const beganNs = await write()
  const atNs = await seenNs
  if (atNs === undefined) missed++
  else latenciesMs.push(Number(atNs - beganNs) / 1e6)
  await sleep(70 + ((i * 37) % 60))
}
const tornSingle = torn
const callbacksPerWrite = callbacks / Number(writes)

let lost = 0
let mostPerBurst = 0
callbacks = torn = 0
for (let i = 0; i < Number(bursts); i++) {
  await sleep(300)
  const before = callbacks
  wanted = version + 10
  const seenNs = seen()
  for (let j = 0; j < 10; j++) await write()
  if ((await seenNs) === undefined) lost++
  await sleep(100)
  mostPerBurst = Math.max(mostPerBurst, callbacks - before)
}

const line = { contender: name, mode, writes: Number(writes), bursts: Number(bursts), missed, torn: tornSingle, lost }
const perBurst = { callbacksPerWrite, callbacksPerBurst: callbacks / Number(bursts), mostPerBurst, tornInBursts: torn }
console.log(JSON.stringify({ ...line, ...perBurst, latenciesMs }))
await stop()
writer.disconnect()
// It may still be at its last change.
await once(writer, 'exit')
if (!directory.startsWith(tmpdir())) throw new Error(`will not remove ${directory}`)
rmSync(directory, { recursive: true })
