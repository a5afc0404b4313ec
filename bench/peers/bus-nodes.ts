/** Those who listen, in the benchmark of buses: nodes of a fleet, or as many clients of the bus. Told what to be by `bench/buses.ts`. */
import { componentsFor, jsonSchema, start } from 'midflight'
import { controlPlane } from 'midflight/agent'
import { config, ways, type WayName } from './bus-ways.ts'

export interface NodesSetup {
  readonly way: WayName
  readonly who: 'midflight' | 'bare'
  readonly count: number
  /** Of the bus. */
  readonly address: string
  /** Of the control plane. */
  readonly url: string
  readonly token: string
}

const setup = JSON.parse(process.argv[2] ?? '') as NodesSetup
const way = ways.find(({ name }) => name === setup.way)
if (!way) throw new Error(`there is no way ${setup.way}`)
const { listen, bus: busAt } = way

/** When each has it, in nanoseconds of a clock that all processes share. */
const seen = new Map<number, number[]>()

function saw(seq: number): void {
  const atNs = Number(process.hrtime.bigint())
  const all = seen.get(seq) ?? []
  seen.set(seq, all)
  all.push(atNs)
  if (all.length < setup.count) return
  seen.delete(seq)
  process.send?.({ type: 'all', seq, medianNs: all[all.length >> 1], lastNs: Math.max(...all) })
}

async function join(): Promise<void> {
  const { address, url, token } = setup
  if (setup.who === 'bare') return await listen(address, (bytes) => saw((JSON.parse(String(bytes)) as Content).seq))
  const bus = await busAt(address)
  const schema = jsonSchema({ type: 'object' })
  const source = controlPlane({ url, config, token, ...(bus && { bus, websocket: false }) })
  const seq = componentsFor(schema).value({ name: 'seq', path: 'seq' as never, apply: (next) => saw(next as number) })
  await start({ schema, sources: [source], components: [seq], logger: false })
  // Not before the first answer of the control plane has come by the way that is measured.
  while (source.status().via !== (bus ? 'bus' : 'websocket')) await new Promise((resolve) => setTimeout(resolve, 20))
}

interface Content {
  readonly seq: number
}

await Promise.all(Array.from({ length: setup.count }, join))
process.once('disconnect', () => process.exit(0))
process.send?.({ type: 'ready' })
