import { describe } from 'vitest'
import { memoryPlace, memoryWriter } from '../src/testing/index.ts'
import { writerTests } from './writer-rig.ts'

describe('memoryWriter()', () => {
  writerTests({
    async open() {
      const place = memoryPlace()
      const other = memoryWriter(place)
      const never = new AbortController().signal
      return {
        newWriter: () => memoryWriter(place),
        key: (name) => name,
        put: async (key, value) => void (await other.write(key, value, 'any', never)),
        get: async (key) => (await other.read(key, never))?.value,
        remove: async (key) => void (await other.remove(key, 'any', never)),
        async close() {},
      }
    },
    without: {
      source: 'memory() is another place',
      network: 'it is in this process',
      silence: 'it is in this process',
      auth: 'it asks nobody who they are',
      tls: 'it is in this process',
    },
  })
})
