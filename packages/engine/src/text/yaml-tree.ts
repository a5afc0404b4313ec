/**
 * From YAML's events to a plain JSON tree, with an exact place for whatever does not fit into one. Knows the core
 * schema, aliases and merge keys (`<<`), and no other tags: what a tag of an application would mean is not known.
 *
 * An aliased value is one object that stands in several places. That saves memory, and an amount of values that
 * only aliases make large is counted and limited.
 */
import { EVENT_ID, getScalarValue, SCALAR_STYLE } from 'js-yaml'
import type { Event, MappingEvent, ScalarEvent, SequenceEvent } from 'js-yaml'
import type { IssueCode } from '../issue.ts'
import type { Json, Path } from '../json.ts'
import { forbiddenMessage, isForbiddenIn } from './keys.ts'
import type { TextLimits } from './limits.ts'
import { coreScalar, isUnfit, type CoreScalar } from './yaml-scalar.ts'

/** Why there is no tree. Positions are indexes into the text. */
export class TreeError extends Error {
  readonly code: IssueCode
  readonly position: number
  readonly path: Path
  readonly first: number | undefined

  constructor(code: IssueCode, position: number, path: Path, message: string, first?: number) {
    super(message)
    this.code = code
    this.position = position
    this.path = path
    this.first = first
  }
}

type Tree = { [key: string]: Tree } | Tree[] | CoreScalar

interface Anchor {
  /** `undefined` while the value is still open. */
  value: Tree | undefined
  /** How many values it is, aliases unfolded. */
  weight: number
}

interface Frame {
  readonly list: Tree[] | undefined
  readonly map: { [key: string]: Tree } | undefined
  readonly event: SequenceEvent | MappingEvent
  readonly eventIndex: number
  readonly anchor: Anchor | undefined
  weight: number
  /** In a mapping: the key whose value comes next. */
  key: string | undefined
  keyIsMerge: boolean
  keyPosition: number
  /** Keys that came by a merge; the mapping's own keys go before them. */
  merged: Set<string> | undefined
}

const none = -1
const mergeKey = '<<'

/** The tree of the first document in `events`. */
export function treeFrom(text: string, events: readonly Event[], limits: TextLimits): Json {
  return new Builder(text, events, limits).build()
}

/** Where the node of an event is written, or -1 where it has no text. */
export function positionOf(event: Event): number {
  if (event.type === EVENT_ID.ALIAS) return event.anchorStart - 1
  if (event.type === EVENT_ID.SCALAR) {
    if (event.valueStart === none) return Math.max(event.tagStart, event.anchorStart)
    return event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED
      ? event.valueStart - 1
      : event.valueStart
  }
  return event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING ? event.start : none
}

/** Whether a scalar is resolved by its look: written without quotes and without a tag. */
export function isPlainEvent(event: ScalarEvent): boolean {
  return event.style === SCALAR_STYLE.PLAIN && event.tagStart === none
}

class Builder {
  readonly #text: string
  readonly #events: readonly Event[]
  readonly #limits: TextLimits
  readonly #frames: Frame[] = []
  readonly #anchors = new Map<string, Anchor>()
  #index = 0
  #aliases = 0
  #aliased = 0
  #mergedKeys = 0

  constructor(text: string, events: readonly Event[], limits: TextLimits) {
    this.#text = text
    this.#events = events
    this.#limits = limits
  }

  build(): Json {
    for (this.#index = 1; this.#index < this.#events.length; this.#index++) {
      const event = this.#events[this.#index] as Event
      if (event.type === EVENT_ID.POP) {
        const root = this.#closed()
        if (root !== undefined) return root
      } else if (event.type === EVENT_ID.SCALAR) {
        if (this.#frames.length === 0) return this.#scalar(event)
        this.#addScalar(event)
      } else if (event.type === EVENT_ID.ALIAS) {
        const anchor = this.#aliasOf(event.anchorStart, event.anchorEnd)
        this.#add(anchor.value as Tree, anchor.weight, event.anchorStart - 1)
      } else if (event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING) {
        this.#opened(event)
      }
    }
    throw new TreeError('internal', 0, [], 'the YAML reader gave an incomplete document')
  }

  #opened(event: SequenceEvent | MappingEvent): void {
    const isList = event.type === EVENT_ID.SEQUENCE
    const outer = this.#frames.at(-1)
    if (outer?.map !== undefined && outer.key === undefined) {
      this.#fail('syntax', event.start, `has ${isList ? 'a list' : 'a mapping'} for a key; want a string`)
    }
    const tag = this.#tag(event)
    const wanted = isList ? 'seq' : 'map'
    if (tag !== '' && tag !== '!' && tag !== `!!${wanted}`) this.#refuseTag(tag, event.tagStart)
    const list: Tree[] | undefined = isList ? [] : undefined
    const map: { [key: string]: Tree } | undefined = isList ? undefined : {}
    this.#frames.push({
      list,
      map,
      event,
      eventIndex: this.#index,
      anchor: this.#anchored(event, undefined),
      weight: 1,
      key: undefined,
      keyIsMerge: false,
      keyPosition: none,
      merged: undefined,
    })
  }

  /** Closes the innermost collection. @returns the root, if it was that. */
  #closed(): Json | undefined {
    const frame = this.#frames.pop() as Frame
    const value: Tree = frame.list ?? frame.map ?? null
    if (frame.anchor) {
      frame.anchor.value = value
      frame.anchor.weight = frame.weight
    }
    if (this.#frames.length === 0) return value
    this.#add(value, frame.weight, frame.event.start)
    return undefined
  }

  #addScalar(event: ScalarEvent): void {
    const frame = this.#frames.at(-1) as Frame
    if (frame.map !== undefined && frame.key === undefined) this.#setKey(frame, event)
    else this.#add(this.#scalar(event), 1, positionOf(event))
  }

  #scalar(event: ScalarEvent): CoreScalar {
    const text = getScalarValue(this.#text, event)
    const value = isPlainEvent(event) ? this.#core(text, event.valueStart) : this.#tagged(text, event)
    this.#anchored(event, value)
    return value
  }

  #core(text: string, position: number): CoreScalar {
    const value = coreScalar(text)
    return isUnfit(value) ? this.#fail('number-precision', position, value.unfit) : value
  }

  #tagged(text: string, event: ScalarEvent): CoreScalar {
    const tag = this.#tag(event)
    if (tag === '' || tag === '!' || tag === '!!str') return text
    const core = ['!!null', '!!bool', '!!int', '!!float'].includes(tag)
    if (!core) return this.#refuseTag(tag, event.tagStart)
    const value = this.#core(text, event.tagStart)
    const fits =
      (tag === '!!null' && value === null) ||
      (tag === '!!bool' && typeof value === 'boolean') ||
      (tag === '!!int' && Number.isInteger(value)) ||
      (tag === '!!float' && typeof value === 'number')
    return fits ? value : this.#fail('syntax', event.tagStart, `is ${JSON.stringify(text)}; want a value for ${tag}`)
  }

  #setKey(frame: Frame, event: ScalarEvent): void {
    const text = getScalarValue(this.#text, event)
    const position = positionOf(event)
    this.#anchored(event, text)
    frame.keyPosition = position
    frame.keyIsMerge = isPlainEvent(event) && text === mergeKey
    frame.key = text
    if (frame.keyIsMerge) return
    // A number or a boolean is taken as it is written: `80: http` has the key "80". Null has nothing to take.
    const value = isPlainEvent(event) ? coreScalar(text) : this.#tagged(text, event)
    if (value === null) {
      frame.key = undefined
      this.#fail('syntax', position === none ? frame.event.start : position, 'has null for a key; want a string')
    }
    this.#checkKey(frame, text, position)
  }

  #checkKey(frame: Frame, key: string, position: number): void {
    const map = frame.map as { [key: string]: Tree }
    if (isForbiddenIn(this.#frames.at(-2)?.key, key)) {
      this.#fail('forbidden-key', position, forbiddenMessage(key))
    }
    if (!Object.hasOwn(map, key)) return
    if (frame.merged?.delete(key)) return
    const path = this.#path()
    throw new TreeError(
      'duplicate-key',
      position,
      path,
      'has the same key twice; want it once',
      this.#firstKey(frame, key),
    )
  }

  /** Where `key` is written first in the mapping: looked for only once it is known to be there twice. */
  #firstKey(frame: Frame, key: string): number {
    let depth = 0
    let isKey = true
    for (let k = frame.eventIndex + 1; k < this.#index; k++) {
      const event = this.#events[k] as Event
      if (depth === 0 && event.type === EVENT_ID.SCALAR && isKey && getScalarValue(this.#text, event) === key) {
        return positionOf(event)
      }
      if (event.type === EVENT_ID.POP) depth--
      if (depth === 0) isKey = !isKey
      if (event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING) {
        depth++
      }
    }
    return frame.event.start
  }

  #add(value: Tree, weight: number, position: number): void {
    const frame = this.#frames.at(-1) as Frame
    frame.weight += weight
    if (frame.list !== undefined) {
      frame.list.push(value)
      return
    }
    if (frame.key === undefined) this.#aliasKey(frame, value, position)
    else if (frame.keyIsMerge) this.#merge(frame, value, position)
    else {
      ;(frame.map as { [key: string]: Tree })[frame.key] = value
      frame.key = undefined
    }
  }

  /** `*name : value`, where the anchor is at a scalar. */
  #aliasKey(frame: Frame, value: Tree, position: number): void {
    if (typeof value === 'object') this.#fail('syntax', position, 'has a key that is no string; want a string')
    frame.key = String(value)
    frame.keyIsMerge = false
    frame.keyPosition = position
    this.#checkKey(frame, frame.key, position)
  }

  #merge(frame: Frame, value: Tree, position: number): void {
    frame.key = undefined
    for (const source of Array.isArray(value) ? value : [value]) {
      this.#countMerged(1, position)
      if (typeof source !== 'object' || source === null || Array.isArray(source)) {
        this.#fail(
          'syntax',
          frame.keyPosition,
          'merges (<<) something that is no mapping; want a mapping or a list of them',
        )
      }
      const map = frame.map as { [key: string]: Tree }
      for (const key of Object.keys(source)) {
        this.#countMerged(1, position)
        if (Object.hasOwn(map, key)) continue
        if (isForbiddenIn(this.#frames.at(-2)?.key, key)) this.#fail('forbidden-key', position, forbiddenMessage(key))
        map[key] = source[key] as Tree
        frame.merged ??= new Set()
        frame.merged.add(key)
      }
    }
  }

  #countMerged(keys: number, position: number): void {
    this.#mergedKeys += keys
    const max = this.#limits.maxMergedKeys
    if (this.#mergedKeys > max) this.#fail('limit', position, `merges (<<) more than ${max} keys; want at most ${max}`)
  }

  #aliasOf(start: number, end: number): Anchor {
    const name = this.#text.slice(start, end)
    const anchor = this.#anchors.get(name)
    const position = start - 1
    if (!anchor) this.#fail('syntax', position, `refers to *${name}, which no anchor before it names`)
    if (anchor.value === undefined) {
      this.#fail('syntax', position, `refers to *${name} from inside of &${name}; want no cycle`)
    }
    const { maxAliases, maxAliasedValues } = this.#limits
    if (++this.#aliases > maxAliases) {
      this.#fail('limit', position, `has more than ${maxAliases} aliases; want at most ${maxAliases}`)
    }
    this.#aliased += anchor.weight
    if (this.#aliased > maxAliasedValues) {
      const message = `has aliases that stand for more than ${maxAliasedValues} values; want at most ${maxAliasedValues}`
      this.#fail('limit', position, message)
    }
    return anchor
  }

  #anchored(event: ScalarEvent | SequenceEvent | MappingEvent, value: Tree | undefined): Anchor | undefined {
    if (event.anchorStart === none) return undefined
    const anchor: Anchor = { value, weight: 1 }
    this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), anchor)
    return anchor
  }

  /** The tag as `!!name` where it is one of YAML's own, however it was written. */
  #tag(event: ScalarEvent | SequenceEvent | MappingEvent): string {
    if (event.tagStart === none) return ''
    const raw = this.#text.slice(event.tagStart, event.tagEnd)
    const verbatim = /^!<tag:yaml\.org,2002:(\w+)>$/.exec(raw)
    const document = this.#events[0]
    const handles = document?.type === EVENT_ID.DOCUMENT ? document.directives : []
    for (const directive of handles) {
      if (directive.kind !== 'tag' || !raw.startsWith(directive.handle)) continue
      const full = directive.prefix + raw.slice(directive.handle.length)
      const known = /^tag:yaml\.org,2002:(\w+)$/.exec(full)
      return known ? `!!${known[1]}` : `!<${full}>`
    }
    return verbatim ? `!!${verbatim[1]}` : raw
  }

  #refuseTag(tag: string, position: number): never {
    const message = `has the tag ${tag}, which is not plain data; want none, or !!str, !!int, !!float, !!bool or !!null`
    this.#fail('syntax', position, message)
  }

  #path(): Path {
    const path: (string | number)[] = []
    for (const frame of this.#frames) {
      if (frame.list !== undefined) path.push(frame.list.length)
      else if (frame.key !== undefined) path.push(frame.key)
    }
    return path
  }

  #fail(code: IssueCode, position: number, message: string): never {
    throw new TreeError(code, position, this.#path(), message)
  }
}
