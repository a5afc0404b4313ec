/**
 * Puts several configurations over each other, and tells which one a value came from. Objects are merged key by key;
 * everything else (lists too) is replaced by the later one, also by `null`. Subtrees that only one of them has stay
 * the same objects, and so does what was merged from the same two objects the time before.
 */
import { isObject, type Json, type JsonObject, type Path } from '../../json.ts'

/** One step of a merge, kept for the next time. */
export interface Merged {
  readonly under: Json
  readonly over: Json
  readonly out: Json
}

/** Merges all, later over earlier; `previous` are the steps of the time before. At least one configuration. */
export function mergeAll(
  configs: readonly Json[],
  previous: readonly Merged[],
): { config: Json; steps: readonly Merged[] } {
  const steps: Merged[] = []
  let config = configs[0] as Json
  for (const over of configs.slice(1)) {
    const step = { under: config, over, out: merge(config, over, previous[steps.length]) }
    steps.push(step)
    config = step.out
  }
  return { config, steps }
}

function merge(under: Json, over: Json, before: Merged | undefined): Json {
  if (before && before.under === under && before.over === over) return before.out
  if (!isObject(under) || !isObject(over)) return over
  const out: Record<string, Json> = { ...under }
  for (const [key, value] of Object.entries(over)) {
    const below = Object.hasOwn(under, key) ? under[key] : undefined
    out[key] = below === undefined ? value : merge(below, value, childOf(before, key))
  }
  return before ? sameOr(before.out, out) : out
}

function childOf(step: Merged | undefined, key: string): Merged | undefined {
  if (!step || !isObject(step.under) || !isObject(step.over) || !isObject(step.out)) return undefined
  const [under, over, out] = [step.under[key], step.over[key], step.out[key]]
  return under === undefined || over === undefined || out === undefined ? undefined : { under, over, out }
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
