/**
 * Puts several configurations over each other, and tells which one a value came from. Objects are merged key by key;
 * everything else (lists too) is replaced by the later one, also by `null`. Subtrees that only one of them has stay
 * the same objects, and so does what was merged from the same two objects the time before.
 */
import { isObject, type Json, type JsonObject, type Path } from '../../json.ts'

/** What was merged from what, kept for the next time. */
export interface Merged {
  /** Those that have a say: nothing shows through from below one that is not an object. */
  readonly from: readonly Json[]
  readonly config: Json
  /** By key, where more than one of them has it. */
  readonly below: ReadonlyMap<string, Merged>
}

/**
 * Merges all, later over earlier, looking once at each: a directory may hold thousands. At least one configuration.
 * @param before what came of it the time before.
 */
export function mergeAll(configs: readonly Json[], before: Merged | undefined): Merged {
  const opaque = configs.findLastIndex((config) => !isObject(config))
  const from = configs.slice(Math.min(opaque + 1, configs.length - 1))
  if (before && from.length === before.from.length && from.every((each, i) => each === before.from[i])) return before
  const below = new Map<string, Merged>()
  const [first] = from
  if (from.length === 1 || !isObject(first)) return { from, config: from.at(-1) as Json, below }
  const out: Record<string, Json> = { ...first }
  const met = new Map<string, Json[]>()
  for (const over of from.slice(1) as JsonObject[]) {
    for (const [key, value] of Object.entries(over)) {
      const values = met.get(key)
      if (values) values.push(value)
      else if (Object.hasOwn(out, key)) met.set(key, [out[key] as Json, value])
      else out[key] = value
    }
  }
  for (const [key, values] of met) {
    const merged = mergeAll(values, before?.below.get(key))
    below.set(key, merged)
    out[key] = merged.config
  }
  return { from, config: sameOr(before?.config, out), below }
}

/** `before`, if it has the very same entries. */
export function sameOr(before: Json | undefined, after: JsonObject): JsonObject {
  if (!isObject(before)) return after
  const keys = Object.keys(after)
  if (Object.keys(before).length !== keys.length) return after
  return keys.every((key) => before[key] === after[key]) ? before : after
}

/** The last of `configs` that has a say in the value at `path`; `undefined` if there is no such value. */
export function contributor(configs: readonly Json[], path: Path): number | undefined {
  let layers = configs.map((value, index) => ({ value: value as Json | undefined, index }))
  for (const step of path) {
    const top = layers.at(-1)
    if (!top) return undefined
    // Below something that is not an object nothing shows through.
    const opaque = layers.findLastIndex((layer) => !isObject(layer.value))
    if (opaque === layers.length - 1) layers = [top]
    else if (opaque >= 0) layers = layers.slice(opaque + 1)
    layers = layers
      .map(({ value, index }) => ({ value: child(value, step), index }))
      .filter((layer) => layer.value !== undefined)
  }
  return layers.at(-1)?.index
}

function child(value: Json | undefined, step: string | number): Json | undefined {
  if (Array.isArray(value)) return value[Number(step)]
  return isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined
}
