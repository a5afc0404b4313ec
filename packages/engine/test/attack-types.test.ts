import { type } from 'arktype'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { componentsFor, jsonSchema, start, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'

const zodSchema = z.object({
  server: z.object({
    port: z.coerce.number(),
    host: z.string().optional(),
    tls: z.object({ cert: z.string() }).optional(),
  }),
  rules: z.array(
    z
      .object({ id: z.string().brand<'RuleId'>(), limit: z.number().default(5), tags: z.set(z.string()).optional() })
      .omit({ tags: true }),
  ),
  routes: z.record(z.string(), z.object({ to: z.string() })),
  mode: z.union([z.literal('a'), z.object({ custom: z.string() })]).optional(),
  slow: z.string().refine(async (text) => text !== 'bad'),
})

test('zod: optional, default, brand, coerce, union, record and async refinements need no cast', async () => {
  const { value, keyed } = componentsFor(zodSchema)
  const seen: unknown[] = []
  const source = memory({ server: { port: '80' }, rules: [{ id: 'r' }], routes: { '/': { to: 'x' } }, slow: 'good' })
  const engine = await start({
    schema: zodSchema,
    sources: [source],
    logger: false,
    components: [
      value({ name: 'port', path: 'server.port', apply: (port) => void seen.push(port.toFixed(0)) }),
      value({ name: 'host', path: 'server.host', apply: (host) => void seen.push(host?.length) }),
      value({ name: 'cert', path: 'server.tls.cert', apply: (cert) => void seen.push(cert?.length) }),
      value({
        name: 'both',
        path: ['server', 'mode'],
        apply: ([server, mode]) => void seen.push(server.port, typeof mode === 'object' ? mode.custom : mode),
      }),
      keyed({
        name: 'rules',
        path: 'rules',
        key: 'id',
        start: (rule) => rule.limit + 1,
        update: (running, rule) => void seen.push(running.toFixed(), rule.id.length),
      }),
      keyed({ name: 'routes', path: 'routes', start: (route, id) => `${id} ${route.to.trim()}` }),
    ],
  })
  expect(engine.live.server.port + (engine.live.rules[0]?.limit ?? 0)).toBe(85)
  engine.watch('server.tls', (next, before) => void seen.push(next?.cert, before?.cert))
  engine.watch('rules', (next) => void seen.push(next.length))
  expect(seen).toEqual(['80', undefined, undefined, 80, undefined])
  source.set({ server: { port: 80 }, rules: [], routes: {}, slow: 'bad' })
  expect(await engine.reload()).toMatchObject({ kind: 'rejected' })
  await engine.close()
})

test('valibot and arktype need none either', async () => {
  const valibot = v.object({
    a: v.optional(v.object({ b: v.pipe(v.string(), v.transform(Number)) })),
    list: v.array(v.object({ k: v.number() })),
  })
  const seen: number[] = []
  const one = await start({
    schema: valibot,
    sources: [memory({ a: { b: '2' }, list: [{ k: 1 }] })],
    logger: false,
    components: [
      componentsFor(valibot).value({ name: 'b', path: 'a.b', apply: (b) => void seen.push(b ?? 0) }),
      componentsFor(valibot).keyed({ name: 'list', path: 'list', key: 'k', start: (entry) => entry.k * 2 }),
    ],
  })
  expect((one.live.a?.b ?? 0) + seen.length).toBe(3)
  await one.close()
  const ark = type({ port: '1 <= number.integer <= 65535', 'name?': 'string' })
  const two = await start({ schema: ark, sources: [memory({ port: 80 })], logger: false })
  expect([two.live.port.toFixed(), two.live.name?.length]).toEqual(['80', undefined])
  two.watch('name', (next) => void next?.length)
  await two.close()
})

test('a schema of which nothing is known takes any path', async () => {
  const schema = jsonSchema<Json>({ type: 'object' })
  const { value, keyed } = componentsFor(schema)
  const engine = await start({
    schema,
    sources: [memory({ a: { b: [{ id: 1 }] } })],
    logger: false,
    components: [
      value({ name: 'a', path: 'a', apply: () => {} }),
      keyed({ name: 'b', path: 'a.b', key: 'id', start: (_, id) => id }),
    ],
  })
  engine.watch('a', () => {})
  await engine.close()
})
