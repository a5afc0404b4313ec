import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { jsonSchema, start, type Source } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { every } from '../src/triggers/interval.ts'
import { onSignal } from '../src/triggers/signal.ts'
import { closers } from './hand-made-lifecycle.ts'

const opened = closers()
afterEach(() => opened.close())

const anything = jsonSchema<{ log: string }>({ type: 'object' })
const settle = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A source whose loads wait at a gate when it is shut. */
function gated() {
  const source = memory({ log: 'info' })
  let open = Promise.resolve()
  const seen = { loads: 0 }
  const loading: Source = {
    name: 'gated',
    async load(signal) {
      seen.loads++
      await open
      return source.load(signal)
    },
  }
  return {
    loading,
    seen,
    set: source.set,
    shut() {
      let release = () => {}
      open = new Promise((resolve) => (release = resolve))
      return release
    },
  }
}

test('P7: ten SIGHUPs during a reload come to at most one more, and that one sees the newest', async () => {
  const source = gated()
  const log = scripted('log')
  const engine = await start({
    schema: anything,
    sources: [source.loading],
    triggers: [onSignal()],
    components: [log],
    logger: false,
  })
  opened.later(() => engine.close())
  const release = source.shut()
  source.set({ log: 'warn' })
  const first = engine.reload()
  await expect.poll(() => source.seen.loads).toBe(2)
  for (let i = 0; i < 10; i++) process.kill(process.pid, 'SIGHUP')
  await expect.poll(() => engine.status().pendingRequests).toBeGreaterThan(0)
  // The reload takes a while longer, as reloads do.
  await settle(300)
  source.set({ log: 'debug' })
  release()
  await first
  await expect.poll(() => log.live, { timeout: 10_000 }).toBe('debug')
  await settle(300)
  expect(source.seen.loads).toBeLessThanOrEqual(3)
  expect(engine.status().lastOutcome).toMatchObject({ kind: expect.stringMatching(/committed|unchanged/) })
})

test('F59: a hundred SIGHUPs during one apply: the apply is not disturbed, few reloads follow, the newest is live', async () => {
  const source = gated()
  const log = scripted('log')
  const engine = await start({
    schema: anything,
    sources: [source.loading],
    triggers: [onSignal()],
    components: [log],
    logger: false,
  })
  opened.later(() => engine.close())
  let finish = () => {}
  const committing = new Promise<void>((resolve) => {
    log.on = {
      commit: () => {
        resolve()
        return new Promise((done) => (finish = done))
      },
    }
  })
  source.set({ log: 'warn' })
  const first = engine.reload()
  await committing
  for (let i = 0; i < 100; i++) {
    process.kill(process.pid, 'SIGHUP')
    if (i % 10 === 0) await settle(1)
  }
  await settle(300)
  log.on = {}
  source.set({ log: 'debug' })
  finish()
  expect(await first).toMatchObject({ kind: 'committed' })
  await expect.poll(() => log.live, { timeout: 10_000 }).toBe('debug')
  await settle(300)
  expect(source.seen.loads).toBeLessThanOrEqual(4)
  expect(engine.live).toEqual({ log: 'debug' })
})

test('a SIGHUP to a running engine reloads; after close the signal is nobody’s again', async () => {
  const source = memory({ log: 'info' })
  const before = process.listenerCount('SIGHUP')
  const engine = await start({
    schema: anything,
    sources: [source],
    triggers: [onSignal()],
    logger: false,
  })
  source.set({ log: 'debug' })
  process.kill(process.pid, 'SIGHUP')
  await expect.poll(() => engine.live.log).toBe('debug')
  expect(engine.status().lastOutcome?.triggers).toEqual(['signal'])
  await engine.close()
  expect(process.listenerCount('SIGHUP')).toBe(before)
})

test('an interval asks until the engine is closed', async () => {
  const source = memory({ log: 'info' })
  const engine = await start({
    schema: anything,
    sources: [source],
    triggers: [every(100)],
    logger: false,
  })
  source.set({ log: 'debug' })
  await expect.poll(() => engine.live.log, { timeout: 5000 }).toBe('debug')
  expect(engine.status().triggers).toEqual(['every 100 ms'])
  await engine.close()
})

test('a SIGHUP that comes before the first configuration is live does not end the process', async () => {
  const program = fileURLToPath(new URL('programs/early-signal.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=midflight-source', '--no-warnings', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (said === '') child.kill('SIGHUP')
    said += text
  })
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  expect([code, signal]).toEqual([0, null])
  expect(said).toContain('ready')
})
