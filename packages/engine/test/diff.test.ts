import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { changes, diff, diffEntries, DuplicateKeyError } from '../src/diff.ts'
import { at, type Json } from '../src/json.ts'
import { equal, freezeDeep, share } from '../src/snapshot.ts'
import { copy, edited, entries } from './tree-arbitrary.ts'

const keys = { rules: 'id', 'pools.*.members': 'host' }

function between(before: Json, after: Json): unknown[] {
  return changes(diff(before, after, keys)).map((change) => {
    const { kind, path, at: _, ...rest } = change
    return [kind, path.join('.'), rest]
  })
}

describe('the changes', () => {
  test('name the fields that changed and nothing else (K1)', () => {
    const before = { logging: { level: 'info', format: 'text', output: 'file' } }
    const after = { logging: { level: 'debug', format: 'json', output: 'file' } }
    expect(between(before, after)).toEqual([
      ['changed', 'logging.level', { before: 'info', after: 'debug' }],
      ['changed', 'logging.format', { before: 'text', after: 'json' }],
    ])
  })

  test('are typed (B6, K7)', () => {
    expect(between({ port: 8088 }, { port: '8088' })).toEqual([['changed', 'port', { before: 8088, after: '8088' }]])
    expect(between({ a: null }, { a: 'null' })).toHaveLength(1)
    expect(between({ a: [] }, { a: {} })).toEqual([['changed', 'a', { before: [], after: {} }]])
    expect(between({ a: 1, b: 2 }, { b: 2, a: 1 })).toEqual([])
  })

  test('of a keyed collection bear the keys, and a moved entry is not a changed one', () => {
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => ({ id, limit: { rps: 1 } })) as Json[] as [
      Json,
      Json,
      Json,
      Json,
    ]
    const changed = { id: 'c', limit: { rps: 2 } }
    const e = { id: 'e' }
    const delta = diff({ rules: [a, b, c, d] }, { rules: [d, e, a, changed] }, keys)
    expect(changes(delta)).toEqual([
      { kind: 'moved', path: ['rules', 'd'], at: ['rules', 0], from: 3, to: 0 },
      { kind: 'removed', path: ['rules', 'b'], at: ['rules', 1], before: b },
      { kind: 'added', path: ['rules', 'e'], at: ['rules', 1], after: e },
      { kind: 'changed', path: ['rules', 'c', 'limit', 'rps'], at: ['rules', 3, 'limit', 'rps'], before: 1, after: 2 },
    ])
  })

  test('find keyed collections below any step', () => {
    const before = {
      pools: {
        x: {
          members: [
            { host: 'h1', w: 1 },
            { host: 'h2', w: 1 },
          ],
        },
      },
    }
    const after = { pools: { x: { members: [{ host: 'h2', w: 5 }] } } }
    expect(between(before, after)).toEqual([
      ['removed', 'pools.x.members.h1', { before: { host: 'h1', w: 1 } }],
      ['changed', 'pools.x.members.h2.w', { before: 1, after: 5 }],
    ])
  })

  test('of a list without a key bear indexes, and equal stretches stay', () => {
    expect(between({ tags: ['a', 'b', 'c'] }, { tags: ['a', 'x', 'b', 'c'] })).toEqual([
      ['added', 'tags.1', { after: 'x' }],
    ])
    expect(between({ tags: ['a', 'b', 'c'] }, { tags: ['a', 'x', 'c'] })).toEqual([
      ['changed', 'tags.1', { before: 'b', after: 'x' }],
    ])
    expect(between({ tags: ['a', 'b', 'c'] }, { tags: ['b', 'c'] })).toEqual([['removed', 'tags.0', { before: 'a' }]])
  })

  test('report an entry or object that came as one', () => {
    expect(between({}, { log: { level: 'info', to: ['file'] } })).toEqual([
      ['added', 'log', { after: { level: 'info', to: ['file'] } }],
    ])
    expect(between(1, { a: 1 })).toEqual([['changed', '', { before: 1, after: { a: 1 } }]])
  })

  test('say where to find the value in the document they come from', () => {
    fc.assert(
      fc.property(edited, ([a, b]) => {
        for (const change of changes(diff(a, b, { ...keys, '*.rules': 'id' }))) {
          if (change.after !== undefined) expect(equal(at(b, change.at), change.after)).toBe(true)
          else if (change.kind === 'removed') expect(equal(at(a, change.at), change.before)).toBe(true)
        }
      }),
    )
  })

  test('are none where nothing changed, also between trees that share nothing', () => {
    fc.assert(
      fc.property(edited, ([a, b]) => {
        expect(changes(diff(a, b, keys)).length === 0).toBe(equal(a, b))
      }),
    )
  })
})

describe('the entries that differ', () => {
  test('are exactly those that came, went and changed', () => {
    fc.assert(
      fc.property(entries, entries, fc.boolean(), (a, b, shared) => {
        const before = freezeDeep(copy(a)) as Json[]
        const after = (shared ? share(copy(b), before, {}) : copy(b)) as Json[]
        const byId = (list: Json[]): Map<string, Json> =>
          new Map(list.map((entry) => [(entry as { id: string }).id, entry]))
        const [old, fresh] = [byId(a), byId(b)]
        const { added, removed, updated } = diffEntries(before, after, 'id')
        expect([...added.keys()].sort()).toEqual([...fresh.keys()].filter((id) => !old.has(id)).sort())
        expect([...removed.keys()].sort()).toEqual([...old.keys()].filter((id) => !fresh.has(id)).sort())
        expect([...updated.keys()].sort()).toEqual(
          [...fresh.keys()].filter((id) => old.has(id) && !equal(old.get(id), fresh.get(id))).sort(),
        )
      }),
    )
  })

  test('of an object are known by its keys', () => {
    const result = diffEntries(
      { a: 1, b: [2], c: 3 },
      { b: [2], c: 4, toString: 5 } as unknown as Json as { [key: string]: Json },
      undefined,
    )
    expect([...result.added]).toEqual([['toString', 5]])
    expect([...result.removed]).toEqual([['a', 1]])
    expect([...result.updated]).toEqual([['c', { before: 3, after: 4 }]])
  })

  test('at the first start are all added, at the end all removed', () => {
    const list = [{ id: 'a' }, { id: 7 }]
    expect([...diffEntries(undefined, list, 'id').added.keys()]).toEqual(['a', '7'])
    expect([...diffEntries(list, undefined, 'id').removed.keys()]).toEqual(['a', '7'])
  })

  test('cannot be told where a key stands twice: the key and both places are named (P5)', () => {
    const job = (name: string, port: number): Json => ({ name, port })
    const twice = [job('node', 1), job('prometheus', 2), job('node', 3)]
    for (const before of [undefined, [], [job('node', 1)], freezeDeep([job('node', 1), job('prometheus', 2)])]) {
      expect(() => diffEntries(before, twice, 'name')).toThrow(
        expect.objectContaining({ name: 'DuplicateKeyError', key: 'node', indexes: [0, 2] }),
      )
    }
    expect(() => diffEntries([], twice, 'name')).toThrow('entries 0 and 2 have the same name, "node"')
    expect(() => diffEntries([], twice, 'name')).toThrow(DuplicateKeyError)
  })

  test('cannot be told where an entry has no key', () => {
    expect(() => diffEntries([], [{ id: 'a' }, { name: 'b' }], 'id')).toThrow('entry 1 has no id')
    expect(() => diffEntries([], [], undefined)).toThrow('want the name of the field')
  })

  test('are found, and duplicates too, along any line of versions: refused ones, rollbacks, old ones', () => {
    const step = fc.record({
      from: fc.nat(20),
      drop: fc.nat(40),
      add: fc.array(fc.nat(40), { maxLength: 3 }),
      moved: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const versions: (readonly Json[])[] = [freezeDeep([{ id: 'r0' }, { id: 'r1' }])]
        for (const { from, drop, add, moved } of steps) {
          const before = versions[from % versions.length] as readonly Json[]
          const list = [...before, ...add.map((n) => ({ id: `r${n}` }))]
          list.splice(drop % list.length, 1)
          if (moved) list.reverse()
          const after = share(list, before, { '': 'id' }) as readonly Json[]
          const ids = list.map((entry) => (entry as { id: string }).id)
          if (new Set(ids).size < ids.length) expect(() => diffEntries(before, after, 'id')).toThrow(DuplicateKeyError)
          else {
            const old = new Set(before.map((entry) => (entry as { id: string }).id))
            const { added, removed } = diffEntries(before, after, 'id')
            expect([...added.keys()].sort()).toEqual(ids.filter((id) => !old.has(id)).sort())
            expect([...removed.keys()].sort()).toEqual([...old].filter((id) => !ids.includes(id)).sort())
            versions.push(after)
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})
