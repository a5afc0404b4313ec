/** Blame: which release last changed what stands at a path. */
import { at, digest, parsePath, pathText, type Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import { exactPath } from './marks.ts'
import { configIn, releaseIn } from './publish.ts'
import { RefusedError } from './release.ts'
import { marksOf } from './validation.ts'

export interface Blame {
  readonly path: string
  /** The release that made it what it is. */
  readonly release: ReleaseInfo
  /** `since`: it is so at least since then; what was before is no longer kept. */
  readonly kind: 'added' | 'changed' | 'removed' | 'since'
}

/** So many releases are looked at in one read, so that others get their turn. */
const stride = 100

/**
 * @param path dotted. In a list that the schema gives a key (`x-midflight-key`) the step is an entry's key, so that an
 *   entry that only moved was not changed; elsewhere it is the index.
 * @throws RefusedError `not-found` if nothing was ever there, `invalid` if the path cannot be read.
 */
export async function blame(domain: Domain, config: string, path: string): Promise<Blame> {
  const steps = stepsOf(path)
  const { schema, head } = await domain.store.read((read) => configIn(read, config))
  const marks = await marksOf(schema)
  if (head === null) throw new RefusedError('not-found', `${config} has no release yet`)
  const find = (content: Json): Json | undefined => {
    const exact = exactPath(marks, content, steps)
    return exact && at(content, exact)
  }
  /** The oldest release known to hold the same as the head. */
  let number = head.number
  for (;;) {
    const step = await domain.store.read((read): Blame | number => {
      const newest = read.content(config, number)
      // Pruned since the last look, which found it to be the same.
      if (newest === undefined)
        return { path: pathText(steps), release: releaseIn(read, config, number), kind: 'since' }
      const value = find(newest)
      for (let earlier = number; earlier > Math.max(number - stride, 0); earlier--) {
        const made = (kind: Blame['kind']): Blame => ({
          path: pathText(steps),
          release: releaseIn(read, config, earlier),
          kind,
        })
        if (earlier === 1) {
          if (value === undefined) throw new RefusedError('not-found', `${config} never had anything at ${path}`)
          return made('added')
        }
        const before = read.content(config, earlier - 1)
        if (before === undefined) return made('since')
        const old = find(before)
        if (same(old, value)) continue
        return made(old === undefined ? 'added' : value === undefined ? 'removed' : 'changed')
      }
      return number - stride
    })
    if (typeof step !== 'number') return step
    number = step
  }
}

function stepsOf(path: string): string[] {
  try {
    return parsePath(path)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new RefusedError('invalid', error.message)
  }
}

/** Contents share structure where they stand in memory beside each other; what was read anew from disk does not. */
function same(a: Json | undefined, b: Json | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && digest(a) === digest(b))
}
