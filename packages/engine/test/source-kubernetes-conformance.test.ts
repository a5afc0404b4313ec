/** The promises of all sources, on a ConfigMap and on a Secret. */
import { describe, test } from 'vitest'
import { kubernetes } from '../src/sources/kubernetes.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { KubernetesPeer, type ApiObject } from './kubernetes-peer.ts'
import { faultsOf, quick, untrusted } from './source-peer-rig.ts'

const noSlash = 'data keys cannot hold a slash: the map is flat'
const hidden = 'values of a Secret are shown to nobody, also those that were removed'
const notKept = 'the last good holds only references to what is in a Secret; see source-kubernetes-secret.test.ts'

/** Cases that cannot pass, by their names. */
const cannot: Readonly<Record<ApiObject['kind'], Readonly<Record<string, string>>>> = {
  ConfigMap: { 'keys below a prefix become a tree': noSlash },
  Secret: {
    'keys below a prefix become a tree': noSlash,
    'one key holds the document, and what is no longer in it is a removal with the old value': hidden,
    'DELETE is a removal with the old value (Z4)': hidden,
    'DELETE of the key that holds all is a removal with the old values (Z4)': hidden,
    'with its server away it starts from the last good, and catches up': notKept,
  },
}

for (const kind of ['ConfigMap', 'Secret'] as const) {
  describe(`kubernetes() with a ${kind}, on a protocol peer written from the documentation of Kubernetes’ API`, () => {
    const without = kind === 'ConfigMap' ? { raw: 'the API refuses data that is not UTF-8' } : {}
    for (const { name, skip, run } of testSource({ open: () => openPeer(kind), without })) {
      const reason = skip ?? cannot[kind][name]
      test.skipIf(reason !== undefined)(`${name}${reason === undefined ? '' : ` (skipped: ${reason})`}`, run)
    }
  })
}

async function openPeer(kind: ApiObject['kind']): Promise<SourceRig> {
  const peer = await KubernetesPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  const object = kind === 'ConfigMap' ? { configMap: 'gateway' } : { secret: 'gateway' }
  const usual = { ...object, namespace: 'shop', ...quick, watchMs: 1_000, paceMs: 10 }
  const encoded = (value: string | Uint8Array) =>
    Buffer.from(value as string).toString(kind === 'Secret' ? 'base64' : 'utf8')
  return {
    ...faultsOf(peer.web.proxy),
    newSource: ({ mode, maxBytes }) =>
      kubernetes({
        url: peer.url,
        ...usual,
        ...(mode === 'key' && { key: 'doc' }),
        ...(maxBytes !== undefined && { maxBytes }),
      }),
    async write(key, value) {
      peer.apply(kind, 'gateway', { data: { ...peer.data(kind, 'gateway'), [key]: encoded(value) } })
    },
    async remove(key) {
      const { [key]: _, ...data } = { ...peer.data(kind, 'gateway') }
      peer.apply(kind, 'gateway', { data })
    },
    loseAll: async () => peer.restoreEmpty(),
    compact: async () => peer.compact(),
    stopServer: () => peer.web.stop(),
    startServer: () => peer.web.start(),
    async wrongAuth() {
      peer.token = 'right'
      const source = kubernetes({ url: peer.url, ...usual, token: () => 'wrong' })
      return { source, attempts: () => peer.web.requests.length }
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return { source: kubernetes({ url: server.url, ...usual }), attempts: server.attempts }
    },
    connections: () => peer.watches,
    async close() {
      for (const end of closing) await end()
    },
  }
}
