import { expect, test } from 'vitest'
import { env } from '../src/sources/env.ts'
import { load, origin, refusal } from './file-tree.ts'

test('environment variables become a nested object of strings, and each value knows its variable', async () => {
  const variables = { APP_SERVER__PORT: '8080', APP_SERVER__HOST: 'h', APP_DEBUG: '', OTHER: 'x', APP_: 'y' }
  const document = await load(env({ prefix: 'APP_', variables }))
  expect(document.config).toEqual({ server: { port: '8080', host: 'h' }, debug: '' })
  expect(origin(document, ['server', 'port'])).toBe('env:APP_ APP_SERVER__PORT')
  expect(origin(document, ['server'])).toBeUndefined()
})

test('another separator, and letters as they are', async () => {
  const variables = { 'app.logLevel': 'info', 'app.db.poolSize': '4' }
  const source = env({ prefix: 'app.', separator: '.', letters: 'keep', variables })
  expect((await load(source)).config).toEqual({ logLevel: 'info', db: { poolSize: '4' } })
})

test('variables that contradict each other, or name nothing, are refused by name, without their values', async () => {
  const variables = {
    A_X: 'hunter2',
    A_X__Y: 'hunter2',
    A_Z: '1',
    A_z: '2',
    A_P____Q: '3',
    A___PROTO____X: '4',
    A_W__Y: '1',
    A_W: '1',
  }
  const error = await refusal(load(env({ prefix: 'A_', variables })))
  expect(error.issues.map((issue) => [issue.origin?.file, issue.code])).toEqual([
    ['env:A_ A_P____Q', 'syntax'],
    ['env:A_ A_W__Y', 'duplicate-key'],
    ['env:A_ A_X__Y', 'duplicate-key'],
    ['env:A_ A___PROTO____X', 'syntax'],
    ['env:A_ A_z', 'duplicate-key'],
  ])
  expect(error.message).not.toContain('hunter2')
})

test('a forbidden name is refused', async () => {
  const error = await refusal(
    load(env({ prefix: 'A_', separator: '.', letters: 'keep', variables: { 'A_x.__proto__.y': '1' } })),
  )
  expect(error.issues).toMatchObject([{ code: 'forbidden-key' }])
  expect(({} as { y?: unknown }).y).toBeUndefined()
})

test('a prefix is needed: no program wants all of its environment', () => {
  expect(() => env({ prefix: '' })).toThrow(TypeError)
})
