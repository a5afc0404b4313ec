import { describe, expect, test } from 'vitest'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as v from 'valibot'
import { z } from 'zod'
import { componentsFor, start, type AnySchema, type Document, type Json } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { anything, started } from './engine-rig.ts'

const hold = { restartPolicy: 'hold' as const }

describe('by the policy hold, what needs a restart is never applied', () => {
  const plugins = () => scripted('plugins', { hot: 'none' })
  const keyedPlugins = () => Object.assign(plugins(), { keys: { plugins: 'id' } })
  const before: Json = { plugins: [{ id: 'a' }, { id: 'b' }], log: 1 }
  test.each<[string, Json]>([
    ['added', [{ id: 'a' }, { id: 'b' }, { id: 'c' }]],
    ['added first', [{ id: 'c' }, { id: 'a' }, { id: 'b' }]],
    ['removed', [{ id: 'b' }]],
    ['moved', [{ id: 'b' }, { id: 'a' }]],
    ['replaced', [{ id: 'a' }, { id: 'c' }]],
    ['taken away altogether', 'nothing'],
    ['emptied', []],
  ])('entries %s under a component that takes nothing', async (_, next) => {
    for (const component of [plugins(), keyedPlugins()]) {
      const log = scripted('log')
      const { engine, set } = await started([component, log], before, hold)
      const steps = component.steps.length
      const config: Json = next === 'nothing' ? { log: 2 } : { plugins: next, log: 2 }
      expect(await set(config)).toMatchObject({ kind: 'committed' })
      expect(component.steps.slice(steps)).toEqual([])
      expect(engine.live).toEqual({ plugins: [{ id: 'a' }, { id: 'b' }], log: 2 })
      expect(engine.status().pendingRestart.length).toBeGreaterThan(0)
      expect(await set(before)).toMatchObject({ kind: 'committed', pendingRestart: [] })
      expect(component.steps.slice(steps)).toEqual([])
      await engine.close()
    }
  })

  test('a dry run before it changes nothing: the reload still says that a restart is needed', async () => {
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const { engine, source } = await started([plugin], { plugin: { enabled: true } }, hold)
    source.set({ plugin: { enabled: false } })
    expect(await engine.plan()).toMatchObject({ kind: 'restart-required' })
    expect(engine.status().pendingRestart).toEqual([])
    expect(await engine.reload()).toMatchObject({ kind: 'restart-required', pendingRestart: ['plugin.enabled'] })
    await engine.close()
  })

  test('forced, with a held change', async () => {
    const plugin = scripted('plugin', { hot: { restartFor: ['plugin.enabled'] } })
    const { engine, source } = await started([plugin], { plugin: { enabled: true, n: 1 } }, hold)
    source.set({ plugin: { enabled: false, n: 2 } })
    expect(await engine.reload({ force: true })).toMatchObject({
      kind: 'committed',
      pendingRestart: ['plugin.enabled'],
    })
    expect(plugin.live).toEqual({ enabled: true, n: 2 })
    await engine.close()
  })
})

test('secrets go where their values go: none on disk, none in text, whatever is held', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'midflight-attack-'))
  try {
    for (const hot of ['none', { restartFor: ['plugins.*.token'] }] as const) {
      const plugins = Object.assign(scripted('plugins', { hot }), { keys: { plugins: 'id' } })
      const log = scripted('log')
      let document: Document
      const set = (ids: readonly string[], version: number) => {
        const entries = ids.map((id) => ({ id, token: `the-${id}-token-${version}` }))
        const secrets = ids.map((id, i) => ({ path: ['plugins', i, 'token'], reference: `\${file:${id}}` }))
        document = { config: { plugins: entries, log: version }, secrets }
      }
      set(['a', 'b'], 1)
      const source = {
        name: 's',
        load: async () => document,
        resolve: async (reference: string) => `read ${reference}`,
      }
      const options = { schema: anything, components: [plugins, log], stateDir, logger: false, ...hold } as const
      const engine = await start({ ...options, sources: [source] })
      set(['c', 'b', 'a'], 2)
      expect(await engine.reload()).toMatchObject({ kind: 'committed' })
      const byId = (config: unknown) =>
        Object.fromEntries((config as { plugins: { id: string; token: string }[] }).plugins.map((p) => [p.id, p.token]))
      expect(byId(engine.live)).toMatchObject({ a: 'the-a-token-1', b: 'the-b-token-1' })
      log.on = { prepare: () => Promise.reject(new Error('the-a-token-1 and the-b-token-1 are refused')) }
      set(['c', 'b', 'a'], 3)
      expect(await engine.reload()).toMatchObject({ cause: '‹secret› and ‹secret› are refused' })
      await engine.close()
      for (const name of await readdir(stateDir)) {
        expect(await readFile(join(stateDir, name), 'utf8')).not.toMatch(/the-.-token/)
      }
      log.on = {}
      const down = { ...source, load: () => Promise.reject(new Error('away')) }
      const again = await start({ ...options, sources: [down] })
      for (const [id, token] of Object.entries(byId(again.live))) expect(token).toBe(`read \${file:${id}}`)
      await again.close()
    }
  } finally {
    await rm(stateDir, { recursive: true })
  }
})

/** Seconds in the file, milliseconds in the program; a port that is not there is 80. */
const zodSchema = z.object({
  port: z.number().default(80),
  timeout: z.number().transform((seconds) => seconds * 1000),
  name: z.string().transform((name) => name.length),
})
const valibotSchema = v.object({
  port: v.optional(v.number(), 80),
  timeout: v.pipe(
    v.number(),
    v.transform((seconds) => seconds * 1000),
  ),
  name: v.pipe(
    v.string(),
    v.transform((name) => name.length),
  ),
})

describe.each<[string, AnySchema]>([
  ['zod', zodSchema],
  ['valibot', valibotSchema],
])('a schema of %s that transforms', (_, schema) => {
  test('is run once on what the sources say, also where a change is held', async () => {
    const server = scripted('server', { path: 'port', hot: 'none' })
    const { engine, set } = await started([server], { timeout: 1, name: 'ab' }, { ...hold, schema })
    expect(engine.live).toEqual({ port: 80, timeout: 1000, name: 2 })
    expect(await set({ port: 81, timeout: 2, name: 'abc' })).toMatchObject({
      kind: 'committed',
      pendingRestart: ['port'],
    })
    expect(engine.live).toEqual({ port: 80, timeout: 2000, name: 3 })
    expect(await set({ port: 81, timeout: 3, name: 'abc' })).toMatchObject({
      kind: 'committed',
      pendingRestart: ['port'],
    })
    expect(engine.live).toEqual({ port: 80, timeout: 3000, name: 3 })
    await engine.close()
  })

  test('I7: the last good means the same at the next start', async () => {
    const stateDir = await mkdtemp(join(tmpdir(), 'midflight-attack-'))
    try {
      const { engine, set } = await started([], { timeout: 1, name: 'ab' }, { schema, stateDir })
      await set({ timeout: 2, name: 'abc' })
      await engine.close()
      const down = memory({})
      down.fail('away')
      const again = await start({ schema, sources: [{ name: 'down', load: down.load }], stateDir, logger: false })
      expect(again.status().startedFrom).toBe('last-good')
      expect(again.live).toEqual({ port: 80, timeout: 2000, name: 3 })
      await again.close()
    } finally {
      await rm(stateDir, { recursive: true })
    }
  })
})

test('two keyed components that know the entries of one list by different fields see their own', async () => {
  const { keyed } = componentsFor(anything)
  const calls: string[] = []
  const by = (key: string) =>
    keyed({
      name: `by ${key}`,
      path: 'rules' as never,
      key,
      start: (_entry, id: string) => (calls.push(`${key} start ${id}`), id),
      update: (_running, _entry, _before, id: string) => void calls.push(`${key} update ${id}`),
      stop: (_running, id: string) => void calls.push(`${key} stop ${id}`),
    })
  const [a, b] = [by('id'), by('name')]
  const { engine, set } = await started([a, b], {
    rules: [
      { id: '1', name: 'x' },
      { id: '2', name: 'y' },
    ],
  })
  calls.length = 0
  await set({
    rules: [
      { id: '1', name: 'y' },
      { id: '2', name: 'x' },
    ],
  })
  expect(calls.toSorted()).toEqual(['id update 1', 'id update 2', 'name update x', 'name update y'])
  await engine.close()
})

test('keys that mean something to JavaScript or to paths are keys like others', async () => {
  const { keyed } = componentsFor(anything)
  const ids = [
    'constructor',
    'toString',
    '',
    ' ',
    'a.b',
    'a["b"]',
    '*',
    '0',
    '-1',
    'length',
    'hasOwnProperty',
    'é',
    '💥',
  ]
  for (const key of ['id', undefined]) {
    const calls: string[] = []
    const rules = keyed({
      name: 'rules',
      path: 'rules' as never,
      ...(key !== undefined && { key }),
      restartFor: ['fixed'],
      start: (_entry, id: string) => id,
      update: (_running, _entry, _before, id: string) => void calls.push(id),
      stop: (_running, id: string) => void calls.push(`stop ${id}`),
    })
    const entries = (n: number, fixed = 1): Json =>
      key === undefined ? Object.fromEntries(ids.map((id) => [id, { n, fixed }])) : ids.map((id) => ({ id, n, fixed }))
    const { engine, set } = await started([rules], { rules: entries(1) })
    expect([...rules.running.keys()].toSorted()).toEqual(ids.toSorted())
    expect(await set({ rules: entries(2) })).toMatchObject({ kind: 'committed' })
    expect(calls.splice(0).toSorted()).toEqual(ids.toSorted())
    const refused = await set({ rules: entries(2, 2) })
    expect(refused.kind === 'restart-required' && refused.paths.length).toBe(ids.length)
    await engine.close()
  }
})
