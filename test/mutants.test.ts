/** The list of mutants fits the code as it stands. That tests notice them is what `npm run test:mutants` shows. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mutate, testsOf } from '../scripts/mutants.ts'
import type { Mutant } from '../scripts/mutants.ts'
import { root } from '../scripts/pack.ts'

const mutants = JSON.parse(readFileSync(join(root, 'test/mutants.json'), 'utf8')) as Mutant[]

test.each(mutants)('mutant $name fits the code, and its tests are there', (mutant) => {
  const text = readFileSync(join(root, mutant.file), 'utf8')
  expect(mutate(text, mutant)).not.toBe(text)
  expect(testsOf(mutant).filter((path) => !existsSync(join(root, path)))).toEqual([])
})

test('names are given once, and each mutant says which promise it breaks', () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length)
  expect(mutants.filter(({ guarantee }) => guarantee.length < 10)).toEqual([])
})

test('a text that is gone, or is there twice, is refused', () => {
  const mutant: Mutant = {
    name: 'x',
    guarantee: 'x',
    file: 'x.ts',
    find: 'a < b',
    replace: 'a <= b',
    test: 'x.test.ts',
  }
  expect(mutate('const x = a < b', mutant)).toBe('const x = a <= b')
  expect(() => mutate('const x = a > b', mutant)).toThrow('stale')
  expect(() => mutate('const x = a < b || a < b', mutant)).toThrow('stale')
  expect(() => mutate('const x = a < b', { ...mutant, replace: 'a < < b' })).toThrow(SyntaxError)
})
