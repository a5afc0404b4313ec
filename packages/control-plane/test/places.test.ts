/** The places that a change touches: a tree of bounded size, whatever the change is. */
import { expect, test } from 'vitest'
import { placesOf, type ChangedPath, type Place } from '../src/places.ts'

const changed = (path: ChangedPath['path']): ChangedPath => ({ kind: 'changed', path })
const many = (path: string, count: number): ChangedPath[] =>
  Array.from({ length: count }, (_, i) => changed(`${path}.k${i}`))

function sizeOf(place: Place): number {
  return [...place.children.values()].reduce((size, child) => size + 1 + sizeOf(child), 0)
}

test('what happened stands where it happened, and steps by text and by list are the same', () => {
  const root = placesOf([changed('a.b'), { kind: 'moved', path: ['a', 'b'] }, { kind: 'removed', path: ['a', 0] }])
  const a = root.children.get('a')
  expect(a).toMatchObject({ path: ['a'], merged: false, removed: 1 })
  expect(a?.kinds.size).toBe(0)
  expect([...(a?.children.get('b')?.kinds ?? [])]).toEqual(['changed', 'moved'])
})

test('the widest gives up its names first, and keeps what happened to its entries', () => {
  const root = placesOf([...many('wide', 90), { kind: 'added', path: 'wide.new.x' }, ...many('narrow', 20)], 100)
  expect(root.children.get('narrow')).toMatchObject({ merged: false, children: { size: 20 } })
  const wide = root.children.get('wide')
  expect(wide).toMatchObject({ merged: true, children: { size: 1 } })
  const any = wide?.children.get('*')
  expect([...(any?.kinds ?? [])]).toEqual(['changed'])
  expect([...(any?.children.get('x')?.kinds ?? [])]).toEqual(['added'])
})

test('what is deeper than places go is a change of what it stands in', () => {
  const steps = Array.from({ length: 40 }, () => 'a')
  let place: Place | undefined = placesOf([{ kind: 'added', path: steps }])
  while (place !== undefined && place.children.size > 0) place = place.children.get('a')
  expect(place?.path).toHaveLength(32)
  expect([...(place?.kinds ?? [])]).toEqual(['changed'])
})

test('more paths than can be held apart are changes of what they stand in', () => {
  const root = placesOf(many('a', 210_000), Infinity)
  expect(sizeOf(root)).toBe(200_000)
  expect(root.children.get('a')?.kinds).toEqual(new Set(['changed']))
  expect(sizeOf(placesOf(many('a', 210_000), 10))).toBeLessThanOrEqual(10)
})

test('a text that is no path, or far too long for one, is one step', () => {
  for (const text of ['a..b', '["', 'x y', '["k"]'.repeat(200_000)]) {
    expect([...placesOf([changed(text)]).children.keys()]).toEqual([text])
  }
})
