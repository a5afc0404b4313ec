import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import { file } from '../src/sources/file.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'

const nobody = 'there is no server'
const nothing = { network: nobody, silence: nobody, drip: nobody, restart: nobody, auth: nobody, tls: nobody }

async function files(): Promise<SourceRig> {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-file-'))
  mkdirSync(join(folder, 'of'))
  const path = join(folder, 'of', 'doc')
  return {
    newSource: ({ maxBytes }) =>
      file(path, { format: 'json', pollMs: 100, ...(maxBytes !== undefined && { limits: { maxBytes } }) }),
    async write(_key, value) {
      writeFileSync(`${path}.new`, value)
      renameSync(`${path}.new`, path)
    },
    remove: async () => rmSync(path),
    loseAll: async () => rmSync(path),
    close: async () => rmSync(folder, { recursive: true, force: true }),
  }
}

describe('file()', () => {
  const without = {
    ...nothing,
    prefix: 'a file is one document',
    removal: 'a file that is not there is absence, whoever removed it',
    compact: 'a file has no history',
  }
  for (const { name, skip, run } of testSource({ open: files, without })) {
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
  }
})
