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
  collect(delta, { path: [], before: [], after: [] }, found)
  return found
}

/** One place, by key, by index in the tree before, and by index in the tree after. */
interface Place {
  readonly path: Path
  readonly before: Path
  readonly after: Path
}

function collect(delta: Delta, place: Place, found: Change[]): void {
  switch (delta.op) {
    case 'none':
      return
    case 'set':
      found.push(setChange(delta.before, delta.after, place))
      return
    case 'object':
      for (const [key, field] of delta.fields) collect(field, child(place, key, key, key), found)
      return
    case 'list':
      collectList(delta, place, found)
  }
}

function child(place: Place, step: string | number, before: string | number, after: string | number): Place {
  return { path: [...place.path, step], before: [...place.before, before], after: [...place.after, after] }
}

function setChange(before: Json | undefined, after: Json | undefined, place: Place): Change {
  const { path } = place
  if (after === undefined)
    return { kind: 'removed', path, at: place.before, ...(before === undefined ? {} : { before }) }
  if (before === undefined) return { kind: 'added', path, at: place.after, after }
  return { kind: 'changed', path, at: place.after, before, after }
}

function collectList(delta: ListDelta, place: Place, found: Change[]): void {
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
      found.push(setChange(gone.value, undefined, child(place, step(gone.value, next), next, next)))
    } else if (came !== undefined && came.index === next) {
      a++
      found.push(setChange(undefined, came.value, child(place, step(came.value, next), next, next)))
    } else if (stayed !== undefined) {
      k++
      const { from, to, moved } = stayed
      const here = child(place, stayed.key ?? to, from, to)
      if (moved) found.push({ kind: 'moved', path: here.path, at: here.after, from, to })
      collect(stayed.delta, here, found)
    } else return
  }
}
