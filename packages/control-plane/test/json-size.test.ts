/** The size of a content, and patches that make much of little. */
import fc from 'fast-check'
import { applyPatch, check, type Json, type PatchOperation } from 'midflight'
import { expect, test } from 'vitest'
import { jsonBytes } from '../src/json-size.ts'
import { headContent, memory, publishOne, ready, refusal } from './domain-rig.ts'

test('property: the size is that of the text, frozen or not, measured once or twice', () => {
  const json = fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' }) as fc.Arbitrary<Json>
  fc.assert(
    fc.property(json, (value) => {
      fc.pre(check(value, undefined, { maxDepth: 100, maxNodes: 1_000_000 }).length === 0)
      const bytes = Buffer.byteLength(JSON.stringify(value))
      expect(jsonBytes(value, Infinity)).toBe(bytes)
      const frozen = applyPatch({}, [{ op: 'add', path: '', value }])
      expect([jsonBytes(frozen, Infinity), jsonBytes(frozen, Infinity)]).toEqual([bytes, bytes])
      expect(jsonBytes(value, bytes)).toBe(bytes)
      expect(jsonBytes(value, bytes - 1)).toBeGreaterThan(bytes - 1)
    }),
    { numRuns: 500 },
  )
})

const doubling = (times: number): PatchOperation[] =>
  Array.from({ length: times }, (_, i) => [
    { op: 'copy' as const, from: `/l${i}`, path: `/l${i + 1}/0` },
    { op: 'copy' as const, from: `/l${i}`, path: `/l${i + 1}/1` },
  ]).flatMap((pair, i) => [{ op: 'add' as const, path: `/l${i + 1}`, value: [] }, ...pair])

test('what is nested too deeply to be measured is refused for that', async () => {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: { a: {} } })
  const deep = JSON.parse('{"a":'.repeat(5_000) + '1' + '}'.repeat(5_000)) as Json
  expect((await refusal(publishOne(domain, { content: deep }))).issues).toMatchObject([{ code: 'limit' }])
})

test.each<[string, PatchOperation[], string]>([
  ['a value doubled 60 times', [{ op: 'add', path: '/l0', value: [] }, ...doubling(60)], 'too-large'],
  [
    'a text of 1 MiB copied 2,000 times',
    [
      { op: 'add', path: '/list', value: [] },
      { op: 'add', path: '/text', value: 'x'.repeat(2 ** 20) },
      ...Array.from({ length: 2_000 }, () => ({ op: 'copy' as const, from: '/text', path: '/list/-' })),
    ],
    'too-large',
  ],
])('a patch that makes much of little is refused before it takes the memory: %s', async (_what, patch, code) => {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: { a: 1 } })
  const before = process.memoryUsage().rss
  const error = await refusal(publishOne(domain, { patch }))
  expect(error.code).toBe(code)
  expect(process.memoryUsage().rss - before).toBeLessThan(500 * 2 ** 20)
  expect(await headContent(domain)).toEqual({ a: 1 })
})
