/**
 * Where the values of a YAML text are written, worked out from its events when somebody asks. Aliases lead to the
 * place of the value that they stand for; merged keys lead to the mapping that they came from.
 */
import { EVENT_ID, getScalarValue } from 'js-yaml'
import type { Event, ScalarEvent } from 'js-yaml'
import type { Path } from '../json.ts'
import { isPlainEvent, positionOf } from './yaml-tree.ts'

export interface Place {
  /** An index into the text, or -1 where the value has no text. */
  readonly position: number
  readonly isPlain: boolean
  readonly list: Place[] | undefined
  readonly members: Map<string, Place> | undefined
}

interface Anchored {
  readonly place: Place
  /** Of a scalar, which may be used for a key. */
  readonly scalar: ScalarEvent | undefined
}

interface Open {
  readonly place: Place
  key: string | undefined
  keyPosition: number
  keyIsMerge: boolean
  readonly merged: Place[]
}

/** The places of the first document. `events` must have made a tree before. */
export function placesFrom(text: string, events: readonly Event[]): Place | undefined {
  return new Placing(text).run(events)
}

export function placeAt(root: Place | undefined, path: Path): Place | undefined {
  let place = root
  for (const step of path) place = place?.list ? place.list[Number(step)] : place?.members?.get(String(step))
  return place
}

class Placing {
  readonly #text: string
  readonly #anchors = new Map<string, Anchored>()
  readonly #open: Open[] = []
  #root: Place | undefined

  constructor(text: string) {
    this.#text = text
  }

  run(events: readonly Event[]): Place | undefined {
    for (let k = 1; k < events.length && this.#root === undefined; k++) {
      const event = events[k] as Event
      const position = positionOf(event)
      if (event.type === EVENT_ID.SCALAR) {
        const place: Place = { position, isPlain: isPlainEvent(event), list: undefined, members: undefined }
        this.#anchor(event, place, event)
        this.#add(place, event)
      } else if (event.type === EVENT_ID.ALIAS) {
        const anchored = this.#anchors.get(this.#text.slice(event.anchorStart, event.anchorEnd))
        if (anchored) this.#add(anchored.place, anchored.scalar)
      } else if (event.type === EVENT_ID.SEQUENCE) {
        this.#enter(event, { position, isPlain: false, list: [], members: undefined })
      } else if (event.type === EVENT_ID.MAPPING) {
        this.#enter(event, { position, isPlain: false, list: undefined, members: new Map() })
      } else if (event.type === EVENT_ID.POP) {
        this.#leave()
      }
    }
    return this.#root
  }

  #enter(event: { anchorStart: number; anchorEnd: number }, place: Place): void {
    this.#anchor(event, place, undefined)
    this.#open.push({ place, key: undefined, keyPosition: -1, keyIsMerge: false, merged: [] })
  }

  #leave(): void {
    const closed = this.#open.pop()
    if (closed === undefined) return
    const { members } = closed.place
    for (const source of closed.merged) {
      for (const [key, place] of source.members ?? []) if (!members?.has(key)) members?.set(key, place)
    }
    this.#add(closed.place, undefined)
  }

  #anchor(event: { anchorStart: number; anchorEnd: number }, place: Place, scalar: ScalarEvent | undefined): void {
    if (event.anchorStart < 0) return
    this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), { place, scalar })
  }

  #add(place: Place, scalar: ScalarEvent | undefined): void {
    const outer = this.#open.at(-1)
    if (outer === undefined) {
      this.#root = place
    } else if (outer.place.list) {
      outer.place.list.push(place)
    } else if (outer.key === undefined) {
      outer.key = scalar === undefined ? '' : getScalarValue(this.#text, scalar)
      outer.keyPosition = place.position
      outer.keyIsMerge = outer.key === '<<' && place.isPlain
    } else if (outer.keyIsMerge) {
      outer.key = undefined
      outer.merged.push(...(place.list ?? [place]))
    } else {
      // A value without text (`key:`) stands where its key stands.
      const placed = place.position < 0 ? { ...place, position: outer.keyPosition } : place
      outer.place.members?.set(outer.key, placed)
      outer.key = undefined
    }
  }
}
