/**
 * Keeps secrets out of everything that leaves the engine: `‹secret›` stands where a secret stood. What is secret is
 * decided by path (patterns of the user and the schema, and the places that came from a secret reference) and, in free
 * text, by the secrets' own values. Where there is doubt it hides too much rather than too little.
 *
 * Who has what redacted, and when the known values change, is left to the engine.
 */
import type { Issue } from './issue.ts'
import { isArray, isObject, parsePath, type Json, type JsonObject, type Path } from './json.ts'

export const secretMark = '‹secret›'

/** What is refused for its depth, or is a cycle, is not followed further. */
const tooDeep = 1000

/** Decides by path pattern and by known secret paths and values. Makes copies; never changes what it is given. */
export interface Redactor {
  /**
   * `value` as it may be shown, where `path` is its place in the configuration: the mark if the place is secret,
   * otherwise with the mark for whatever is secret inside. The same object if nothing in it is secret.
   */
  value(path: Path, value: Json): Json
  /** `message` without the values of secrets, also where they are JSON-escaped, URL-encoded or cut short. */
  text(message: string): string
  /** The same for an issue. At a secret place the message keeps what was wanted and loses what was found. */
  issue(issue: Issue): Issue
}

/** What is secret, by place. */
export interface SecretPlaces {
  /** Dotted paths from the root, `*` for one step: `users.*.password`. All that is below is secret too. */
  readonly patterns: readonly string[]
  /** Exact places, by object keys and array indexes, of the old and of the new configuration. */
  readonly secretPaths?: readonly Path[]
}

/**
 * @param options.secretValues secrets to take out of text; those under 4 characters are left out, as they would blot
 *   out half of every message. `secretsIn` collects them.
 * @throws SyntaxError if a pattern is not a path.
 */
export function redactor(options: SecretPlaces & { readonly secretValues?: readonly string[] }): Redactor {
  const patterns = options.patterns.map(parsePath)
  let root: readonly Place[] | undefined
  const rootOf = () => (root ??= placesOf(patterns, options.secretPaths))
  // Both made when first needed: an unchanged configuration with 100,000 secrets has nothing to say.
  let made: { readonly scrub: ((text: string) => string) | undefined } | undefined
  const scrubbing = () => (made ??= { scrub: scrubber(options.secretValues ?? []) }).scrub
  const clean = (value: Json): Json => {
    const scrub = scrubbing()
    return scrub === undefined ? value : cleaned(value, scrub)
  }
  const text = (message: string): string => (message.length < minLength ? message : (scrubbing()?.(message) ?? message))
  return {
    value(path, value) {
      const places = follow(rootOf(), path)
      return places === 'secret' ? secretMark : masked(places, value, clean)
    },
    text,
    issue(issue) {
      const places = follow(rootOf(), issue.path)
      let message = text(issue.message)
      if (places === 'secret') message = withoutFound(message)
      // The found value may be a container that holds a secret which nobody has collected yet, or the secret itself,
      // as text where an object with it in a field is wanted.
      else if (places.length > 0) message = message.replace(aboveSecret, `is ${secretMark}`)
      return {
        ...issue,
        path: issue.path.map((step) => (typeof step === 'string' ? text(step) : step)),
        message,
        ...(issue.hint === undefined ? {} : { hint: text(issue.hint) }),
      }
    },
  }
}

/**
 * The secrets that `config` holds at these places, as text: strings, and numbers as they print. Looks only where a
 * pattern leads, so it does not walk the rest of a large configuration.
 * @throws SyntaxError if a pattern is not a path.
 */
export function secretsIn(config: Json, places: SecretPlaces): string[] {
  const found = new Set<string>()
  const take = (value: Json, depth = 0): void => {
    if (typeof value === 'string') found.add(value)
    else if (typeof value === 'number') found.add(String(value))
    else if (depth > tooDeep) return
    else if (isArray(value)) value.forEach((entry) => take(entry, depth + 1))
    else if (isObject(value)) Object.values(value).forEach((entry) => take(entry, depth + 1))
  }
  const look = (at: readonly Place[], value: Json): void => {
    if (at.some((place) => place.secret)) return take(value)
    if (at.length === 0) return
    if (isArray(value)) value.forEach((entry, i) => look(entryPlaces(at, i, entry), entry))
    else if (isObject(value)) for (const key of Object.keys(value)) look(fieldPlaces(at, key), value[key]!)
  }
  look(placesOf(places.patterns.map(parsePath), places.secretPaths), config)
  return [...found]
}

/**
 * One step of the patterns and secret paths, as a tree. An entry of a keyed collection is named by its index in one
 * place and by its key in another, and a path alone does not say which: `anyIndex` and `anyName` hold what is below
 * all indexes and all names, for the case in which the one must be compared with the other.
 */
interface Place {
  secret: boolean
  every: Place | undefined
  anyIndex: Place | undefined
  anyName: Place | undefined
  readonly names: Map<string, Place>
  readonly indexes: Map<number, Place>
}

function newPlace(): Place {
  return {
    secret: false,
    every: undefined,
    anyIndex: undefined,
    anyName: undefined,
    names: new Map(),
    indexes: new Map(),
  }
}

/** The root, or nothing at all if nothing is secret by place. */
function placesOf(patterns: readonly Path[], secretPaths: readonly Path[] = []): readonly Place[] {
  const root = newPlace()
  for (const pattern of patterns) add(root, pattern, true)
  for (const path of secretPaths) add(root, path, false)
  return patterns.length + secretPaths.length === 0 ? [] : [root]
}

function add(place: Place, path: Path, wild: boolean): void {
  const [step, ...rest] = path
  if (step === undefined) {
    place.secret = true
    return
  }
  if (wild && step === '*') return add((place.every ??= newPlace()), rest, wild)
  if (typeof step === 'number') {
    add((place.anyIndex ??= newPlace()), rest, wild)
    return add(child(place.indexes, step), rest, wild)
  }
  add((place.anyName ??= newPlace()), rest, wild)
  add(child(place.names, step), rest, wild)
}

function child<K>(children: Map<K, Place>, step: K): Place {
  let place = children.get(step)
  if (place === undefined) children.set(step, (place = newPlace()))
  return place
}

/** Where a path leads when the data is not at hand: `secret`, or the places from which secrets may lie below. */
function follow(root: readonly Place[], path: Path): 'secret' | readonly Place[] {
  let at = root
  if (at.some((place) => place.secret)) return 'secret'
  for (const step of path) {
    at = present(
      at.flatMap((place) =>
        typeof step === 'number'
          ? [place.every, place.indexes.get(step), place.anyName]
          : [place.every, place.names.get(step), place.anyIndex],
      ),
    )
    if (at.some((place) => place.secret)) return 'secret'
    if (at.length === 0) return at
  }
  return at
}

// Plain loops: with a secret in each of 100,000 rules these run a million times in a reload.
const nowhere: readonly Place[] = []

function fieldPlaces(at: readonly Place[], key: string): readonly Place[] {
  let found: Place[] | undefined
  for (const place of at) {
    if (place.every) (found ??= []).push(place.every)
    const named = place.names.get(key)
    if (named) (found ??= []).push(named)
  }
  return found ?? nowhere
}

/** An entry of an array is meant by its index, and by any of its fields' values: one of them is its key. */
function entryPlaces(at: readonly Place[], index: number, entry: Json): readonly Place[] {
  let found: Place[] | undefined
  const take = (place: Place | undefined): void => {
    if (place) (found ??= []).push(place)
  }
  for (const place of at) {
    take(place.every)
    take(place.indexes.get(index))
    if (place.names.size === 0) continue
    take(place.names.get(String(index)))
    if (!isObject(entry)) continue
    for (const field of Object.values(entry)) {
      if (typeof field === 'string' || typeof field === 'number') take(place.names.get(String(field)))
    }
  }
  return found ?? nowhere
}

function present(places: readonly (Place | undefined)[]): readonly Place[] {
  return places.filter((place) => place !== undefined)
}

function masked(at: readonly Place[], value: Json, clean: (value: Json) => Json): Json {
  if (at.length === 0) return clean(value)
  if (at.some((place) => place.secret)) return secretMark
  if (isArray(value)) return mapArray(value, (entry, i) => masked(entryPlaces(at, i, entry), entry, clean))
  if (isObject(value)) return mapObject(value, (field, key) => masked(fieldPlaces(at, key), field, clean))
  return clean(value)
}

function cleaned(value: Json, scrub: (text: string) => string): Json {
  if (typeof value === 'string') return scrub(value)
  if (typeof value === 'number') {
    const text = String(value)
    return scrub(text) === text ? value : secretMark
  }
  if (isArray(value)) return mapArray(value, (entry) => cleaned(entry, scrub))
  if (isObject(value)) return mapObject(value, (field) => cleaned(field, scrub))
  return value
}

/** Like `map`, but the same array if no entry changed: an untouched subtree costs no copy. */
function mapArray(array: readonly Json[], fn: (entry: Json, index: number) => Json): readonly Json[] {
  let copy: Json[] | undefined
  for (let i = 0; i < array.length; i++) {
    const entry = array[i]!
    const next = fn(entry, i)
    if (next !== entry) (copy ??= array.slice())[i] = next
  }
  return copy ?? array
}

function mapObject(object: JsonObject, fn: (field: Json, key: string) => Json): JsonObject {
  let copy: Record<string, Json> | undefined
  for (const key of Object.keys(object)) {
    const field = object[key]!
    const next = fn(field, key)
    if (next !== field) (copy ??= { ...object })[key] = next
  }
  return copy ?? object
}

/** What was found, if it is text or a container. Text may hold what ends it elsewhere, and may have been cut short. */
const aboveSecret = /\bis (?:"(?:[^"\\]|\\.)*"[^;]*?|["[{].*?)(?=; want|$)/s

/** A message about a secret: what was found goes, what was wanted stays. */
function withoutFound(message: string): string {
  const known = message.replace(/\bis .*?(?=; want)/s, `is ${secretMark}`)
  // What is wanted may be a library's own sentence, and quote what it found.
  if (known !== message) return known.replace(/\(was .*?\)|"(?:[^"\\]|\\.)*"/g, secretMark)
  return message.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|\d[\d._-]*/g, secretMark)
}

/** Under this length a secret is not looked for in text. */
const minLength = 4
/** So many first characters of a long secret give it away, where a message was cut short. */
const headLength = 16
/** Lines of a secret with several (a private key) are looked for one by one from this length. */
const minLine = 16

/** Takes known values out of text in one pass, whatever their number; `undefined` if there are none. */
function scrubber(values: readonly string[]): ((text: string) => string) | undefined {
  const forms = new Set<string>()
  for (const value of values) for (const form of formsOf(value)) forms.add(form)
  if (forms.size === 0) return undefined
  // By their first four characters: nearly every position in a text is done with after one or two look-ups.
  const byHead = new Map<string, string[]>()
  const firstUnits = new Set<number>()
  for (const form of [...forms].sort((a, b) => b.length - a.length)) {
    const head = form.slice(0, minLength)
    const others = byHead.get(head)
    if (others) others.push(form)
    else byHead.set(head, [form])
    firstUnits.add(form.charCodeAt(0))
  }
  return (text) => {
    let result = ''
    let kept = 0
    let i = 0
    while (i + minLength <= text.length) {
      // What is masked already stays as it is, even if a secret is the word "secret".
      if (text.startsWith(secretMark, i)) {
        i += secretMark.length
        continue
      }
      const length = firstUnits.has(text.charCodeAt(i)) ? secretLength(text, i, byHead) : 0
      if (length === 0) {
        i++
        continue
      }
      result += text.slice(kept, i) + secretMark
      i += length
      kept = i
    }
    return kept === 0 ? text : result + text.slice(kept)
  }
}

function secretLength(text: string, at: number, byHead: ReadonlyMap<string, readonly string[]>): number {
  let longest = 0
  for (const form of byHead.get(text.slice(at, at + minLength)) ?? []) {
    let same = minLength
    while (same < form.length && text.charCodeAt(at + same) === form.charCodeAt(same)) same++
    if (same > longest && (same === form.length || same >= headLength)) longest = same
  }
  return longest
}

/** The ways in which a secret may stand in a message. */
function formsOf(secret: string): string[] {
  const lines = secret.includes('\n') ? secret.split(/\r?\n/).filter((line) => line.length >= minLine) : []
  return [secret, secret.trim(), ...lines].filter((form) => form.length >= minLength).flatMap(encodings)
}

/** What every encoding leaves as it is. */
const unreserved = /^[\w.-]*$/

function encodings(plain: string): string[] {
  if (unreserved.test(plain)) return [plain]
  const json = JSON.stringify(plain).slice(1, -1)
  const ascii = json.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const nested = JSON.stringify(json).slice(1, -1)
  // A lone surrogate has no URL-encoded form; `toWellFormed` gives what a URL would hold instead.
  const url = encodeURIComponent(plain.toWellFormed())
  const strict = url.replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  const lower = (text: string): string => text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())
  const urls = [url, strict, encodeURI(plain.toWellFormed()), strict.replaceAll('%20', '+')]
  return [plain, json, ascii, nested, ...urls, ...urls.map(lower)]
}
