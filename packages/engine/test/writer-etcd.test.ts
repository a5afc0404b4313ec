import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { etcd } from '../src/sources/etcd.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { etcdWriter } from '../src/writers/etcd.ts'
import { selfSigned } from './self-signed.ts'
import { EtcdServer, noEtcd } from './source-etcd-rig.ts'
import { faultsOf } from './source-peer-rig.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { writerTests } from './writer-rig.ts'

const folder = mkdtempSync(join(tmpdir(), 'midflight-etcd-tls-'))
let server: EtcdServer | undefined
let places = 0

beforeAll(async () => {
  if (noEtcd === undefined) server = await EtcdServer.start()
}, 60_000)

afterAll(async () => {
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
})

const quick = { timeoutMs: 1_000, keepAliveMs: 6_000 } as const

async function open(): Promise<WriterRig> {
  const main = server as EtcdServer
  const proxy = await TcpProxy.listen(main.port)
  const prefix = `/midflight/${++places}/`
  const closing: (() => Promise<void>)[] = [() => proxy.close()]

  async function beside(options: Parameters<typeof EtcdServer.start>[0]) {
    const other = await EtcdServer.start(options)
    closing.push(() => other.close())
    return other
  }
  return {
    newWriter: () => etcdWriter({ ...quick, endpoints: proxy.url }),
    key: (name) => `${prefix}${name}`,
    put: (key, value) => main.put(key, value),
    async get(key) {
      const { kvs } = await main.post('kv/range', { key: Buffer.from(key).toString('base64') })
      const [pair] = (kvs ?? []) as { value?: string }[]
      return pair && Buffer.from(pair.value ?? '', 'base64')
    },
    remove: (key) => main.remove(key),
    newSource: (key) => etcd({ ...quick, endpoints: main.url, key }),
    ...faultsOf(proxy),
    async wrongAuth() {
      const other = await beside({})
      await other.enableAuth('/')
      return etcdWriter({ ...quick, endpoints: other.url, username: 'reader', password: 'of-nobody' })
    },
    async wrongTls() {
      const other = await beside({ tls: selfSigned(folder) })
      return etcdWriter({ ...quick, endpoints: other.url.replace('http:', 'https:') })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('etcdWriter(), on a real server', () => {
  writerTests({ open }, noEtcd)
})
