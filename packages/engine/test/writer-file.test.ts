import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { file } from '../src/sources/file.ts'
import { fileWriter } from '../src/writers/file.ts'
import { writerTests } from './writer-rig.ts'

const never = new AbortController().signal

describe('fileWriter()', () => {
  const where = 'it is a file system'
  writerTests({
    async open() {
      const cwd = await mkdtemp(join(tmpdir(), 'midflight-writer-'))
      return {
        newWriter: () => fileWriter({ cwd }),
        key: (name) => `${name.replaceAll('/', '-')}.json`,
        put: (key, value) => writeFile(join(cwd, key), value),
        get: (key) => readFile(join(cwd, key)).catch(() => undefined),
        remove: (key) => rm(join(cwd, key)),
        newSource: (key) => file([key], { cwd }),
        close: () => rm(cwd, { recursive: true }),
      }
    },
    without: {
      compare: 'a file system has no compare-and-set',
      revisions: 'a file system has no compare-and-set',
      list: 'one file is one document',
      network: where,
      silence: where,
      auth: where,
      tls: where,
    },
  })
})

test('a file keeps its mode, a new one is its owner’s, and nothing is left beside it', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'midflight-writer-'))
  onTestFinished(() => rm(cwd, { recursive: true }))
  const writer = fileWriter({ cwd })
  const mode = async () => (await stat(join(cwd, 'a.json'))).mode & 0o777
  await writer.write('a.json', Buffer.from('1'), 'any', never)
  expect(await mode()).toBe(0o600)
  await chmod(join(cwd, 'a.json'), 0o644)
  await Promise.all([2, 3, 4].map((value) => writer.write('a.json', Buffer.from(String(value)), 'any', never)))
  expect(await mode()).toBe(0o644)
  expect(await readdir(cwd)).toEqual(['a.json'])
  await expect(writer.write('no/a.json', Buffer.from('1'), 'any', never)).rejects.toMatchObject({ code: 'refused' })
})
