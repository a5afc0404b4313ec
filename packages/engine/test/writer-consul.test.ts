import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { consul } from '../src/sources/consul.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { consulWriter } from '../src/writers/consul.ts'
import { ConsulPeer } from './consul-peer.ts'
import { ConsulServer, done, noConsul, version } from './source-consul-rig.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { writerTests } from './writer-rig.ts'

const quick = { timeoutMs: 2_000 } as const

describe('consulWriter(), on a protocol peer written from Consul’s documentation', () => {
  writerTests({ open: openPeer })
})

async function openPeer(): Promise<WriterRig> {
  const peer = await ConsulPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  return {
    newWriter: () => consulWriter({ ...quick, url: peer.url }),
    key: (name) => `app/${name}`,
    put: async (key, value) => peer.put(key, value),
    get: async (key) => peer.get(key),
    remove: async (key) => peer.remove(key),
    newSource: (key) => consul({ url: peer.url, key }),
    ...faultsOf(peer.web.proxy),
    wrongAuth() {
      peer.token = 'right'
      return consulWriter({ ...quick, url: peer.url, token: () => 'of-nobody' })
    },
    wrongTls: () => distrusting(closing),
    async close() {
      for (const end of closing) await end()
    },
  }
}

async function distrusting(closing: (() => Promise<void>)[]) {
  const server = await untrusted()
  closing.push(() => server.close())
  return consulWriter({ ...quick, url: server.url })
}

describe(`consulWriter(), on the real Consul ${version ?? ''}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-consul-'))
  let server: ConsulServer | undefined
  let places = 0
  beforeAll(async () => {
    if (noConsul === undefined) server = await ConsulServer.start(folder)
  }, 60_000)
  afterAll(async () => {
    await server?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  async function open(): Promise<WriterRig> {
    const { port, url } = server as ConsulServer
    const proxy = await TcpProxy.listen(port)
    const at = `place-${++places}`
    const closing: (() => Promise<void>)[] = [() => proxy.close()]
    const kv = (key: string) => `${url}/v1/kv/${key}`
    return {
      newWriter: () => consulWriter({ ...quick, url: proxy.url }),
      key: (name) => `${at}/${name}`,
      put: (key, value) => done(fetch(kv(key), { method: 'PUT', body: Buffer.from(value) })),
      async get(key) {
        const answer = await fetch(`${kv(key)}?raw`)
        const body = new Uint8Array(await answer.arrayBuffer())
        return answer.status === 404 ? undefined : body
      },
      remove: (key) => done(fetch(kv(key), { method: 'DELETE' })),
      newSource: (key) => consul({ url, key }),
      ...faultsOf(proxy),
      wrongAuth: () => consulWriter({ ...quick, url: proxy.url, token: 'of-nobody' }),
      wrongTls: () => distrusting(closing),
      async close() {
        for (const end of closing) await end()
      },
    }
  }
  writerTests({ open }, noConsul)
})
