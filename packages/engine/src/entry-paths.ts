/**
 * Paths whose steps are keys of entries, and the same with indexes: which entry of a keyed collection is meant, before
 * and after others came and went.
 */
import { at, covers, isArray, isObject, parsePath, type Json, type Path } from './json.ts'

/**
 * `after` with each of the `held` paths as it is in `before`. Shares everything else.
 * @param keys arrays by dotted path pattern whose steps are entry keys.
 */
export function holdBack(
  after: Json,
  before: Json,
  held: readonly Path[],
  keys: Readonly<Record<string, string>>,
): Json {
  return held.reduce<Json>((config, path) => {
    const source = indexed(before, path, keys)
    const target = indexed(config, path, keys)
    // An entry that is gone altogether has nothing to hold back.
    return target ? put(config, target, source && at(before, source)) : config
  }, after)
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

function put(root: Json, path: Path, value: Json | undefined): Json {
  const [step, ...rest] = path
  if (step === undefined) return value ?? root
  if (isArray(root)) return root.map((entry, i) => (i === Number(step) ? put(entry, rest, value) : entry))
  const own = isObject(root) ? root : {}
  const { [step]: below, ...others } = own
  if (rest.length === 0) return value === undefined ? others : { ...own, [step]: value }
  return { ...own, [step]: put(below ?? {}, rest, value) }
}
