/** What TypeScript knows of a configuration, checked by the compiler (`npm run types`); at run time only that it loads. */
import { type } from 'arktype'
import * as v from 'valibot'
import { expectTypeOf, test } from 'vitest'
import * as z from 'zod'
import type { Component } from '../src/component.ts'
import type { Json } from '../src/json.ts'
import {
  jsonSchema,
  type AnySchema,
  type ConfigOf,
  type EntryOf,
  type KeyedPathOf,
  type PathOf,
  type ValueAt,
} from '../src/schema.ts'

interface Tree {
  name: string
  children: Tree[]
  left?: Tree | undefined
}
interface Gateway {
  log?: { level: 'info' | 'debug'; format?: string } | undefined
  server: { port: number; tls: { cert: string } | null }
  rules: { id: string; limit: number }[]
  upstreams: Record<string, { url: string }>
  ports: number[]
  labels: Record<string, string>
  auth: { kind: 'basic'; user: string } | { kind: 'token'; token: string }
  tree: Tree
  'dotted.name': number
}

test('paths go through members, optional and nullable ones too, and stop at lists, records and recursion', () => {
  expectTypeOf<PathOf<Gateway>>().toEqualTypeOf<
    | ''
    | 'log'
    | 'log.level'
    | 'log.format'
    | 'server'
    | 'server.port'
    | 'server.tls'
    | 'server.tls.cert'
    | 'rules'
    | 'upstreams'
    | 'ports'
    | 'labels'
    | 'auth'
    | 'auth.kind'
    | 'auth.user'
    | 'auth.token'
    | 'tree'
    | 'tree.name'
    | 'tree.children'
    | 'tree.left'
  >()
})

test('the value at a path is undefined where something above it may be absent', () => {
  expectTypeOf<ValueAt<Gateway, ''>>().toEqualTypeOf<Gateway>()
  expectTypeOf<ValueAt<Gateway, 'server.port'>>().toEqualTypeOf<number>()
  expectTypeOf<ValueAt<Gateway, 'log.level'>>().toEqualTypeOf<'info' | 'debug' | undefined>()
  expectTypeOf<ValueAt<Gateway, 'server.tls'>>().toEqualTypeOf<{ cert: string } | null>()
  expectTypeOf<ValueAt<Gateway, 'server.tls.cert'>>().toEqualTypeOf<string | undefined>()
  expectTypeOf<ValueAt<Gateway, 'auth.user'>>().toEqualTypeOf<string | undefined>()
})

test('collections are lists of objects and records', () => {
  expectTypeOf<KeyedPathOf<Gateway>>().toEqualTypeOf<'rules' | 'upstreams' | 'labels' | 'tree.children'>()
  expectTypeOf<EntryOf<Gateway['rules']>>().toEqualTypeOf<{ id: string; limit: number }>()
  expectTypeOf<EntryOf<Gateway['upstreams'] | undefined>>().toEqualTypeOf<{ url: string }>()
})

test('where the type says nothing, every path is allowed', () => {
  expectTypeOf<PathOf<Json>>().toEqualTypeOf<string>()
  // oxlint-disable-next-line typescript/no-explicit-any -- that is the question
  expectTypeOf<PathOf<any>>().toEqualTypeOf<string>()
  expectTypeOf<PathOf<{ a: unknown }>>().toEqualTypeOf<'' | 'a' | `a.${string}`>()
  expectTypeOf<ValueAt<{ a: Json }, 'a.b.c'>>().toEqualTypeOf<Json>()
})

const literal = jsonSchema({
  type: 'object',
  required: ['server', 'rules', 'tree'],
  properties: {
    server: { type: 'object', required: ['port'], properties: { port: { type: 'integer' }, host: { type: 'string' } } },
    log: { type: 'object', default: {}, properties: { level: { enum: ['info', 'debug'], default: 'info' } } },
    rules: { type: 'array', items: { $ref: '#/$defs/rule' } },
    upstreams: {
      type: 'object',
      additionalProperties: { type: 'object', required: ['url'], properties: { url: { type: 'string' } } },
    },
    pair: { type: 'array', minItems: 2, prefixItems: [{ type: 'string' }, { type: 'number' }], items: false },
    limit: { anyOf: [{ type: 'integer' }, { const: 'none' }] },
    maybe: { type: ['string', 'null'] },
    tree: { $ref: '#/$defs/tree' },
  },
  $defs: {
    rule: { type: 'object', required: ['id'], properties: { id: { type: 'string' }, limit: { type: 'number' } } },
    tree: {
      type: 'object',
      required: ['name'],
      properties: {
        name: { type: 'string' },
        sub: { type: 'array', items: { $ref: '#/$defs/tree' } },
        next: { $ref: '#/$defs/tree' },
      },
    },
  },
})
type Literal = ConfigOf<typeof literal>

test('the type of a JSON Schema literal is inferred', () => {
  expectTypeOf<Literal['server']>().toEqualTypeOf<{ port: number; host?: string }>()
  expectTypeOf<Literal['log']>().toEqualTypeOf<{ level: 'info' | 'debug' }>()
  expectTypeOf<Literal['rules']>().toEqualTypeOf<{ id: string; limit?: number }[]>()
  expectTypeOf<Literal['upstreams']>().toEqualTypeOf<{ [key: string]: { url: string } } | undefined>()
  expectTypeOf<Literal['pair']>().toEqualTypeOf<[string, number] | undefined>()
  expectTypeOf<Literal['limit']>().toEqualTypeOf<number | 'none' | undefined>()
  expectTypeOf<Literal['maybe']>().toEqualTypeOf<string | null | undefined>()
  expectTypeOf<NonNullable<Literal['tree']['sub']>[number]['name']>().toEqualTypeOf<string>()
  expectTypeOf<KeyedPathOf<Literal>>().toEqualTypeOf<'rules' | 'upstreams' | 'tree.sub'>()
})

test('the type of a JSON Schema can be given, and is Json where there is neither', () => {
  const given = jsonSchema<Gateway>(JSON.parse('{}'))
  expectTypeOf<ConfigOf<typeof given>>().toEqualTypeOf<Gateway>()
  const unknown = jsonSchema(JSON.parse('{}'))
  expectTypeOf<ConfigOf<typeof unknown>>().toEqualTypeOf<Json>()
})

interface ValueOptions<C, P extends string> {
  readonly name: string
  readonly path: P
  apply(next: ValueAt<C, P>, before: ValueAt<C, P> | undefined): void
}
interface KeyedOptions<C, P extends string, R> {
  readonly name: string
  readonly path: P
  readonly key?: keyof EntryOf<ValueAt<C, P>>
  start(entry: EntryOf<ValueAt<C, P>>, id: string): R | Promise<R>
  update?(running: R, entry: EntryOf<ValueAt<C, P>>): R | Promise<R>
  stop?(running: R): void
}
/** The shape in which `componentsFor` uses these types. */
function componentsFor<S extends AnySchema>(_schema: S) {
  type C = ConfigOf<S>
  return {
    value: <const P extends PathOf<C>>(options: ValueOptions<C, P>) => options as unknown as Component,
    keyed: <const P extends KeyedPathOf<C>, R>(options: KeyedOptions<C, P, R>) => options as unknown as Component,
  }
}

test('zod, valibot, arktype and JSON Schema literals type the components in the same way', () => {
  const inZod = componentsFor(
    z.object({
      log: z.object({ level: z.enum(['info', 'debug']).default('info') }).optional(),
      rules: z.array(z.object({ id: z.string(), limit: z.number() })),
      upstreams: z.record(z.string(), z.object({ url: z.string() })),
    }),
  )
  inZod.value({
    name: 'log',
    path: 'log.level',
    apply: (next) => expectTypeOf(next).toEqualTypeOf<'info' | 'debug' | undefined>(),
  })
  inZod.keyed({
    name: 'rules',
    path: 'rules',
    key: 'id',
    start: (rule) => ({ allow: rule.limit }),
    update: (running, rule) => {
      expectTypeOf(running).toEqualTypeOf<{ allow: number }>()
      expectTypeOf(rule.id).toEqualTypeOf<string>()
      return running
    },
  })
  inZod.keyed({ name: 'upstreams', path: 'upstreams', start: (one, id) => `${id} ${one.url}` })
  // @ts-expect-error a mistyped path
  inZod.value({ name: 'log', path: 'log.levle', apply: () => {} })
  // @ts-expect-error not a collection
  inZod.keyed({ name: 'log', path: 'log', start: () => 1 })
  // @ts-expect-error not a field of an entry
  inZod.keyed({ name: 'rules', path: 'rules', key: 'idd', start: () => 1 })

  const inValibot = componentsFor(
    v.object({
      log: v.optional(v.object({ level: v.picklist(['info', 'debug']) })),
      rules: v.array(v.object({ id: v.string() })),
    }),
  )
  inValibot.value({
    name: 'log',
    path: 'log',
    apply: (next) => expectTypeOf(next).toEqualTypeOf<{ level: 'info' | 'debug' } | undefined>(),
  })
  inValibot.keyed({
    name: 'rules',
    path: 'rules',
    key: 'id',
    start: (rule) => expectTypeOf(rule).toEqualTypeOf<{ id: string }>(),
  })

  const inArktype = componentsFor(
    type({ 'log?': { level: "'info' | 'debug'" }, rules: type({ id: 'string' }).array() }),
  )
  inArktype.value({
    name: 'log',
    path: 'log.level',
    apply: (next) => expectTypeOf(next).toEqualTypeOf<'info' | 'debug' | undefined>(),
  })
  inArktype.keyed({
    name: 'rules',
    path: 'rules',
    key: 'id',
    start: (rule) => expectTypeOf(rule).toEqualTypeOf<{ id: string }>(),
  })

  const inJson = componentsFor(literal)
  inJson.value({ name: 'port', path: 'server.port', apply: (next) => expectTypeOf(next).toEqualTypeOf<number>() })
  inJson.keyed({
    name: 'rules',
    path: 'rules',
    key: 'id',
    start: (rule) => expectTypeOf(rule.limit).toEqualTypeOf<number | undefined>(),
  })
})

test('recursive schemas end', () => {
  const node = z.object({
    name: z.string(),
    get children() {
      return z.array(node)
    },
    get next() {
      return node.optional()
    },
  })
  type Recursive = ConfigOf<typeof node>
  expectTypeOf<PathOf<Recursive>>().toEqualTypeOf<'' | 'name' | 'children' | 'next'>()
  expectTypeOf<KeyedPathOf<Recursive>>().toEqualTypeOf<'children'>()
})
