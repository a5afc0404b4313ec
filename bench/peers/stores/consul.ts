/** Consul, and beside the source a loop of blocking queries. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serverOf } from '../server.ts'
import { looping, nameOf, type Store } from './store.ts'

const ownConsul = fileURLToPath(new URL('../../../.cache/consul/usr/bin/consul', import.meta.url))
export const consulProgram = existsSync(ownConsul) ? ownConsul : 'consul'

export async function consul(): Promise<Store> {
  const { consul: source } = await import('midflight/sources/consul')
  const server = await serverOf(
    consulProgram,
    (folder, port, other) => {
      const ports = { dns: -1, http: port, https: -1, grpc: -1, server: other, serf_lan: other + 1, serf_wan: -1 }
      const file = join(folder, 'consul.json')
      const limits = { http_max_conns_per_client: 5_000 }
      writeFileSync(file, JSON.stringify({ ports, limits, performance: { raft_multiplier: 1 } }))
      const address = ['-bind', '127.0.0.1', '-client', '127.0.0.1']
      return ['agent', '-server', '-bootstrap-expect', '1', '-data-dir', folder, '-config-file', file, ...address]
    },
    async (port) => {
      try {
        return (await fetch(`http://127.0.0.1:${port}/v1/status/leader`).then((answer) => answer.text())).length > 2
      } catch {
        return false // told by `serverOf`, if it stays so
      }
    },
  )
  return consulAt(`http://127.0.0.1:${server.port}`, source, () => server.stop())
}

function consulAt(
  url: string,
  source: typeof import('midflight/sources/consul').consul,
  close: () => Promise<void>,
): Store {
  return {
    separator: '/',
    async put(key, value) {
      const { ok, status } = await fetch(`${url}/v1/kv/${key}`, { method: 'PUT', body: value })
      if (!ok) throw new Error(`Consul answers ${status}`)
    },
    async putAll(keys, value) {
      const set = { Verb: 'set', Value: Buffer.from(value).toString('base64') }
      const body = JSON.stringify(keys.map((Key) => ({ KV: { ...set, Key } })))
      const { ok, status } = await fetch(`${url}/v1/txn`, { method: 'PUT', body })
      if (!ok) throw new Error(`Consul answers ${status}`)
    },
    // Changes come faster here than anyone should change what others read by blocking queries.
    source: (place) => source({ url, ...place, paceMs: 10 }),
    async watch(place, onValue) {
      const over = new AbortController()
      const known = new Map<string, number>()
      let index = '0'
      const look = async () => {
        const query = `${'prefix' in place ? 'recurse&' : ''}index=${index}&wait=60s`
        const answer = await fetch(`${url}/v1/kv/${nameOf(place)}?${query}`, { signal: over.signal })
        index = answer.headers.get('x-consul-index') ?? '0'
        const pairs = answer.ok ? ((await answer.json()) as { Key: string; Value: string; ModifyIndex: number }[]) : []
        for (const { Key, Value, ModifyIndex } of pairs) {
          if (known.get(Key) === ModifyIndex) continue
          known.set(Key, ModifyIndex)
          onValue(Key, Buffer.from(Value ?? '', 'base64'))
        }
      }
      await look()
      return looping(look, over)
    },
    close,
  }
}
