import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { load } from './file-tree.ts'
import { isObject } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { file } from '../src/sources/file.ts'

const data = fileURLToPath(new URL('../../../../shared/data/prometheus', import.meta.url))
const there = existsSync(data)
const names = there ? readdirSync(data).filter((name) => name.endsWith('.yml')) : []

describe.skipIf(!there)('Prometheus files (skipped: ../shared/data is not here)', () => {
  test('there are some', () => {
    expect(names.length).toBeGreaterThan(20)
  })

  test.each(names.filter((name) => name.includes('.good.')))(
    '%s loads, and each of its values has a place',
    async (name) => {
      const document = await load(file(name, { cwd: data, variables: {} }))
      expect(isObject(document.config)).toBe(true)
      for (const key of Object.keys(document.config as object)) {
        expect(document.origin?.([key])).toMatchObject({
          file: name,
          line: expect.any(Number),
          column: expect.any(Number),
        })
      }
    },
  )

  test.each(names.filter((name) => name.includes('.bad.')))('%s loads, or says where it does not', async (name) => {
    try {
      expect(isObject((await load(file(name, { cwd: data, variables: {} }))).config)).toBe(true)
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      expect(error.issues.length).toBeGreaterThan(0)
      for (const { origin } of error.issues) {
        expect(origin).toMatchObject({ file: name, line: expect.any(Number), column: expect.any(Number) })
      }
    }
  })
})
