/** What a node tells the fleet of its components (agent/components.ts), and that the engine tells the node. */
import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { toldOf } from '../src/agent/components.ts'
import { componentsFor } from '../src/components-for.ts'
import { covers, parsePath } from '../src/json.ts'
import { encode, maxMessageBytes } from '../src/protocol/codec.ts'
import { agentMessage, type Hello } from '../src/protocol/messages.ts'
import type { ComponentSupport } from '../src/status.ts'
import { Rig, schema } from './agent-rig.ts'
import { FakeControlPlane } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())

const some = (name: string, restartFor: readonly string[]): ComponentSupport => {
  const hot = restartFor.length > 0 ? 'partial' : 'full'
  return { component: name, paths: [''], after: [], hot, restartFor }
}

function helloWith(components: Hello['components']): Hello {
  const agent = { name: 'midflight', version: '' }
  const uid = '0e2b9d6e-4a2f-4b8e-9f3c-1d2e3f4a5b6c'
  const known = { runs: null, seen: null, status: 'UNSET' } as const
  return { type: 'hello', uid, config: 'shop', labels: {}, agent, ...known, ...(components && { components }) }
}

test('a node says what each of its components can take while it runs', async () => {
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1 })
  const { value } = componentsFor(schema)
  const apply = () => {}
  const components = [
    value({ name: 'limit', path: 'limit', apply }),
    { ...value({ name: 'text', path: 'text', apply }), hot: 'none' as const },
    value({ name: 'all', path: '', restartFor: ['text'], apply }),
  ]
  await rig.program(fake, { engine: { components } })
  expect((await fake.heard('hello')).components).toEqual([
    { name: 'limit', hot: 'full', restartFor: [] },
    { name: 'text', hot: 'none', restartFor: ['text'] },
    { name: 'all', hot: 'partial', restartFor: ['text'] },
  ])
})

test('components that do not fit are told of coarser, and it is said', async () => {
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1 })
  const labels = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, 'x'.repeat(250)]))
  const { value } = componentsFor(schema)
  const components = Array.from({ length: 300 }, (_, i) =>
    value({ name: `${i} ${'é'.repeat(200)}`, path: 'text', restartFor: ['text'], apply() {} }),
  )
  const { warnings } = await rig.program(fake, { labels, engine: { components } })
  const told = (await fake.heard('hello')).components ?? []
  expect(told.at(-1)).toMatchObject({ name: expect.stringMatching(/^\d+ more$/), hot: 'partial', restartFor: [''] })
  expect(warnings.join()).toContain('the fleet is told of them coarser than they are')
})

describe('within what a message holds', () => {
  test.each([
    ['more than 256 components', Array.from({ length: 300 }, (_, i) => some(`c${i}`, [`a.${i}`]))],
    [
      'more than 256 paths of one',
      [
        some(
          'one',
          Array.from({ length: 300 }, (_, i) => `a.b${i % 3}.c${i}`),
        ),
      ],
    ],
    ['a path of more than 1,024 characters', [some('one', [`a.${'b'.repeat(1_100)}`])]],
    ['more than 64 KiB', Array.from({ length: 256 }, (_, i) => some('😀'.repeat(128), [`a.${i}.${'c'.repeat(900)}`]))],
  ])('%s', (_, support) => {
    const { components, whole } = toldOf(support, maxMessageBytes - 4096)
    expect(whole).toBe(false)
    expect(agentMessage.mismatch(helloWith(components), [])).toBeUndefined()
    expect(encode(helloWith(components)).length).toBeGreaterThan(0)
  })

  test('the paths of one component that has too many are those above them', () => {
    const support = [
      some(
        'one',
        Array.from({ length: 300 }, (_, i) => `a.b${i % 3}.c${i}`),
      ),
      some('two', ['x.y']),
    ]
    expect(toldOf(support, 60_000).components).toEqual([
      { name: 'one', hot: 'partial', restartFor: ['a.b0', 'a.b1', 'a.b2'] },
      { name: 'two', hot: 'partial', restartFor: ['x.y'] },
    ])
  })

  test('where there is no room at all, nothing is told', () => {
    expect(toldOf([some('one', ['a'])], 10)).toEqual({ components: undefined, whole: false })
  })

  test('property: what needs a restart is never told as hot, whatever has to be left out', () => {
    const step = fc.constantFrom('a', 'b', '*', 'c.d', 'x'.repeat(400))
    const path = fc.array(step, { minLength: 1, maxLength: 10 }).map((steps) =>
      steps
        .map((one) => (one === 'c.d' ? '["c.d"]' : one))
        .join('.')
        .replaceAll('.[', '['),
    )
    const support = fc.array(
      fc
        .tuple(fc.string({ maxLength: 300 }), fc.array(path, { maxLength: 20 }))
        .map(([name, paths]) => some(name, paths)),
      { maxLength: 20 },
    )
    fc.assert(
      fc.property(support, fc.integer({ min: 0, max: 4_000 }), (all, maxBytes) => {
        const { components } = toldOf(all, maxBytes)
        if (components === undefined) return
        expect(agentMessage.mismatch(helloWith(components), [])).toBeUndefined()
        const told = components.flatMap(({ restartFor }) => restartFor.map(parsePath))
        for (const { restartFor } of all) {
          for (const one of restartFor) expect(told.some((above) => covers(above, parsePath(one)))).toBe(true)
        }
      }),
    )
  })
})
