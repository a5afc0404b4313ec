import { describe } from 'vitest'
import { s3 } from '../src/sources/s3.ts'
import type { SourceRig } from '../src/testing/index.ts'
import { S3Peer } from './s3-peer.ts'
import { faultsOf, quick, testsOf, untrusted } from './source-peer-rig.ts'

const usual = { ...quick, pollMs: 100 } as const

async function open(isVersioned: boolean): Promise<SourceRig> {
  const peer = await S3Peer.listen()
  peer.isVersioned = isVersioned
  const { bucket, region, keys: credentials, web } = peer
  const place = { bucket, region, endpoint: web.proxy.url }
  const closing: (() => Promise<void>)[] = [() => web.close()]
  return {
    ...faultsOf(web.proxy),
    newSource: ({ mode, maxBytes }) =>
      s3({
        ...place,
        ...(mode === 'key' ? { key: 'app/doc' } : { prefix: 'app/' }),
        credentials,
        ...usual,
        ...(maxBytes !== undefined && { maxBytes }),
      }),
    write: async (key, value) => peer.put(`app/${key}`, value),
    remove: async (key) => peer.remove(`app/${key}`),
    loseAll: async () => peer.lose(),
    stopServer: () => web.stop(),
    startServer: () => web.start(),
    async wrongAuth() {
      const source = s3({
        ...place,
        prefix: 'app/',
        ...usual,
        credentials: { ...credentials, secretAccessKey: 'another' },
      })
      return { source, attempts: () => web.requests.length }
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      const source = s3({ ...place, endpoint: server.url, prefix: 'app/', credentials, ...usual })
      return { source, attempts: server.attempts }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

const compact = 'a bucket is listed as it is; there is no history to be forgotten'
const peers = 'on a protocol peer written from S3’s API documentation'

describe(`s3(), a prefix of a bucket with versions, ${peers}`, () => {
  testsOf({ open: () => open(true), without: { compact } })
})

describe(`s3(), one object of a bucket without versions, ${peers}`, () => {
  const removal = 'without versions there is no delete marker, and absence is not deletion'
  testsOf({ open: () => open(false), without: { compact, removal, prefix: 'it is run above' } })
})
