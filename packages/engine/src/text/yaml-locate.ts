/**
 * Where the values of a YAML text are written, worked out from its events when somebody asks. Aliases lead to the
 * place of the value that they stand for; merged keys lead to the mapping that they came from.
 */
import { EVENT_ID, getScalarValue } from 'js-yaml'
import type { Event } from 'js-yaml'
import type { Path } from '../json.ts'
import { isPlainEvent, positionOf } from './yaml-tree.ts'

export interface Place {
  readonly position: number
  readonly isPlain: boolean
  readonly entries: Map<string, Place> | undefined
}

interface Open {
  readonly place: Place
  readonly isList: boolean
  key: string | undefined
  keyPosition: number
  keyIsMerge: boolean
  merged: Map<string, Place>[]
}

/** The places of the first document. `events` must have made a tree before. */
export function placesFrom(text: string, events: readonly Event[]): Place | undefined {
  const anchors = new Map<string, Place>()
  const open: Open[] = []
  const anchored = (event: { anchorStart: number; anchorEnd: number }, place: Place): void => {
    if (event.anchorStart >= 0) anchors.set(text.slice(event.anchorStart, event.anchorEnd), place)
  }
  let root: Place | undefined
  const add = (place: Place, scalar?: string): void => {
    const outer = open.at(-1)
    if (outer === undefined) {
      root = place
    } else if (outer.isList) {
      outer.place.entries?.set(String(outer.place.entries.size), place)
    } else if (outer.key === undefined) {
      outer.key = scalar ?? ''
      outer.keyPosition = place.position
      outer.keyIsMerge = scalar === '<<' && place.isPlain
    } else {
      addMember(outer, place)
    }
  }
  for (let k = 1; k < events.length && root === undefined; k++) {
    const event = events[k] as Event
    if (event.type === EVENT_ID.SCALAR) {
      const place: Place = { position: positionOf(event), isPlain: isPlainEvent(event), entries: undefined }
      const scalar = getScalarValue(text, event)
      anchored(event, place)
      scalarAt.set(place, scalar)
      add(place, scalar)
    } else if (event.type === EVENT_ID.ALIAS) {
      const place = anchors.get(text.slice(event.anchorStart, event.anchorEnd))
      if (place) add(place, scalarAt.get(place))
    } else if (event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING) {
      const place: Place = { position: positionOf(event), isPlain: false, entries: new Map() }
      anchored(event, place)
      const isList = event.type === EVENT_ID.SEQUENCE
      open.push({ place, isList, key: undefined, keyPosition: -1, keyIsMerge: false, merged: [] })
    } else if (event.type === EVENT_ID.POP) {
      const closed = open.pop()
      if (closed === undefined) break
      for (const merged of closed.merged) {
        for (const [key, place] of merged) if (!closed.place.entries?.has(key)) closed.place.entries?.set(key, place)
      }
      add(closed.place)
    }
  }
  return root
}

/** The text of scalars that may be keys by an alias. */
const scalarAt = new WeakMap<Place, string>()

function addMember(outer: Open, place: Place): void {
  const key = outer.key as string
  outer.key = undefined
  if (outer.keyIsMerge) {
    const sources = place.entries?.has('0') ? [...place.entries.values()] : [place]
    for (const source of sources) if (source.entries) outer.merged.push(source.entries)
    return
  }
  // A value without text (`key:`) stands where its key stands.
  const placed = place.position < 0 ? { ...place, position: outer.keyPosition } : place
  outer.place.entries?.set(key, placed)
}

export function placeAt(root: Place | undefined, path: Path): Place | undefined {
  let place = root
  for (const step of path) place = place?.entries?.get(String(step))
  return place
}
