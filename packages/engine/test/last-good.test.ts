import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { jsonSchema, start, type Json } from '../src/index.ts'
import { lastGoodIn } from '../src/last-good.ts'
import { memory } from '../src/testing/index.ts'

const anything = jsonSchema<Record<string, Json>>({ type: 'object' })
const folders: string[] = []
function folder() {
  const made = mkdtempSync(join(tmpdir(), 'midflight-last-good-'))
  folders.push(made)
  return made
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true, force: true })
})
const [slotA, slotB] = ['last-good.a.json', 'last-good.b.json']
const program = (name: string) => fileURLToPath(new URL(`programs/${name}`, import.meta.url))
const node = [process.execPath, '--conditions=midflight-source', '--no-warnings']

describe('I7: the last good configuration on disk', () => {
  test('a process whose source is down starts from it, and says so and how old it is', async () => {
    const stateDir = folder()
    const source = memory({ limit: 5 })
    await (await start({ schema: anything, sources: [source], stateDir, logger: false })).close()
    source.fail('is away')
    const again = await start({ schema: anything, sources: [source], stateDir, logger: false, bundled: { limit: 1 } })
    expect(again.live).toEqual({ limit: 5 })
    expect(again.status()).toMatchObject({ startedFrom: 'last-good' })
    expect(again.status().warnings.join()).toMatch(/started from last-good, \d+ s old: .*is away/)
    // What the sources came to is not hidden by what was done about it.
    expect(again.status().lastOutcome).toMatchObject({ kind: 'rejected', phase: 'load' })
    expect(again.metrics()).toContain('midflight_config_last_reload_successful 0')
    source.set({ limit: 6 })
    expect(await again.reload()).toMatchObject({ kind: 'committed' })
    await again.close()
  })

  test('a source whose content is bad does not keep a process from starting either', async () => {
    const stateDir = folder()
    const schema = jsonSchema({
      type: 'object',
      required: ['limit'],
      properties: { limit: { type: 'integer', minimum: 1 } },
    })
    const source = memory({ limit: 5 })
    await (await start({ schema, sources: [source], stateDir, logger: false })).close()
    source.set({ limit: 0 })
    const again = await start({ schema, sources: [source], stateDir, logger: false })
    expect(again.live.limit).toBe(5)
    await again.close()
  })

  test('F15: truncated at every byte, the one before it is used', async () => {
    const dir = folder()
    const store = lastGoodIn(dir)
    await store.save({ release: 1 }, [])
    await store.save({ release: 2, text: 'é\n"' }, [])
    const whole = readFileSync(join(dir, slotB))
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(join(dir, slotB), whole.subarray(0, length))
      const { found, damaged } = await lastGoodIn(dir).load()
      expect(found?.config, `cut to ${length} bytes`).toEqual({ release: 1 })
      expect(damaged.join()).toContain(slotB)
    }
  })

  test('F16: with any bit flipped, what loads is one of the two, whole', async () => {
    const dir = folder()
    const store = lastGoodIn(dir)
    await store.save({ release: 1 }, [])
    await store.save({ release: 2 }, [])
    const whole = readFileSync(join(dir, slotB))
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bad = Buffer.from(whole)
      bad.writeUInt8(bad.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      writeFileSync(join(dir, slotB), bad)
      const { found } = await lastGoodIn(dir).load()
      expect([{ release: 1 }, { release: 2 }]).toContainEqual(found?.config)
    }
  })

  test('both damaged: the bundled default, with both named', async () => {
    const stateDir = folder()
    writeFileSync(join(stateDir, slotA), '{"a":1}\n{}')
    writeFileSync(join(stateDir, slotB), 'rubbish')
    const source = memory({})
    source.fail('is away')
    const engine = await start({ schema: anything, sources: [source], stateDir, bundled: { limit: 1 }, logger: false })
    expect(engine.live).toEqual({ limit: 1 })
    expect(engine.status().warnings.join()).toContain(slotA)
    expect(engine.status().warnings.join()).toContain(slotB)
    await engine.close()
  })

  test('what was started from it is not written again as if it were new', async () => {
    const stateDir = folder()
    const source = memory({ limit: 5 })
    await (await start({ schema: anything, sources: [source], stateDir, logger: false })).close()
    const before = readFileSync(join(stateDir, slotA))
    source.fail('is away')
    await (await start({ schema: anything, sources: [source], stateDir, logger: false })).close()
    expect(readFileSync(join(stateDir, slotA))).toEqual(before)
    expect(existsSync(join(stateDir, slotB))).toBe(false)
  })

  test('only its owner can read it, and a secret is stored as its reference and read anew', async () => {
    const stateDir = join(folder(), 'state')
    const reference = '${file:/run/secrets/db}'
    let up = true
    const source = {
      name: 'vault',
      load: async () => {
        if (!up) throw new Error('away')
        return { config: { db: { password: 'hunter22hunter22' } }, secrets: [{ path: ['db', 'password'], reference }] }
      },
      resolve: async (asked: string) => (asked === reference ? 'rotated-since-then' : ''),
    }
    await (await start({ schema: anything, sources: [source], stateDir, logger: false })).close()
    const text = readFileSync(join(stateDir, slotA), 'utf8')
    expect(text).not.toContain('hunter22')
    expect(text).toContain(reference)
    expect(statSync(join(stateDir, slotA)).mode & 0o777).toBe(0o600)
    expect(statSync(stateDir).mode & 0o777).toBe(0o700)
    up = false
    const again = await start({ schema: anything, sources: [source], stateDir, logger: false })
    expect(again.live).toEqual({ db: { password: 'rotated-since-then' } })
    await again.close()
  })

  test('F12: a state directory that cannot be written is a warning, and the reload counts', async () => {
    const stateDir = folder()
    const source = memory({ a: 1 })
    const engine = await start({
      schema: anything,
      sources: [source],
      stateDir,
      logger: false,
    })
    rmSync(stateDir, { recursive: true })
    writeFileSync(stateDir, 'in the way')
    source.set({ a: 2 })
    const warnings = [expect.stringContaining('last good')]
    expect(await engine.reload()).toMatchObject({ kind: 'committed', warnings })
    await engine.close()
    rmSync(stateDir)
  })

  test('large collections are written whole', async () => {
    const dir = folder()
    const config = {
      rules: Array.from({ length: 5_000 }, (_, id) => ({ id, text: `"${id}"` })),
      map: Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`k${i}`, [i]])),
      deep: { a: { b: [[], {}, Array.from({ length: 600 }, (_, i) => i)] } },
    }
    await lastGoodIn(dir).save(config, [])
    expect((await lastGoodIn(dir).load()).found?.config).toEqual(config)
  })

  test('F6: SIGKILL at any moment leaves one that loads, and never an older one than was told to be saved', async () => {
    const rounds = process.env['MIDFLIGHT_LONG'] ? 200 : 25
    const dir = folder()
    let told = 0
    for (let round = 0; round < rounds; round++) {
      const [command, ...args] = node as [string, ...string[]]
      const child = spawn(command, [...args, program('save-forever.ts'), dir, String(told)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let text = ''
      const begun = new Promise<void>((resolve) => {
        child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
          resolve()
        })
      })
      const ended = new Promise((resolve) => child.on('close', resolve))
      await begun
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 40))
      child.kill('SIGKILL')
      await ended
      told = Math.max(told, ...text.split('\n').slice(0, -1).map(Number))
      const { found } = await lastGoodIn(dir).load()
      const { release, rules } = found?.config as { release: number; rules: number[] }
      expect(release).toBeGreaterThanOrEqual(told)
      expect(rules.every((rule) => rule === release)).toBe(true)
      told = release
    }
  }, 240_000)

  const strace = existsSync('/usr/bin/strace')

  test.skipIf(!strace)(
    'F1, F10, F11: killed or failing at each system call of a save, the one before or the new one loads (skipped without strace)',
    async () => {
      let disturbed = 0
      for (const call of ['openat', 'write', 'fsync', 'rename', 'close']) {
        for (const fault of ['signal=KILL', ...(call === 'close' ? [] : ['error=ENOSPC'])]) {
          for (let when = 1; when <= 3; when++) {
            const dir = folder()
            await lastGoodIn(dir).save({ release: 1 }, [])
            await lastGoodIn(dir).save({ release: 2 }, [])
            // -P limits the faults to calls that touch the slot that is written next, or its directory.
            const only = ['-P', join(dir, `${slotA}.new`), '-P', dir, '-e', `inject=${call}:${fault}:when=${when}`]
            try {
              execFileSync('strace', ['-f', '-qq', '-o', '/dev/null', ...only, ...node, program('save-once.ts'), dir], {
                stdio: 'ignore',
                // strace counts calls by thread.
                env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
              })
            } catch {
              disturbed++ // killed, or told that it could not save: either way what is on disk decides
            }
            const { found } = await lastGoodIn(dir).load()
            expect([2, 3], `${call} ${fault} ${when}`).toContain((found?.config as { release: number }).release)
          }
        }
      }
      expect(disturbed).toBeGreaterThanOrEqual(15)
    },
    120_000,
  )

  test.skipIf(!strace)(
    'F9: the slot is synced before it is renamed, and its directory after that (skipped without strace)',
    () => {
      const dir = folder()
      const log = join(dir, 'calls')
      execFileSync('strace', [
        '-f',
        '-y',
        '-qq',
        '-o',
        log,
        '-e',
        'trace=fsync,fdatasync,rename',
        ...node,
        program('save-once.ts'),
        dir,
      ])
      const pattern = /(fsync|rename)\(.*?(last-good\.a\.json\.new|midflight-last-good-\w+)>?[,")]/
      const calls = readFileSync(log, 'utf8')
        .split('\n')
        .flatMap((line) => pattern.exec(line)?.slice(1, 3).join(' ') ?? [])
      expect(calls).toEqual([
        'fsync last-good.a.json.new',
        'rename last-good.a.json.new',
        expect.stringMatching(/^fsync midflight-last-good-\w+$/),
      ])
    },
  )
})
