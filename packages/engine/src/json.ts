/**
 * The JSON data model and paths into it. Pure; knows nothing of files, schemas or components.
 *
 * A `Path` is the list of steps from the root. In a keyed collection (an array whose entries are known by a
 * declared key) the step is the entry's key, so `['rules', 'r1', 'limit']` names the same thing before and after
 * other rules were inserted. `pathText` prints it as `rules.r1.limit`; `parsePath` reads that back.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [key: string]: Json
}

export type Path = readonly (string | number)[]

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isArray(value: unknown): value is readonly Json[] {
  return Array.isArray(value)
}

/** How much a tree holds. */
export interface Extent {
  /** Values altogether, containers included: not more than this. */
  readonly maxValues: number
  /** Containers inside each other. */
  readonly depth: number
}

const vouchedFor = new WeakMap<object, Extent>()

/**
 * Says of a tree that was just made from a text that it may become a snapshot as far as its extent allows: plain, with
 * well-formed strings, exact numbers and no forbidden key. Who vouches, or has it from one who does, changes nothing in it.
 */
export function vouch(tree: Json, extent: Extent): void {
  if (typeof tree === 'object' && tree !== null) vouchedFor.set(tree, extent)
}

/** What was said of this very object. */
export function vouched(tree: Json): Extent | undefined {
  return typeof tree === 'object' && tree !== null ? vouchedFor.get(tree) : undefined
}

const plain = /^[^\s.[\]"]+$/

/** `['a', 0, 'b.c']` → `a.0["b.c"]`; the root is the empty string. */
export function pathText(path: Path): string {
  let text = ''
  for (const step of path) {
    const part = String(step)
    if (plain.test(part)) text += text === '' ? part : `.${part}`
    else text += `[${JSON.stringify(part)}]`
  }
  return text
}

/**
 * `a.0["b.c"]` → `['a', '0', 'b.c']`. Every step is a string: which steps are indexes is known only with the data.
 * @throws SyntaxError with the offset, if the text is not a path.
 */
export function parsePath(text: string): string[] {
  const steps: string[] = []
  let at = 0
  while (at < text.length) {
    if (text[at] === '[') {
      const quoted = /^\["(?:[^"\\]|\\.)*"\]/.exec(text.slice(at))
      if (!quoted) throw new SyntaxError(`path ${JSON.stringify(text)}, offset ${at}: want ["key"]`)
      steps.push(JSON.parse(quoted[0].slice(1, -1)) as string)
      at += quoted[0].length
      continue
    }
    if (at > 0) {
      if (text[at] !== '.') throw new SyntaxError(`path ${JSON.stringify(text)}, offset ${at}: want "." or ["key"]`)
      at++
    }
    const name = /^[^.[\]"\s]+/.exec(text.slice(at))
    if (!name) throw new SyntaxError(`path ${JSON.stringify(text)}, offset ${at}: want a key`)
    steps.push(name[0])
    at += name[0].length
  }
  return steps
}

/** RFC 6901. */
export function pointerText(path: Path): string {
  return path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/** Reads an RFC 6901 pointer. @throws SyntaxError if it does not start with `/` (the root is the empty string). */
export function parsePointer(pointer: string): string[] {
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw new SyntaxError(`JSON pointer ${JSON.stringify(pointer)} must start with "/"`)
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** The value at a path of object keys and array indexes, or `undefined` where there is none. */
export function at(root: Json, path: Path): Json | undefined {
  let value: Json | undefined = root
  for (const step of path) {
    if (isArray(value)) value = value[Number(step)]
    else if (isObject(value)) value = Object.hasOwn(value, step) ? value[step] : undefined
    else return undefined
  }
  return value
}

/** Whether `pattern` (`*` stands for one step) names `path` itself or something above it. */
export function covers(pattern: Path, path: Path): boolean {
  return pattern.length <= path.length && pattern.every((step, i) => step === '*' || step === String(path[i]))
}

/** Whether a key would reach a prototype when a program assigns it. */
export function isForbiddenKey(key: string): boolean {
  return key === '__proto__'
}
