/**
 * Replaces the references in all string values of one file's configuration (keys are left alone). A subtree without a
 * reference stays the same object; a subtree that is the same object as at the time before is not looked at again,
 * unless something that the file refers to has another value now.
 */
import { isArray, isObject, type Json, type JsonObject, type Path } from '../../json.ts'
import type { SecretValue } from '../../source.ts'
import { sameOr } from './merge.ts'
import { fill, parseTemplate, pending, UnresolvedReference, type Scope, type Value } from './template.ts'

export interface Interpolated {
  readonly raw: Json
  readonly config: Json
  readonly secrets: readonly SecretValue[]
  /** What was asked for and what it stood for. */
  readonly used: ReadonlyMap<string, string | undefined>
}

export interface Interpolation {
  readonly scope: Scope
  /** The value of a string that was one reference and nothing else, by the rules of the file's format. */
  scalar(path: Path, text: string): Json
  /** A value that cannot be resolved; it is left as it is, and the walk goes on to find others. */
  refuse(path: Path, error: UnresolvedReference): void
}

/** @returns `undefined` where secrets are still unknown: the scope has noted which. */
export function interpolate(
  raw: Json,
  work: Interpolation,
  previous: Interpolated | undefined,
): Interpolated | undefined {
  const noted = noting(work.scope)
  const same = previous !== undefined && stillHolds(previous.used, work.scope)
  if (same && previous.raw === raw) return previous
  const walk = new Walk(noted.scope, work, same)
  const config = walk.value(raw, previous?.raw, previous?.config)
  if (walk.unknown) return undefined
  // What was not looked at again used what it used before.
  const used = same ? new Map([...previous.used, ...noted.used]) : noted.used
  return { raw, config, secrets: walk.sawSecrets(previous, same) ? secretsOf(raw, config, work.scope) : [], used }
}

class Walk {
  readonly #scope: Scope
  readonly #work: Interpolation
  /** Whether what was worked out before may be taken over. */
  readonly #trusted: boolean
  readonly #path: (string | number)[] = []
  #secrets = false
  unknown = false

  constructor(scope: Scope, work: Interpolation, trusted: boolean) {
    this.#scope = scope
    this.#work = work
    this.#trusted = trusted
  }

  sawSecrets(previous: Interpolated | undefined, same: boolean): boolean {
    return this.#secrets || (same && previous !== undefined && previous.secrets.length > 0)
  }

  value(raw: Json, rawBefore: Json | undefined, before: Json | undefined): Json {
    if (!mayHold(raw)) return raw
    if (typeof raw === 'string') return this.#text(raw)
    if (this.#trusted && raw === rawBefore && before !== undefined) return before
    if (isArray(raw))
      return this.#list(raw, isArray(rawBefore) && isArray(before) ? rawBefore : [], isArray(before) ? before : [])
    return this.#mapping(raw, rawBefore, before)
  }

  #mapping(raw: JsonObject, rawBefore: Json | undefined, before: Json | undefined): Json {
    const pair = isObject(rawBefore) && isObject(before) ? { rawBefore, before } : undefined
    let out: Record<string, Json> | undefined
    for (const key of Object.keys(raw)) {
      const child = raw[key] as Json
      let value = child
      if (mayHold(child)) {
        this.#path.push(key)
        value = this.value(child, pair?.rawBefore[key], pair?.before[key])
        this.#path.pop()
        if (value !== child) out ??= { ...raw }
      }
      if (out) out[key] = value
    }
    return out ? sameOr(before, out) : raw
  }

  #list(raw: readonly Json[], rawBefore: readonly Json[], before: readonly Json[]): Json {
    const places = new Places(raw, rawBefore)
    let out: Json[] | undefined
    for (let i = 0; i < raw.length; i++) {
      const child = raw[i] as Json
      if (!out && !mayHold(child)) continue
      const j = places.before(i)
      let value = child
      if (this.#trusted && child === rawBefore[j] && typeof child === 'object') {
        value = before[j] as Json
      } else if (mayHold(child)) {
        this.#path.push(i)
        value = this.value(child, rawBefore[j], before[j])
        this.#path.pop()
      }
      if (value !== child) out ??= raw.slice()
      if (out) out[i] = value
    }
    if (!out) return raw
    return out.length === before.length && out.every((value, i) => value === before[i]) ? before : out
  }

  #text(raw: string): Json {
    try {
      const parts = parseTemplate(raw)
      const value = fill(parts, this.#scope)
      // A secret is always text: a password of digits must not become a number.
      if (value.secret) this.#secrets = true
      else if (parts.length === 1 && typeof parts[0] === 'object') return this.#work.scalar(this.#path, value.text)
      return value.text
    } catch (error) {
      if (error === pending) this.unknown = true
      else if (error instanceof UnresolvedReference) this.#work.refuse([...this.#path], error)
      else throw error
      return raw
    }
  }
}

/** How far around its place an entry is looked for. */
const nearby = 8
/** So many entries may be new before it pays to look for all of them everywhere. */
const maxStrangers = 256

/** Where the entries of a list stood before: an entry that was inserted or removed moves all those behind it. */
class Places {
  readonly #now: readonly Json[]
  readonly #before: readonly Json[]
  #shift = 0
  #strangers = 0
  #everywhere: Map<Json, number> | undefined

  constructor(now: readonly Json[], before: readonly Json[]) {
    this.#now = now
    this.#before = before
  }

  /** The index before of the entry at `i`, asked for in ascending order; of the one in its place, if it is new. */
  before(i: number): number {
    const entry = this.#now[i] as Json
    const here = i + this.#shift
    if (this.#before[here] === entry || typeof entry !== 'object' || entry === null) return here
    for (let away = 1; away <= nearby; away++) {
      for (const j of [here - away, here + away]) {
        if (this.#before[j] !== entry) continue
        this.#shift = j - i
        return j
      }
    }
    if (++this.#strangers <= maxStrangers) return here
    this.#everywhere ??= new Map(this.#before.map((each, j) => [each, j]))
    return this.#everywhere.get(entry) ?? here
  }
}

/** Whether there can be a reference in it. Most values are told apart here, without another call. */
function mayHold(value: Json): value is string | readonly Json[] | JsonObject {
  return typeof value === 'string' ? value.includes('$') : typeof value === 'object' && value !== null
}

/** Only what differs from `raw` can hold a secret, so the rest is passed over. */
function secretsOf(raw: Json, config: Json, scope: Scope): SecretValue[] {
  const found: SecretValue[] = []
  const path: (string | number)[] = []
  const look = (from: Json, to: Json): void => {
    if (from === to) return
    if (typeof from === 'string') {
      if (fill(parseTemplate(from), scope).secret) found.push({ path: [...path], reference: from })
    } else if (isArray(from) && isArray(to)) {
      for (let i = 0; i < from.length; i++) step(i, from[i] as Json, to[i] as Json)
    } else if (isObject(from) && isObject(to)) {
      for (const key of Object.keys(from)) step(key, from[key] as Json, to[key] as Json)
    }
  }
  const step = (key: string | number, from: Json, to: Json): void => {
    if (from === to) return
    path.push(key)
    look(from, to)
    path.pop()
  }
  look(raw, config)
  return found
}

function noting(scope: Scope): { scope: Scope; used: Map<string, string | undefined> } {
  const used = new Map<string, string | undefined>()
  const note = <V extends Value | undefined>(key: string, value: V): V => {
    used.set(key, value?.text)
    return value
  }
  return {
    used,
    scope: {
      variable: (name) => note(name, scope.variable(name)),
      secret: (path) => note(`file:${path}`, scope.secret(path)),
    },
  }
}

function stillHolds(used: ReadonlyMap<string, string | undefined>, scope: Scope): boolean {
  try {
    return [...used].every(([key, text]) => {
      const now = key.startsWith('file:') ? scope.secret(key.slice(5)) : scope.variable(key)
      return now?.text === text
    })
  } catch (error) {
    // What could be resolved before cannot now: the walk will say where.
    if (error === pending || error instanceof UnresolvedReference) return false
    throw error
  }
}
