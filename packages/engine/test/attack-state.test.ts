import { spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { jsonSchema, start, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'
import { anything, started } from './engine-rig.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-attack-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function fromLastGood(stateDir: string, schema = anything) {
  const down = memory({})
  down.fail('away')
  const engine = await start({ schema, sources: [{ name: 'down', load: down.load }], stateDir, logger: false })
  const { live } = engine
  await engine.close()
  return live
}

describe('the last good', () => {
  test('a state directory that is removed while the process runs is made again', async () => {
    const stateDir = join(folder, 'a', 'b')
    const { engine, set } = await started([], { n: 1 }, { stateDir })
    await rm(join(folder, 'a'), { recursive: true })
    expect(await set({ n: 2 })).toMatchObject({ kind: 'committed', warnings: [] })
    expect(await set({ n: 3 })).toMatchObject({ kind: 'committed', warnings: [] })
    await engine.close()
    expect(await fromLastGood(stateDir)).toEqual({ n: 3 })
  })

  test('a state directory that is a file, or leads nowhere, is a warning, and the process serves', async () => {
    const stateDir = join(folder, 'file')
    await writeFile(stateDir, 'x')
    const { engine, set } = await started([], { n: 1 }, { stateDir })
    expect(await set({ n: 2 })).toMatchObject({ kind: 'committed', warnings: [expect.any(String)] })
    await engine.close()
  })

  test('two processes on one state directory never leave none that loads', async () => {
    const program = join(import.meta.dirname, 'programs', 'saves.ts')
    const children = [1, 2].map((n) =>
      spawn(process.execPath, ['--conditions=midflight-source', program, folder, String(n)], { stdio: 'ignore' }),
    )
    await Promise.all(children.map((child) => new Promise((resolve) => child.on('close', resolve))))
    expect(await fromLastGood(folder)).toMatchObject({ n: expect.any(Number) })
    expect((await readdir(folder)).filter((name) => name.endsWith('.new'))).toEqual([])
  })

  test('one that a newer schema refuses is passed over for the bundled one, and is named', async () => {
    const { engine } = await started([], { n: 1 }, { stateDir: folder })
    await engine.close()
    const schema = jsonSchema<Record<string, Json>>({ type: 'object', required: ['m'] })
    await expect(fromLastGood(folder, schema as typeof anything)).rejects.toThrow(/last good.*m is missing/s)
    const down = memory({})
    down.fail('away')
    const again = await start({
      schema,
      sources: [{ name: 's', load: down.load }],
      bundled: { m: 1 },
      stateDir: folder,
      logger: false,
    })
    expect(again.status()).toMatchObject({ startedFrom: 'bundled' })
    await again.close()
  })

  test.skipIf(process.getuid?.() === 0)('a read-only state directory is a warning (skipped as root)', async () => {
    const stateDir = join(folder, 'ro')
    await mkdir(stateDir)
    await chmod(stateDir, 0o500)
    const { engine, set } = await started([], { n: 1 }, { stateDir })
    expect(await set({ n: 2 })).toMatchObject({ kind: 'committed', warnings: [expect.any(String)] })
    await engine.close()
  })
})

test('a clock that jumps back changes no order and no outcome', async () => {
  const { engine, set } = await started([], { n: 0 }, { stateDir: folder })
  const real = Date.now
  try {
    for (const [n, jump] of [0, -1e10, 1e10, -1e12].entries()) {
      Date.now = () => real() + jump
      expect(await set({ n: n + 1 })).toMatchObject({ kind: 'committed' })
    }
    const ids = engine.events.recent().map((event) => event.id)
    expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    expect(engine.metrics()).not.toContain('NaN')
  } finally {
    Date.now = real
  }
  await engine.close()
  expect(await fromLastGood(folder)).toEqual({ n: 4 })
})
