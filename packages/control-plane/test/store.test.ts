import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import type { Store } from '../src/store.ts'
import { testStore } from '../src/stores/conformance.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { openSqlite } from '../src/stores/sqlite.ts'

const folders: string[] = []
afterAll(() => {
  for (const made of folders) rmSync(made, { recursive: true, force: true })
})

describe('the memory store', () => {
  for (const { name, run } of testStore({ newStore: async () => memoryStore() })) test(`${name}`, run)
})

// No cache: then every content is read from the disk. A short chain: then wholes and patches alternate.
for (const [title, options] of Object.entries({
  'the SQLite store': {},
  'the SQLite store, reading everything from the disk': { cacheBytes: 0, wholeEvery: 8 },
})) {
  describe(`${title}`, () => {
    const directories = new Map<Store, string>()
    const open = async (directory: string): Promise<Store> => {
      const store = await openSqlite({ directory, ...options })
      directories.set(store, directory)
      return store
    }
    const cases = testStore({
      async newStore() {
        const made = mkdtempSync(join(tmpdir(), 'midflight-store-'))
        folders.push(made)
        return open(join(made, 'data'))
      },
      async reopen(store) {
        await store.close()
        return open(directories.get(store) as string)
      },
    })
    for (const { name, run } of cases) test(`${name}`, run)
  })
}
