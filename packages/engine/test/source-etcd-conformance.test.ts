import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { etcd, type EtcdOptions } from '../src/sources/etcd.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { selfSigned } from './self-signed.ts'
import { EtcdServer, noEtcd } from './source-etcd-rig.ts'
import { faultsOf } from './source-peer-rig.ts'
import { TcpProxy } from './tcp-proxy.ts'

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

const quick = {
  timeoutMs: 1_000,
  keepAliveMs: 6_000,
  answerMs: 400,
  retry: { firstMs: 20, maxMs: 200 },
} as const

async function open(): Promise<SourceRig> {
  const main = server as EtcdServer
  const proxy = await TcpProxy.listen(main.port)
  const prefix = `/midflight/${++places}/`
  const closing: (() => Promise<void>)[] = [() => proxy.close()]
  const at = (options: Partial<EtcdOptions>) => etcd({ ...quick, endpoints: proxy.url, ...options })

  async function beside(options: Parameters<typeof EtcdServer.start>[0]) {
    const other = await EtcdServer.start(options)
    const toOther = await TcpProxy.listen(other.port)
    closing.push(async () => {
      await toOther.close()
      await other.close()
    })
    return { other, toOther }
  }
  const faults = faultsOf(proxy)
  return {
    newSource: ({ mode, maxBytes }) =>
      at({ ...(mode === 'key' ? { key: `${prefix}doc` } : { prefix }), ...(maxBytes !== undefined && { maxBytes }) }),
    write: (key, value) => main.put(`${prefix}${key}`, value),
    remove: (key) => main.remove(`${prefix}${key}`),
    async loseAll() {
      await faults.cutOff()
      await main.removeBelow(prefix)
      await main.compact()
      await faults.letBack()
    },
    ...faults,
    stopServer: () => main.stop(),
    startServer: () => main.start(),
    compact: () => main.compact(),
    async wrongAuth() {
      const { other, toOther } = await beside({})
      await other.enableAuth('/')
      const login = { username: 'reader', password: 'of-nobody' }
      return {
        source: etcd({ ...quick, endpoints: toOther.url, prefix: '/', ...login }),
        attempts: () => toOther.accepted,
      }
    },
    async wrongTls() {
      const { toOther } = await beside({ tls: selfSigned(folder) })
      const endpoints = toOther.url.replace('http:', 'https:')
      return { source: etcd({ ...quick, endpoints, prefix: '/' }), attempts: () => toOther.accepted }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe(`etcd(), on a real server${noEtcd === undefined ? '' : ` (skipped: ${noEtcd})`}`, () => {
  for (const { name, skip, run } of testSource({ open })) {
    const why = noEtcd ?? skip
    test.skipIf(why !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run, 60_000)
  }
})
