import { describe } from 'vitest'
import { s3 } from '../src/sources/s3.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { s3Writer } from '../src/writers/s3.ts'
import { S3Peer } from './s3-peer.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

async function open(): Promise<WriterRig> {
  const peer = await S3Peer.listen()
  const { bucket, region, keys: credentials, web } = peer
  const place = { bucket, region, endpoint: web.proxy.url, credentials, timeoutMs: 1_000 }
  const closing: (() => Promise<void>)[] = [() => web.close()]
  return {
    newWriter: () => s3Writer(place),
    key: (name) => `app dir+?/${name}`,
    put: async (key, value) => peer.put(key, value),
    get: async (key) => peer.objects.get(key),
    remove: async (key) => peer.remove(key),
    newSource: (key) => s3({ ...place, key }),
    ...faultsOf(web.proxy),
    wrongAuth: () => s3Writer({ ...place, credentials: { ...credentials, secretAccessKey: 'of-nobody' } }),
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return s3Writer({ ...place, endpoint: server.url })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('s3Writer(), on a protocol peer written from S3’s API documentation', () => {
  writerTests({ open, without: { revisions: 'an ETag comes back with the content' } })
})
