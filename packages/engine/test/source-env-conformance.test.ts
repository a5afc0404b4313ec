import { expect, test } from 'vitest'
import type { Json } from '../src/json.ts'
import type { Source } from '../src/source.ts'
import { env } from '../src/sources/env.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { load } from './file-tree.ts'

/** Variables are text; the suite writes JSON. So this reads each text as JSON, as a schema would make numbers of them. */
function asJson(source: Source): Source {
  const read = (value: Json): Json =>
    typeof value === 'string'
      ? (JSON.parse(value) as Json)
      : Object.fromEntries(Object.entries(value as Record<string, Json>).map(([key, one]) => [key, read(one)]))
  return {
    name: source.name,
    load: async (signal) => {
      const document = await source.load(signal)
      return { ...document, config: read(document.config) }
    },
  }
}

async function open(): Promise<SourceRig> {
  const variables: Record<string, string> = {}
  const nameOf = (key: string) => `APP_${key.replaceAll('/', '__')}`
  return {
    newSource: () => asJson(env({ prefix: 'APP_', letters: 'keep', variables })),
    write: async (key, value) => void (variables[nameOf(key)] = Buffer.from(value).toString()),
    remove: async (key) => void delete variables[nameOf(key)],
    close: async () => {},
  }
}

const noServer = 'there is no server: the variables are in the process'
const without = {
  watch: 'nobody tells a process that its variables changed; they are read at each load',
  key: 'a variable is one value, not a document',
  removal: 'a variable that was taken away is like one that was never there',
  raw: 'a variable is text by the time a program sees it',
  maxBytes: 'the system limits the environment, when a process begins',
  loseAll: 'no variable at all is an empty object',
  network: noServer,
  silence: noServer,
  drip: noServer,
  restart: noServer,
  compact: noServer,
  auth: noServer,
  tls: noServer,
}

/** Where `env()` means to be other than the rest. */
const argued: Readonly<Record<string, string>> = {
  'where nothing was ever written, a start fails with an error that names source and key':
    'no variable at all is an empty object: another source goes below it',
}

for (const { name, skip, run } of testSource({ open, without })) {
  const why = argued[name] ?? skip
  test.skipIf(why !== undefined)(`env(): ${name}${why === undefined ? '' : ` (skipped: ${why})`}`, run)
}

test('env(): what is argued above is a case of the suite', () => {
  const names = testSource({ open, without }).map(({ name }) => name)
  expect(Object.keys(argued).filter((name) => !names.includes(name))).toEqual([])
})

test('env(): no variable at all is an empty object, and one that was taken away is gone at the next load', async () => {
  const variables: Record<string, string> = { APP_A: '1' }
  const source = env({ prefix: 'APP_', variables })
  expect((await load(source)).config).toEqual({ a: '1' })
  delete variables['APP_A']
  expect((await load(source)).config).toEqual({})
})
