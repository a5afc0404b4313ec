/**
 * What a release costs over a bus: from the start of a publish until the last of N nodes has applied it, by WebSocket and
 * over each bus, beside the bare client's publish of as many bytes until the last of N clients has them; in the same run,
 * in turns.
 *
 *   node --conditions=midflight-source bench/buses.ts [--json] [--only=nats] [--n=1,20,100] [--rounds=15]
 *
 * A publish is a PUT over HTTP that is on disk before anything is said: `published ms` is when it was answered. It is
 * then signed, said whole on the bus, checked by each node (signature, digest), and goes through a reload of its engine.
 * All nodes are in one process, the control plane is in this one. Medians of the last node of each round.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { serve } from '@midflight/control-plane'
import pino from 'pino'
import type { NodesSetup } from './peers/bus-nodes.ts'
import { config, ways, type Server, type Way } from './peers/bus-ways.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    n: { type: 'string', default: '1,20,100' },
    rounds: { type: 'string', default: '15' },
  },
})

interface Told {
  readonly type: 'ready' | 'all'
  readonly seq?: number
  readonly medianNs: number
  readonly lastNs: number
}

class Listeners {
  readonly #process: ChildProcess

  private constructor(setup: NodesSetup) {
    this.#process = fork(join(import.meta.dirname, 'peers/bus-nodes.ts'), [JSON.stringify(setup)], {
      execArgv: ['--conditions=midflight-source', '--disable-warning=ExperimentalWarning'],
    })
  }

  static async start(setup: NodesSetup): Promise<Listeners> {
    const listeners = new Listeners(setup)
    await listeners.hear(({ type }) => type === 'ready')
    return listeners
  }

  hear(matches: (told: Told) => boolean): Promise<Told> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('the listeners have not said it within 30 s')), 30_000)
      const ended = (code: number | null) => reject(new Error(`the listeners ended with ${code}`))
      const listen = (told: Told) => {
        if (!matches(told)) return
        clearTimeout(late)
        this.#process.off('message', listen).off('exit', ended)
        resolve(told)
      }
      this.#process.on('message', listen).on('exit', ended)
    })
  }

  end(): void {
    this.#process.removeAllListeners()
    this.#process.disconnect()
  }
}

const content = (seq: number) => JSON.stringify({ seq, rules: rulesOf(12) })

function rulesOf(count: number) {
  return Array.from({ length: count }, (_, i) => ({ id: `rule-${i}`, path: `/api/v1/things/${i}`, limit: 100 + i }))
}

/** A control plane with one config, which says on the bus what it has. */
async function controlPlaneOn(way: Way, address: string) {
  const dataDir = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const bus = await way.bus(address)
  let token = ''
  const plane = await serve({
    ...{ dataDir, port: 0, logger: pino({ level: 'silent' }), onAdminToken: (secret) => (token = secret) },
    ...(bus && { bus: { buses: [bus] } }),
  })
  const ask = async (method: string, path: string, body?: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${plane.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body }),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    await answer.text()
    return answer.headers.get('etag')
  }
  await ask('POST', '/v1/configs', JSON.stringify({ name: config }))
  let etag: string | null = null
  return {
    url: plane.url,
    token,
    async publish(text: string) {
      const held: Record<string, string> = etag === null ? { 'if-none-match': '*' } : { 'if-match': etag }
      etag = await ask('PUT', `/v1/configs/${config}/content`, text, held)
    },
    async close() {
      await plane.close()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

const nowNs = () => Number(process.hrtime.bigint())
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

type Row = Record<string, string | number>
const rows: Row[] = []

async function measure(way: Way, server: Server, n: number): Promise<void> {
  const plane = await controlPlaneOn(way, server.address)
  await plane.publish(content(0))
  const at = { way: way.name, count: n, address: server.address, url: plane.url, token: plane.token }
  const contestants = [
    { who: 'midflight', listeners: await Listeners.start({ ...at, who: 'midflight' }), publish: plane.publish },
    {
      who: way.bare,
      listeners: await Listeners.start({ ...at, who: 'bare' }),
      publish: (text: string) => server.publish(Buffer.from(text)),
    },
  ].map((one) => ({ ...one, lastMs: [] as number[], medianMs: [] as number[], publishedMs: [] as number[] }))
  for (let seq = 1; seq <= Number(options.rounds) + 3; seq++) {
    for (const { who, listeners, publish, lastMs, medianMs, publishedMs } of contestants) {
      const all = listeners.hear((told) => told.type === 'all' && told.seq === seq)
      const beganNs = nowNs()
      await publish(content(seq))
      const publishedNs = nowNs()
      const { lastNs, medianNs } = await all
      // Nodes without a WebSocket report by HTTP, each by itself.
      await pause(who === 'midflight' ? 30 + 2 * n : 20)
      if (seq <= 3) continue
      lastMs.push((lastNs - beganNs) / 1e6)
      medianMs.push((medianNs - beganNs) / 1e6)
      publishedMs.push((publishedNs - beganNs) / 1e6)
    }
  }
  const bareMs = median(contestants[1]?.lastMs ?? [])
  for (const { who, listeners, lastMs, medianMs, publishedMs } of contestants) {
    listeners.end()
    rows.push({
      ...{ way: way.name, n, who, 'published ms': median(publishedMs), 'median node ms': median(medianMs) },
      ...{ 'last node ms': median(lastMs), 'last node p95 ms': quantile(lastMs, 0.95), x: median(lastMs) / bareMs },
    })
  }
  await plane.close()
}

const wanted = ways.filter(({ name }) => name.startsWith(options.only))
for (const way of wanted.filter(({ lacking }) => lacking === undefined)) {
  const server = await way.open()
  for (const n of options.n.split(',').map(Number)) await measure(way, server, n)
  await server.close()
}
report('buses: published to applied by the last of n nodes', rows)
for (const { name, lacking } of wanted) if (lacking !== undefined) console.log(`skipped ${name}: ${lacking}`)
process.exit(0)
