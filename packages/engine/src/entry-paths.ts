/**
 * Paths whose steps are keys of entries, and the same with indexes: which entry of a keyed collection is meant, before
 * and after others came and went.
 */
import { at, covers, isArray, isObject, parsePath, type Json, type Path } from './json.ts'

/**
 * `after` with each of the `held` paths as it is in `before`. Shares everything else. Looks once at each list, however
 * many of its entries are held.
 * @param keys arrays by dotted path pattern whose steps are entry keys.
 */
export function holdBack(
  after: Json,
  before: Json,
  held: readonly Path[],
  keys: Readonly<Record<string, string>>,
): Json {
  return hold(after, before, held, [], keys) ?? after
}

/** @param held paths from here on; @param here where that is. */
function hold(
  after: Json | undefined,
  before: Json | undefined,
  held: readonly Path[],
  here: Path,
  keys: Readonly<Record<string, string>>,
): Json | undefined {
  if (held.some((path) => path.length === 0)) return before
  const byStep = new Map<string, Path[]>()
  for (const path of held) {
    const step = String(path[0])
    byStep.set(step, [...(byStep.get(step) ?? []), path])
  }
  const deeper = (step: string, now: Json | undefined, was: Json | undefined) =>
    hold(
      now,
      was,
      (byStep.get(step) ?? []).map((path) => path.slice(1)),
      [...here, step],
      keys,
    )
  if (isArray(after)) {
    const field = keyOf(here, keys)
    const old = new Map(isArray(before) ? before.map((entry, i) => [stepOf(entry, i, field), entry]) : [])
    return after.map((entry, i) => {
      const step = stepOf(entry, i, field)
      // An entry cannot be taken out or put in by itself: who cannot take that holds the whole list.
      return byStep.has(step) ? (deeper(step, entry, old.get(step)) ?? entry) : entry
    })
  }
  const out: Record<string, Json> = isObject(after) ? { ...after } : {}
  for (const step of byStep.keys()) {
    const was = isObject(before) && Object.hasOwn(before, step) ? before[step] : undefined
    const value = deeper(step, Object.hasOwn(out, step) ? out[step] : undefined, was)
    if (value === undefined) delete out[step]
    else out[step] = value
  }
  return after === undefined && Object.keys(out).length === 0 ? undefined : out
}

function stepOf(entry: Json, index: number, field: string | undefined): string {
  return String(field === undefined ? index : isObject(entry) ? entry[field] : undefined)
}

/** A path whose steps may be entry keys, with indexes instead; `undefined` where there is no such entry. */
export function indexed(config: Json, path: Path, keys: Readonly<Record<string, string>>): Path | undefined {
  const out: (string | number)[] = []
  let value: Json | undefined = config
  for (const [depth, step] of path.entries()) {
    if (isArray(value)) {
      const key = keyOf(path.slice(0, depth), keys)
      const index: number =
        key === undefined
          ? Number(step)
          : value.findIndex((entry) => isObject(entry) && String(entry[key]) === String(step))
      if (!(index >= 0)) return undefined
      out.push(index)
      value = value[index]
    } else {
      out.push(step)
      value = isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined
    }
  }
  return out
}

/** The reverse of `indexed`: entries of keyed collections by their key. */
export function namedPath(config: Json, path: Path, keys: Readonly<Record<string, string>>): Path {
  return path.map((step, depth) => {
    const above = path.slice(0, depth)
    const key = keyOf(above, keys)
    if (key === undefined) return step
    const entry = at(config, [...above, step])
    const name = isObject(entry) ? entry[key] : undefined
    return typeof name === 'string' || typeof name === 'number' ? String(name) : step
  })
}

function keyOf(path: Path, keys: Readonly<Record<string, string>>): string | undefined {
  for (const [pattern, key] of Object.entries(keys)) {
    const steps = parsePath(pattern)
    if (steps.length === path.length && covers(steps, path)) return key
  }
  return undefined
}
