/** Which components a change touches: those that read what it is in, or something inside of it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { changes as flat, diff } from '../src/diff.ts'
import { parsePath, type Json, type Path } from '../src/json.ts'
import { touchedBy } from '../src/plan.ts'
import { scripted } from '../src/testing/index.ts'

const steps = ['a', 'b', '*', 'toString', '0']
const path = fc.array(fc.constantFrom(...steps), { maxLength: 3 })
const tree = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.integer({ min: 0, max: 2 }),
    fc.dictionary(fc.constantFrom(...steps), tie('value'), { maxKeys: 3 }),
    fc.array(tie('value'), { maxLength: 3 }),
  ),
})).value
const also = { always: () => false, restartPaths: [] }

function isAbove(above: Path, path: Path): boolean {
  return above.length <= path.length && above.every((step, i) => String(step) === String(path[i]))
}

test('property: a component is touched by the changes at, above and below its paths, each once and in their order', () => {
  fc.assert(
    fc.property(fc.array(fc.array(path, { minLength: 1, maxLength: 3 }), { maxLength: 5 }), tree, tree, (all, a, b) => {
      const components = all.map((paths, i) => ({
        ...scripted(`c${i}`),
        paths: paths.map((one) => one.map((step) => `["${step}"]`).join('')),
      }))
      const changes = flat(diff(a, b))
      const touched = touchedBy(components, a, b, changes, also)
      // The tree that is made of the components is used again.
      expect(touchedBy(components, a, b, changes, also)).toEqual(touched)
      for (const component of components) {
        const read = component.paths.map(parsePath)
        const mine = changes.filter((change) =>
          read.some((one) => isAbove(one, change.path) || isAbove(change.path, one)),
        )
        const found = touched.find((one) => one.component === component)?.changes ?? []
        // One above may have left what it reads as it was.
        if (found.length > 0) expect(found).toEqual(mine)
        else expect(mine.every((change) => !read.some((one) => isAbove(one, change.path)))).toBe(true)
      }
    }),
  )
})
