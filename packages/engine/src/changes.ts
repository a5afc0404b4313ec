/** A delta as a flat list: for people, for plans, and for components that want to know what changed. */
import type { Delta, ListDelta } from './delta.ts'
import type { Json, Path } from './json.ts'
import { keyOf } from './keys.ts'

/**
 * One difference. A field that changed is one, an object or an entry that came or went as a whole is one. An entry
 * that moved and changed is two.
 */
export interface Change {
  readonly kind: 'added' | 'removed' | 'changed' | 'moved'
  /** In a keyed collection the step is the entry's key, elsewhere its index after the change (before, if it went). */
  readonly path: Path
  /** Object keys and indexes only: in the tree after the change, or before it if the value is gone. */
  readonly at: Path
  readonly before?: Json
  readonly after?: Json
  /** Index before, of a moved entry. */
  readonly from?: number
  /** Index after, of a moved entry. */
  readonly to?: number
}

/** In the order of the document, as far as it has one: fields as they were written, entries by their place. */
export function changes(delta: Delta): Change[] {
  const found: Change[] = []
  collect(delta, [], [], found)
  return found
}

function collect(delta: Delta, path: Path, at: Path, found: Change[]): void {
  switch (delta.op) {
    case 'none':
      return
    case 'set':
      found.push(setChange(delta.before, delta.after, path, at))
      return
    case 'object':
      for (const [key, field] of delta.fields) collect(field, [...path, key], [...at, key], found)
      return
    case 'list':
      collectList(delta, path, at, found)
  }
}

function setChange(before: Json | undefined, after: Json | undefined, path: Path, at: Path): Change {
  if (before === undefined) return { kind: 'added', path, at, ...(after === undefined ? {} : { after }) }
  if (after === undefined) return { kind: 'removed', path, at, before }
  return { kind: 'changed', path, at, before, after }
}

function collectList(delta: ListDelta, path: Path, at: Path, found: Change[]): void {
  const { field, removed, added, kept } = delta
  const step = (value: Json, index: number): string | number =>
    (field === undefined ? undefined : keyOf(value, field)) ?? index
  let r = 0
  let a = 0
  let k = 0
  for (;;) {
    const gone = removed[r]
    const came = added[a]
    const stayed = kept[k]
    const next = Math.min(gone?.index ?? Infinity, came?.index ?? Infinity, stayed?.to ?? Infinity)
    if (gone !== undefined && gone.index === next) {
      r++
      found.push({ kind: 'removed', path: [...path, step(gone.value, next)], at: [...at, next], before: gone.value })
    } else if (came !== undefined && came.index === next) {
      a++
      found.push({ kind: 'added', path: [...path, step(came.value, next)], at: [...at, next], after: came.value })
    } else if (stayed !== undefined) {
      k++
      const below = [...path, stayed.key ?? next]
      if (stayed.moved) found.push({ kind: 'moved', path: below, at: [...at, next], from: stayed.from, to: stayed.to })
      collect(stayed.delta, below, [...at, next], found)
    } else return
  }
}
