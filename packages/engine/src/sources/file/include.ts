/**
 * One file and what it includes, in the order in which they go over each other: what is included first, then the file
 * that includes, so that a file can change what it takes in. Included files must lie in the directory of the file
 * that the user named, or below it, and so must what their links lead to.
 */
import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import type { Origin } from '../../issue.ts'
import { isArray, isObject, type Json, type JsonObject, type Path } from '../../json.ts'
import { filesMatching, isPattern, type Named } from './glob.ts'
import type { Met } from './met.ts'
import { unreadable } from './read.ts'
import type { Parsed, Reader } from './reader.ts'
import type { Recipe } from './recipe.ts'
import { ledBy, refuse } from './refuse.ts'
import { fill, parseTemplate, pending, UnresolvedReference } from './template.ts'
import { scopeOf, type ScopeOptions } from './variables.ts'

/** One file's part: its configuration without the include key, references not yet replaced. */
export interface Piece extends Parsed {
  readonly config: Json
}

export interface Gathering {
  readonly recipe: Recipe
  readonly reader: Reader
  readonly met: Met
  scopeFor(piece: Parsed): ScopeOptions
}

const maxPieces = 10_000

/** Appends the pieces of `top` to `pieces`. @throws SourceError */
export async function gather(top: Named, gathering: Gathering, pieces: Piece[]): Promise<void> {
  const parsed = await gathering.reader.parsed(top, gathering.recipe.format)
  const tree = dirname(top.path)
  /** Worked out once for each path, and not at all for a file that includes nothing. */
  const reals = new Map<string, string>()
  await take(parsed, [])

  async function take(parsed: Parsed, chain: readonly Named[]): Promise<void> {
    const { includeKey } = gathering.recipe
    const { config } = parsed.text
    const here = [...chain, parsed]
    if (includeKey !== false && isObject(config) && Object.hasOwn(config, includeKey)) {
      for (const { name, path } of includesOf(config[includeKey] as Json, includeKey, parsed)) {
        const origin = parsed.text.origin(path) ?? { file: parsed.file }
        const plain = withVariables(name, parsed, path, origin, gathering)
        for (const named of await filesOf(plain, parsed, path, origin)) await takeIncluded(named, here, path, origin)
      }
    }
    if (pieces.length >= maxPieces)
      throw refuse('limit', { file: parsed.file }, `is one of more than ${maxPieces} included files`)
    pieces.push({ ...parsed, config: withoutKey(config, includeKey) })
  }

  async function filesOf(name: string, from: Parsed, path: Path, origin: Origin): Promise<readonly Named[]> {
    const named = {
      path: resolve(dirname(from.path), name),
      file: isAbsolute(name) ? name : join(dirname(from.file), name),
    }
    // Before any directory is read: a pattern must not look outside either.
    if (!within(tree, named.path)) {
      throw refuse(
        'reference',
        origin,
        `includes ${name}, which is outside of ${dirname(top.file)}; want a file in it or below`,
        { path },
      )
    }
    if (!isPattern(name)) return [named]
    const found = await filesMatching(name, dirname(from.path), gathering.met.listed)
    return found.map((each) => ({
      path: each.path,
      file: isAbsolute(name) ? each.file : join(dirname(from.file), each.file),
    }))
  }

  async function takeIncluded(named: Named, chain: readonly Named[], path: Path, origin: Origin): Promise<void> {
    const cycle = chain.findIndex((each) => each.path === named.path)
    if (cycle >= 0) {
      const names = [...chain.slice(cycle), named].map((each) => each.file)
      throw refuse('reference', origin, `includes itself: ${names.join(' → ')}`, { path })
    }
    try {
      const real = await realOf(named.path, named.file).catch((error: unknown) => {
        gathering.met.failed(named.path, error)
        throw error
      })
      if (!within(await realOf(tree, dirname(top.file)), real)) {
        throw refuse(
          'reference',
          { file: named.file },
          `is a link that leads outside of ${dirname(top.file)}; want a file in it or below`,
        )
      }
      for (const each of chain) {
        if ((await realOf(each.path, each.file)) !== real) continue
        throw refuse(
          'reference',
          { file: named.file },
          `includes itself: ${[...chain, named].map((each) => each.file).join(' → ')}`,
        )
      }
      // Opened where the link led when it was checked, so that it cannot be turned round in between.
      await take(await gathering.reader.parsed(named, undefined, real), chain)
    } catch (error) {
      throw ledBy(error, origin)
    }
  }

  async function realOf(path: string, file: string): Promise<string> {
    try {
      const real = reals.get(path) ?? (await realpath(path))
      reals.set(path, real)
      return real
    } catch (error) {
      throw unreadable(file, error)
    }
  }
}

function includesOf(value: Json, key: string, from: Parsed): readonly { name: string; path: Path }[] {
  const list = isArray(value) ? value : [value]
  return list.map((name, i) => {
    const path = isArray(value) ? [key, i] : [key]
    if (typeof name === 'string' && name !== '') return { name, path }
    const origin = from.text.origin(path) ?? { file: from.file }
    const hint = 'if the key is one of your own, give the option `includeKey`'
    throw refuse('reference', origin, 'is not a file name; want a file name, or a list of them', { path, hint })
  })
}

function withVariables(
  name: string,
  from: Parsed,
  path: Path,
  origin: Origin,
  { recipe, scopeFor }: Gathering,
): string {
  if (recipe.variables === false || !name.includes('$')) return name
  try {
    const value = fill(parseTemplate(name), scopeOf({ ...scopeFor(from), wanted: new Set() }))
    if (!value.secret) return value.text
  } catch (error) {
    if (error instanceof UnresolvedReference) throw refuse('reference', origin, error.message, { path })
    if (error !== pending) throw error
  }
  throw refuse('reference', origin, 'refers to a secret; want a file name that may be shown', { path })
}

const stripped = new WeakMap<JsonObject, JsonObject>()

/** The same object for the same configuration. */
function withoutKey(config: Json, key: string | false): Json {
  if (key === false || !isObject(config) || !Object.hasOwn(config, key)) return config
  let without = stripped.get(config)
  if (!without) {
    without = Object.fromEntries(Object.entries(config).filter(([name]) => name !== key))
    stripped.set(config, without)
  }
  return without
}

function within(directory: string, path: string): boolean {
  const way = relative(directory, path)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
