import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { apply, changes, diff } from '../src/diff.ts'
import type { Json } from '../src/json.ts'
import { applyMergePatch, applyPatch, fromPatch, PatchError, toPatch, type PatchOperation } from '../src/patch.ts'
import { equal, freezeDeep } from '../src/snapshot.ts'
import { copy, edited, entries, isDeepFrozen, tree } from './tree-arbitrary.ts'

const keys = { rules: 'id', '*.rules': 'id' }

describe('a delta as JSON Patch (RFC 6902)', () => {
  test('leads where the delta leads, after a trip through JSON text, and comes back as the same change', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), ([a, b]) => {
        const before = freezeDeep(copy(a))
        const delta = diff(before, b, keys)
        const patch = JSON.parse(JSON.stringify(toPatch(before, delta))) as PatchOperation[]
        const after = applyPatch(before, patch)
        expect(equal(after, b)).toBe(true)
        expect(isDeepFrozen(after)).toBe(true)
        expect(equal(apply(before, fromPatch(before, patch, keys)), b)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('moves entries of a keyed collection as moves, whatever the order', () => {
    const reshuffled = entries.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list), entries))
    fc.assert(
      fc.property(reshuffled, ([a, b, c]) => {
        const after = [...b, ...c.filter((x) => !a.some((y) => idOf(x) === idOf(y))).slice(0, 3)]
        const patch = toPatch({ rules: a }, diff({ rules: a }, { rules: after }, keys))
        expect(equal(applyPatch({ rules: a }, patch), { rules: after })).toBe(true)
        expect(patch.filter((operation) => operation.op === 'add')).toHaveLength(after.length - b.length)
      }),
      { numRuns: 300 },
    )
  })

  test('says a move of one entry in one operation', () => {
    const before = { rules: [{ id: 'a' }, { id: 'b' }, { id: 'c' }] }
    const after = { rules: [{ id: 'c' }, { id: 'a' }, { id: 'b' }] }
    const delta = diff(before, after, keys)
    expect(toPatch(before, delta)).toEqual([{ op: 'move', from: '/rules/2', path: '/rules/0' }])
    expect(changes(delta)).toEqual([{ kind: 'moved', path: ['rules', 'c'], at: ['rules', 0], from: 2, to: 0 }])
  })
})

describe('JSON Patch', () => {
  // The examples of RFC 6902, appendix A, with its numbers.
  const cases: { name: string; before: Json; patch: PatchOperation[]; after: Json }[] = [
    {
      name: 'A.1 adds a member',
      before: { foo: 'bar' },
      patch: [{ op: 'add', path: '/baz', value: 'qux' }],
      after: { baz: 'qux', foo: 'bar' },
    },
    {
      name: 'A.2 adds an element',
      before: { foo: ['bar', 'baz'] },
      patch: [{ op: 'add', path: '/foo/1', value: 'qux' }],
      after: { foo: ['bar', 'qux', 'baz'] },
    },
    {
      name: 'A.3 removes a member',
      before: { baz: 'qux', foo: 'bar' },
      patch: [{ op: 'remove', path: '/baz' }],
      after: { foo: 'bar' },
    },
    {
      name: 'A.4 removes an element',
      before: { foo: ['bar', 'qux', 'baz'] },
      patch: [{ op: 'remove', path: '/foo/1' }],
      after: { foo: ['bar', 'baz'] },
    },
    {
      name: 'A.5 replaces',
      before: { baz: 'qux', foo: 'bar' },
      patch: [{ op: 'replace', path: '/baz', value: 'boo' }],
      after: { baz: 'boo', foo: 'bar' },
    },
    {
      name: 'A.6 moves a member',
      before: { foo: { bar: 'baz', waldo: 'fred' }, qux: { corge: 'grault' } },
      patch: [{ op: 'move', from: '/foo/waldo', path: '/qux/thud' }],
      after: { foo: { bar: 'baz' }, qux: { corge: 'grault', thud: 'fred' } },
    },
    {
      name: 'A.7 moves an element',
      before: { foo: ['all', 'grass', 'cows', 'eat'] },
      patch: [{ op: 'move', from: '/foo/1', path: '/foo/3' }],
      after: { foo: ['all', 'cows', 'eat', 'grass'] },
    },
    {
      name: 'A.8 tests',
      before: { baz: 'qux', foo: ['a', 2, 'c'] },
      patch: [
        { op: 'test', path: '/baz', value: 'qux' },
        { op: 'test', path: '/foo/1', value: 2 },
      ],
      after: { baz: 'qux', foo: ['a', 2, 'c'] },
    },
    {
      name: 'A.10 adds a nested object',
      before: { foo: 'bar' },
      patch: [{ op: 'add', path: '/child', value: { grandchild: {} } }],
      after: { foo: 'bar', child: { grandchild: {} } },
    },
    {
      name: 'A.14 reads ~01 as ~1',
      before: { '/': 9, '~1': 10 },
      patch: [{ op: 'test', path: '/~01', value: 10 }],
      after: { '/': 9, '~1': 10 },
    },
    {
      name: 'A.16 appends',
      before: { foo: ['bar'] },
      patch: [{ op: 'add', path: '/foo/-', value: ['abc', 'def'] }],
      after: { foo: ['bar', ['abc', 'def']] },
    },
    { name: 'replaces the whole', before: { foo: 1 }, patch: [{ op: 'replace', path: '', value: [] }], after: [] },
    {
      name: 'copies, and the copy is its own',
      before: { a: { n: [1] } },
      patch: [
        { op: 'add', path: '/a/n/-', value: 2 },
        { op: 'copy', from: '/a', path: '/b' },
        { op: 'add', path: '/b/n/-', value: 3 },
      ],
      after: { a: { n: [1, 2] }, b: { n: [1, 2, 3] } },
    },
  ]
  test.each(cases)('$name', ({ before, patch, after }) => {
    const old = freezeDeep(copy(before))
    const result = applyPatch(old, patch)
    expect(result).toEqual(after)
    expect(isDeepFrozen(result)).toBe(true)
    expect(old).toEqual(before)
  })

  const bad: [string, Json, unknown, string][] = [
    [
      'A.9 a test that fails',
      { baz: 'qux' },
      [{ op: 'test', path: '/baz', value: 'bar' }],
      'operation 0, at "/baz": is "qux"; want "bar"',
    ],
    [
      'A.12 an absent parent',
      { foo: 'bar' },
      [{ op: 'add', path: '/baz/bat', value: 'qux' }],
      'operation 0, at "/baz": is not there',
    ],
    [
      'A.15 a string for a number',
      { '~1': 10 },
      [{ op: 'test', path: '/~01', value: '10' }],
      'operation 0, at "/~01": is 10; want "10"',
    ],
    ['an index beyond the end', { a: [1] }, [{ op: 'add', path: '/a/2', value: 1 }], 'the last index is 1'],
    ['an index with a leading zero', { a: [1] }, [{ op: 'remove', path: '/a/00' }], 'wants an index'],
    ['"-" where something must be', { a: [1] }, [{ op: 'remove', path: '/a/-' }], 'wants an index'],
    ['a replace of what is not there', { a: 1 }, [{ op: 'replace', path: '/b', value: 1 }], 'is not there'],
    ['an inherited name', { a: 1 }, [{ op: 'test', path: '/toString', value: 1 }], 'is not there'],
    ['a place inside a scalar', { a: 1 }, [{ op: 'add', path: '/a/b', value: 1 }], 'is 1; want an object or a list'],
    ['a move into itself', { a: { b: 1 } }, [{ op: 'move', from: '/a', path: '/a/b' }], 'is inside'],
    ['a removal of the root', { a: 1 }, [{ op: 'remove', path: '' }], 'cannot be removed'],
    ['a forbidden key', { a: 1 }, [{ op: 'add', path: '/__proto__', value: {} }], 'would set a prototype'],
    [
      'a path through a forbidden key',
      { a: 1 },
      [{ op: 'add', path: '/__proto__/polluted', value: 1 }],
      'is not there',
    ],
    [
      'a forbidden key in a value',
      { a: 1 },
      [{ op: 'add', path: '/b', value: JSON.parse('{"__proto__":{"x":1}}') as Json }],
      'would set a prototype',
    ],
    ['no value', { a: 1 }, [{ op: 'add', path: '/b' }], 'has no value'],
    ['no pointer', { a: 1 }, [{ op: 'add', path: 'b', value: 1 }], 'no JSON pointer'],
    ['a bad escape', { a: 1 }, [{ op: 'add', path: '/~2', value: 1 }], 'neither "~0" nor "~1"'],
    ['an unknown op', { a: 1 }, [{ op: 'merge', path: '/b', value: 1 }], 'has the op "merge"'],
    ['an operation that is none', { a: 1 }, ['add'], 'is "add"; want an operation'],
    ['no list', { a: 1 }, { op: 'add' }, 'want a list of operations'],
  ]
  test.each(bad)('refuses %s, and changes nothing', (_name, before, patch, message) => {
    const old = freezeDeep(copy(before))
    const first: PatchOperation = { op: 'add', path: '/first', value: 1 }
    expect(() => applyPatch(old, patch as PatchOperation[])).toThrow(PatchError)
    expect(() => applyPatch(old, patch as PatchOperation[])).toThrow(message)
    if (Array.isArray(patch)) expect(() => applyPatch(old, [first, ...(patch as PatchOperation[])])).toThrow(PatchError)
    expect(old).toEqual(before)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('shares what no operation reached', () => {
    const before = freezeDeep({
      rules: [
        { id: 'a', limit: { rps: 1 } },
        { id: 'b', limit: { rps: 2 } },
      ],
      log: { level: 'info' },
    })
    const after = applyPatch(before, [{ op: 'replace', path: '/rules/1/limit/rps', value: 3 }]) as typeof before
    expect(after.log).toBe(before.log)
    expect(after.rules[0]).toBe(before.rules[0])
    expect(after.rules[1]?.limit.rps).toBe(3)
  })
})

describe('JSON Merge Patch (RFC 7396)', () => {
  // The test cases of RFC 7396, appendix A.
  const cases: { before: Json; patch: Json; after: Json }[] = [
    { before: { a: 'b' }, patch: { a: 'c' }, after: { a: 'c' } },
    { before: { a: 'b' }, patch: { b: 'c' }, after: { a: 'b', b: 'c' } },
    { before: { a: 'b' }, patch: { a: null }, after: {} },
    { before: { a: 'b', b: 'c' }, patch: { a: null }, after: { b: 'c' } },
    { before: { a: ['b'] }, patch: { a: 'c' }, after: { a: 'c' } },
    { before: { a: 'c' }, patch: { a: ['b'] }, after: { a: ['b'] } },
    { before: { a: { b: 'c' } }, patch: { a: { b: 'd', c: null } }, after: { a: { b: 'd' } } },
    { before: { a: [{ b: 'c' }] }, patch: { a: [1] }, after: { a: [1] } },
    { before: ['a', 'b'], patch: ['c', 'd'], after: ['c', 'd'] },
    { before: { a: 'b' }, patch: ['c'], after: ['c'] },
    { before: { a: 'foo' }, patch: null, after: null },
    { before: { a: 'foo' }, patch: 'bar', after: 'bar' },
    { before: { e: null }, patch: { a: 1 }, after: { e: null, a: 1 } },
    { before: [1, 2], patch: { a: 'b', c: null }, after: { a: 'b' } },
    { before: {}, patch: { a: { bb: { ccc: null } } }, after: { a: { bb: {} } } },
  ]
  test.each(cases)('makes of $before with $patch $after', ({ before, patch, after }) => {
    const old = freezeDeep(copy(before))
    const result = applyMergePatch(old, copy(patch))
    expect(result).toEqual(after)
    expect(isDeepFrozen(result)).toBe(true)
    expect(old).toEqual(before)
  })

  test('keeps the very object where nothing changes', () => {
    const before = freezeDeep({ a: { b: [1, 2] }, c: 1 })
    expect(applyMergePatch(before, { a: { b: [1, 2], x: null } })).toBe(before)
  })

  test('refuses a forbidden key', () => {
    expect(() => applyMergePatch({}, JSON.parse('{"__proto__":{"x":1}}') as Json)).toThrow(PatchError)
  })
})

function idOf(entry: Json): Json | undefined {
  return (entry as { id?: Json }).id
}
