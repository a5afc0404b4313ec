import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { jsonSchema, start, StartError, TransientError, type Component, type Json } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { anything, fail, gate, started } from './engine-rig.ts'

describe('all or nothing', () => {
  test('a failing commit gives earlier components their old slice back', async () => {
    const log = scripted('log')
    const http = scripted('http')
    const { engine, set } = await started([log, http], { log: 'info', http: 80 })
    http.on = { commit: fail('address in use') }
    const outcome = await set({ log: 'debug', http: 81 })
    expect(outcome).toMatchObject({ kind: 'rolled-back', failed: 'http', phase: 'commit', cause: 'address in use' })
    expect([log.live, http.live]).toEqual(['info', 80])
    expect(engine.live).toEqual({ log: 'info', http: 80 })
    expect(engine.status().healthy).toBe(true)
    await engine.close()
  })

  test('F49: a failing prepare touches nothing, and what was prepared before is let go', async () => {
    const [a, b, c] = [scripted('a'), scripted('b'), scripted('c')]
    const { engine, set } = await started([a, b, c], { a: 1, b: 1, c: 1 })
    b.on = { prepare: fail('no') }
    expect(await set({ a: 2, b: 2, c: 2 })).toMatchObject({ kind: 'rolled-back', phase: 'prepare', failed: 'b' })
    expect(a.steps.slice(3)).toEqual(['prepare', 'rollback'])
    expect(c.steps.slice(3)).toEqual([])
    expect([a.live, b.live, c.live]).toEqual([1, 1, 1])
    await engine.close()
  })

  test('I2, F53: a rollback that fails is reported as degraded, with who runs what; the next reload mends it', async () => {
    const [a, b] = [scripted('a'), scripted('b')]
    const { engine, set } = await started([a, b], { a: 1, b: 1 })
    a.on = { rollback: fail('cannot go back') }
    b.on = { commit: fail('no') }
    const outcome = await set({ a: 2, b: 2 })
    expect(outcome).toMatchObject({ kind: 'degraded', failed: 'b' })
    expect(outcome.kind === 'degraded' && outcome.components.map((c) => [c.component, c.runs])).toEqual([
      ['a', 'unknown'],
      ['b', 'old'],
    ])
    expect(engine.status().healthy).toBe(false)
    a.on = {}
    b.on = {}
    // The configuration is the live one, but `a` may not run it: it is told again.
    expect(await set({ a: 1, b: 1 })).toMatchObject({ kind: 'committed' })
    expect(a.live).toBe(1)
    expect(engine.status().healthy).toBe(true)
    await engine.close()
  })

  test('components are prepared and committed after those they name, and rolled back in reverse', async () => {
    const order: string[] = []
    const http = scripted('http', { after: ['tls'] })
    const tls = scripted('tls')
    const { engine, set } = await started([http, tls], { http: 1, tls: 1 })
    for (const component of [http, tls]) {
      component.on = {
        prepare: () => void order.push(`prepare ${component.name}`),
        commit: () => {
          order.push(`commit ${component.name}`)
          if (component === http) throw new Error('no')
        },
        rollback: () => void order.push(`rollback ${component.name}`),
      }
    }
    await set({ http: 2, tls: 2 })
    expect(order).toEqual(['prepare tls', 'prepare http', 'commit tls', 'commit http', 'rollback http', 'rollback tls'])
    await engine.close()
  })

  test('only the components whose slice changed are touched', async () => {
    const [a, b] = [scripted('a'), scripted('b')]
    const { engine, set } = await started([a, b], { a: { x: 1 }, b: { x: 1 } })
    const outcome = await set({ a: { x: 1 }, b: { x: 2 } })
    expect(outcome.kind === 'committed' && outcome.components.map((c) => c.component)).toEqual(['b'])
    expect(a.steps).toHaveLength(3)
    await engine.close()
  })

  test('the old is let go only after every component has committed; a failing dispose is a warning', async () => {
    const order: string[] = []
    const [a, b] = [scripted('a'), scripted('b')]
    const { engine, set } = await started([a, b], { a: 1, b: 1 })
    for (const component of [a, b]) {
      component.on = {
        commit: () => void order.push(`commit ${component.name}`),
        dispose: () => {
          order.push(`dispose ${component.name}`)
          if (component === a) throw new Error('still in use')
        },
      }
    }
    const outcome = await set({ a: 2, b: 2 })
    expect(order).toEqual(['commit a', 'commit b', 'dispose a', 'dispose b'])
    expect(outcome).toMatchObject({ kind: 'committed', warnings: [expect.stringContaining('still in use')] })
    await engine.close()
  })
})

describe('what is tried again and what is not', () => {
  test('K1: logging {info, text, file} → {debug, json, file}: two fields modified, nothing else, 0 retries', async () => {
    const log = scripted('log')
    const { engine, set } = await started([log], { log: { level: 'info', format: 'text', output: 'file' } })
    const outcome = await set({ log: { level: 'debug', format: 'json', output: 'file' } })
    expect(outcome).toMatchObject({ kind: 'committed', retries: 0 })
    expect(
      outcome.kind === 'committed' && outcome.plan.components[0]?.changes.map((c) => `${c.kind} ${c.path}`),
    ).toEqual(['changed log.level', 'changed log.format'])
    await engine.close()
  })

  test('K4: a refused value is validated once and never retried', async () => {
    let validations = 0
    const log = scripted('log', {
      validate: (next) => {
        validations++
        return next === 'invalid_level'
          ? [{ code: 'component', path: ['log'], message: 'is "invalid_level"; want a level' }]
          : []
      },
    })
    const { engine, set } = await started([log], { log: 'info' })
    validations = 0
    expect(await set({ log: 'invalid_level' })).toMatchObject({ kind: 'rejected', phase: 'check', retries: 0 })
    expect(validations).toBe(1)
    expect(log.live).toBe('info')
    await engine.close()
  })

  test('K5: a transient failure is retried; two failures then success are two retries and one event', async () => {
    const plugin = scripted('plugin')
    const { engine, set } = await started([plugin], { plugin: 1 })
    let left = 2
    plugin.on = {
      commit: () => {
        if (left-- > 0) throw new TransientError('busy')
      },
    }
    const reloads = () => engine.events.recent().filter((e) => e.kind === 'reload').length
    const before = reloads()
    expect(await set({ plugin: 2 })).toMatchObject({ kind: 'committed', retries: 2 })
    expect(reloads()).toBe(before + 1)
    await engine.close()
  })

  test('K6: a failure that stays is rolled back and reported once', async () => {
    const plugin = scripted('plugin')
    const { engine, set } = await started([plugin], { plugin: 1 })
    plugin.on = {
      commit: () => {
        throw new TransientError('down')
      },
    }
    expect(await set({ plugin: 2 })).toMatchObject({ kind: 'rolled-back', retries: 3, cause: 'down' })
    expect(engine.events.recent().filter((e) => e.kind === 'reload' && e.outcome.kind === 'rolled-back')).toHaveLength(
      1,
    )
    expect(plugin.live).toBe(1)
    await engine.close()
  })

  const slowRetries = { retries: { limit: 5, firstMs: 60_000, maxMs: 60_000 } }

  test('a newer request stops the back-off of an older one', async () => {
    const plugin = scripted('plugin')
    const { engine, source } = await started([plugin], { plugin: 1 }, slowRetries)
    const failed = gate()
    plugin.on = {
      prepare: ({ after }) => {
        if (after !== 2) return
        failed.open()
        throw new TransientError('busy')
      },
    }
    source.set({ plugin: 2 })
    const older = engine.reload()
    await failed.passed
    source.set({ plugin: 3 })
    const newer = engine.reload()
    expect(await older).toMatchObject({ kind: 'rolled-back' })
    expect(await newer).toMatchObject({ kind: 'committed' })
    expect(plugin.live).toBe(3)
    await engine.close()
  })

  test('close() stops the back-off', async () => {
    const plugin = scripted('plugin')
    const { engine, set } = await started([plugin], { plugin: 1 }, slowRetries)
    const failed = gate()
    plugin.on = {
      prepare: () => {
        failed.open()
        throw new TransientError('busy')
      },
    }
    const pending = set({ plugin: 2 })
    await failed.passed
    await engine.close()
    expect((await pending).kind).toMatch(/^(rolled-back|closed)$/)
  })
})

describe('one at a time, none lost', () => {
  test('I13, F59: a hundred requests during an apply lead to one more reload, which sees the newest', async () => {
    const slow = scripted('slow')
    const { engine, source } = await started([slow], { slow: 1 })
    const [entered, release] = [gate(), gate()]
    slow.on = {
      commit: () => {
        entered.open()
        return release.passed
      },
    }
    source.set({ slow: 2 })
    const first = engine.reload()
    await entered.passed
    const loads = source.loads
    source.set({ slow: 3 })
    const others = Array.from({ length: 100 }, () => engine.reload())
    source.set({ slow: 4 })
    slow.on = {}
    release.open()
    expect(await first).toMatchObject({ kind: 'committed' })
    const outcomes = await Promise.all(others)
    expect(new Set(outcomes).size).toBe(1)
    expect(source.loads).toBe(loads + 1)
    expect(slow.live).toBe(4)
    await engine.close()
  })

  test('F55: a component that asks for a reload from inside one gets it afterwards', async () => {
    const a = scripted('a')
    const { engine, set } = await started([a], { a: 1 })
    let asked: Promise<unknown> | undefined
    a.on = { prepare: () => void (asked ??= engine.reload()) }
    expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
    expect(await asked).toMatchObject({ kind: 'unchanged' })
    await engine.close()
  })

  test('F66: good, bad, the same good: each is looked at on its own', async () => {
    const a = scripted('a')
    const { engine, set } = await started([a], { a: 1 })
    a.on = {
      commit: ({ after }) => {
        if (after === 'bad') throw new Error('no')
      },
    }
    expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
    expect(await set({ a: 'bad' })).toMatchObject({ kind: 'rolled-back' })
    expect(engine.metrics()).toMatch(/midflight_config_last_reload_successful 0/)
    const status = engine.status()
    expect(status.attempted?.digest).not.toBe(status.live.digest)
    expect(await set({ a: 2 })).toMatchObject({ kind: 'unchanged' })
    expect(engine.metrics()).toMatch(/midflight_config_last_reload_successful 1/)
    await engine.close()
  })

  test('B6: identical content, keys in another order too, is a no-op unless forced; another type is a change', async () => {
    const a = scripted('a')
    const { engine, set } = await started([a], { a: { x: 1, y: 2 } })
    expect(await set({ a: { y: 2, x: 1 } })).toMatchObject({ kind: 'unchanged' })
    expect(a.steps).toHaveLength(3)
    expect(await engine.reload({ force: true })).toMatchObject({ kind: 'committed' })
    expect(a.steps).toHaveLength(6)
    expect(await set({ a: { x: '1', y: 2 } })).toMatchObject({ kind: 'committed' })
    await engine.close()
  })
})

describe('restart-only paths', () => {
  test('K7: a change of type is a change; a path of level none is refused by name, the running value kept', async () => {
    const server = scripted('server')
    const dir = scripted('plugin_dir', { hot: 'none' })
    const { engine, set } = await started([server, dir], { server: { port: 8088 }, plugin_dir: '/a' })
    expect(await set({ server: { port: '8088' }, plugin_dir: '/a' })).toMatchObject({ kind: 'committed' })
    const outcome = await set({ server: { port: 9 }, plugin_dir: '/b' })
    expect(outcome).toMatchObject({ kind: 'restart-required', paths: ['plugin_dir'] })
    expect([server.live, dir.live]).toEqual([{ port: '8088' }, '/a'])
    expect(engine.live).toEqual({ server: { port: '8088' }, plugin_dir: '/a' })
    await engine.close()
  })

  test('K3: enabled true → false needs a restart and is notified; nothing is applied', async () => {
    const told: string[] = []
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const send = async (event: { outcome: { kind: string } }) => void told.push(event.outcome.kind)
    const { engine, set } = await started(
      [plugin],
      { plugin: { enabled: true, workers: 4 } },
      { notify: [{ name: 'test', on: 'failure', send }] },
    )
    expect(await set({ plugin: { enabled: false, workers: 8 } })).toMatchObject({
      kind: 'restart-required',
      paths: ['plugin.enabled'],
    })
    expect(plugin.live).toEqual({ enabled: true, workers: 4 })
    await engine.close()
    expect(told).toEqual(['restart-required'])
  })

  test('by policy, restart-only changes are held while the rest applies, and shown as pending', async () => {
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const { engine, set } = await started(
      [plugin],
      { plugin: { enabled: true, workers: 4 } },
      { restartPolicy: 'hold' },
    )
    expect(await set({ plugin: { enabled: false, workers: 8 } })).toMatchObject({
      kind: 'committed',
      pendingRestart: ['plugin.enabled'],
    })
    expect(plugin.live).toEqual({ enabled: true, workers: 8 })
    expect(engine.status().pendingRestart).toEqual(['plugin.enabled'])
    expect(await set({ plugin: { enabled: false, workers: 8 } })).toMatchObject({
      kind: 'unchanged',
      pendingRestart: ['plugin.enabled'],
    })
    expect(await set({ plugin: { enabled: true, workers: 8 } })).toMatchObject({
      kind: 'unchanged',
      pendingRestart: [],
    })
    expect(engine.status().pendingRestart).toEqual([])
    await engine.close()
  })

  test('a plan shows what is held beside what applies, and what would be pending', async () => {
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const { engine, source } = await started(
      [plugin],
      { plugin: { enabled: true, workers: 4 } },
      { restartPolicy: 'hold' },
    )
    source.set({ plugin: { enabled: false, workers: 8 } })
    const outcome = await engine.plan()
    expect(outcome).toMatchObject({ kind: 'ready', pendingRestart: ['plugin.enabled'] })
    const components = outcome.kind === 'ready' ? outcome.plan.components : []
    expect(components.map((c) => [c.action, c.changes.map((change) => change.path)])).toEqual([
      ['hot', ['plugin.workers']],
      ['held', ['plugin.enabled']],
    ])
    expect(engine.status().pendingRestart).toEqual([])
    await engine.close()
  })

  test('with nothing but held changes the outcome says so instead of success', async () => {
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const { engine, set } = await started([plugin], { plugin: { enabled: true } }, { restartPolicy: 'hold' })
    expect(await set({ plugin: { enabled: false } })).toMatchObject({
      kind: 'restart-required',
      pendingRestart: ['plugin.enabled'],
    })
    await engine.close()
  })

  test('a path marked in the schema needs a restart although no component reads it', async () => {
    const schema = jsonSchema<Json>({
      type: 'object',
      properties: { port: { type: 'integer', 'x-midflight-restart': true } },
    })
    const source = memory({ port: 1 })
    const engine = await start({ schema, sources: [source], logger: false })
    source.set({ port: 2 })
    expect(await engine.reload()).toMatchObject({ kind: 'restart-required', paths: ['port'] })
    await engine.close()
  })
})

describe('dry run and two-phase', () => {
  test('plan() goes up to prepare, gives everything up again, and names what would change', async () => {
    const a = scripted('a')
    const { engine, source } = await started([a], { a: { x: 1 } })
    source.set({ a: { x: 2 } })
    const change = { kind: 'changed', path: 'a.x', before: 1, after: 2 }
    expect(await engine.plan()).toMatchObject({
      kind: 'ready',
      plan: { components: [{ component: 'a', action: 'hot', changes: [change] }] },
    })
    expect(a.steps.slice(3)).toEqual(['prepare', 'rollback'])
    expect(engine.live).toEqual({ a: { x: 1 } })
    await engine.close()
  })

  test('prepare(config) holds the change, and other reloads, until commit or rollback', async () => {
    const a = scripted('a')
    const { engine, source } = await started([a], { a: 1 })
    const prepared = await engine.prepare({ a: 2 })
    if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
    expect(a.live).toBe(1)
    const loads = source.loads
    const other = engine.reload()
    expect(await prepared.commit()).toMatchObject({ kind: 'committed' })
    expect(a.live).toBe(2)
    expect(source.loads).toBe(loads)
    await other
    expect(a.live).toBe(1) // the sources still say 1
    const again = await engine.prepare({ a: 3 })
    if (again.kind !== 'prepared') throw new Error(again.kind)
    await again.rollback()
    expect(a.live).toBe(1)
    await engine.close()
  })
})

describe('readers', () => {
  test('I1, F57: live is frozen; a component that tries to change what it is given fails, and nothing is changed', async () => {
    const a = scripted('a')
    const { engine, set } = await started([a], { a: { list: [1] } })
    a.on = { prepare: ({ after }) => void ((after as { list: number[] }).list[0] = 9) }
    expect(await set({ a: { list: [2] } })).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
    expect(engine.live).toEqual({ a: { list: [1] } })
    expect(Object.isFrozen(engine.live['a'])).toBe(true)
    await engine.close()
  })

  test('watch(path) is told the new and the old value after a commit that changed it, and only then', async () => {
    const source = memory({ a: { x: 1 }, b: 1 })
    const schema = jsonSchema<{ a: { x: number }; b: number }>({ type: 'object' })
    const engine = await start({ schema, sources: [source], logger: false })
    const set = (next: Json) => {
      source.set(next)
      return engine.reload()
    }
    const seen: number[][] = []
    const stop = engine.watch('a.x', (next, before) => seen.push([next, before]))
    await set({ a: { x: 1 }, b: 2 })
    await set({ a: { x: 2 }, b: 2 })
    stop()
    await set({ a: { x: 3 }, b: 2 })
    expect(seen).toEqual([[2, 1]])
    await engine.close()
  })

  test('an unchanged subtree is the very same object after a reload', async () => {
    const { engine, set } = await started([], { a: { x: 1 }, b: 1 })
    const before = engine.live['a']
    await set({ a: { x: 1 }, b: 2 })
    expect(engine.live['a']).toBe(before)
    await engine.close()
  })
})

describe('starting', () => {
  test('a source that is down and nothing to fall back to: StartError says what was tried', async () => {
    const source = memory({})
    source.fail('is not there')
    const error = await start({ schema: anything, sources: [source], logger: false }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(StartError)
    expect(String(error)).toContain('is not there')
    expect(error).toMatchObject({ outcome: { kind: 'rejected', phase: 'load' } })
    // What Node prints where nobody caught it: the message, and not all of the outcome below it once more.
    expect(inspect(error)).not.toContain('durationsMs')
  })

  test('I11: a source that fails later leaves the live configuration alone', async () => {
    const a = scripted('a')
    const { engine, source } = await started([a], { a: 1 })
    source.fail('gone')
    expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load' })
    expect(engine.live).toEqual({ a: 1 })
    await engine.close()
  })

  test('the bundled configuration is the last resort, and the status says so', async () => {
    const source = memory({})
    source.fail('is not there')
    const engine = await start({ schema: anything, sources: [source], bundled: { a: 1 }, logger: false })
    expect(engine.live).toEqual({ a: 1 })
    expect(engine.status()).toMatchObject({ startedFrom: 'bundled' })
    expect(engine.status().warnings.join()).toContain('is not there')
    await engine.close()
  })

  test('a configuration that is nested too deeply is refused with its place, however deep, and what is live stays', async () => {
    const deep = (levels: number) => {
      let value: Json = 1
      for (let i = 0; i < levels; i++) value = { a: value }
      return { top: value }
    }
    const { engine, source, set } = await started([], { top: 1 })
    for (const levels of [150, 3_000, 100_000]) {
      const outcome = await set(deep(levels))
      expect(outcome).toMatchObject({ kind: 'rejected', issues: [{ code: 'limit' }] })
      if (outcome.kind !== 'rejected') throw new Error(outcome.kind)
      expect(outcome.issues[0]?.path.slice(0, 2)).toEqual(['top', 'a'])
      expect(outcome.issues[0]?.message).toMatch(/^is nested more than (100|1000) deep; want at most \1$/)
      expect(engine.live).toEqual({ top: 1 })
    }
    source.fail('is not there')
    const bundled = deep(100_000)
    const error = await start({ schema: anything, sources: [source], bundled, logger: false }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(StartError)
    expect(String(error)).toMatch(
      /the bundled configuration cannot be used: .*top\.a\.a\..* is nested more than 1000 deep/,
    )
    await engine.close()
    await expect(started([], {}, { limits: { maxDepth: 1_001 } })).rejects.toThrow(
      'limits.maxDepth is 1001; want a number from 1 to 1000',
    )
  })

  test('components that wait for each other, or for nobody, are refused by name', async () => {
    const of = (components: Component[]) =>
      start({ schema: anything, sources: [memory({})], components, logger: false })
    await expect(of([scripted('a', { after: ['b'] }), scripted('b', { after: ['a'] })])).rejects.toThrow(
      /a after b after a/,
    )
    await expect(of([scripted('a', { after: ['x'] })])).rejects.toThrow(/"x", which is not there/)
    await expect(of([scripted('a'), scripted('a')])).rejects.toThrow(/two components/)
  })
})

describe('closing', () => {
  test('a prepared change that nobody decides on is rolled back, and close() ends', async () => {
    const a = scripted('a')
    const { engine } = await started([a], { a: 1 })
    expect((await engine.prepare({ a: 2 })).kind).toBe('prepared')
    await engine.close()
    expect(a.live).toBe(1)
    expect(a.steps.slice(3)).toEqual(['prepare', 'rollback'])
  })

  test('components are closed in reverse order, and one that fails does not keep the others open', async () => {
    const closed: string[] = []
    const of = (name: string): Component => ({
      ...scripted(name),
      close: async () => {
        closed.push(name)
        if (name === 'b') throw new Error('no')
      },
    })
    const { engine } = await started([of('a'), of('b'), of('c')], {})
    await engine.close()
    expect(closed).toEqual(['c', 'b', 'a'])
  })
})
