/** What is brought from one place to another: a document, and the keys that it becomes where each value has its own. */
import { pathText, type Json } from 'midflight'
import { Refusal } from '../refusal.ts'
import type { Layout } from './place.ts'

export interface Content {
  readonly config: Json
  /** Where it was written key by key: so it stays, key by key. */
  readonly pieces: readonly Piece[] | undefined
}

interface Piece {
  readonly path: readonly string[]
  readonly value: Json
}

/**
 * The keys of a place and their values. A document becomes a key for each of its values; lists stay whole.
 * @throws Refusal where a key would be read as another path, or there is nothing: that is never a removal of all.
 */
export function keysOf({ config, pieces }: Content, layout: Layout & { kind: 'keys' }): Map<string, Json> {
  const { prefix, separator, names } = layout
  const keys = new Map<string, Json>()
  for (const { path, value } of pieces ?? leaves(config, [])) {
    const bad = path.find((step) => step === '' || step.includes(separator))
    if (path.length === 0 || bad !== undefined) {
      const where = path.length === 0 ? 'what is there is no object' : `${pathText(path)} has a step`
      throw new Refusal(
        'refused',
        `${where}${bad === undefined ? '' : ` that is empty or holds ${JSON.stringify(separator)}`}; it cannot become a key`,
        'one key can hold the document as a whole: leave out the separator at the end of the place',
      )
    }
    if (names && path.length > 1) {
      throw new Refusal(
        'refused',
        `${pathText(path)} lies below another name, and the keys of this place are no tree; nothing was written`,
        'one key can hold the document as a whole: name it at the end of the place',
      )
    }
    if (names && !names.fit(path.join())) {
      const what = `${pathText(path)} cannot be the name of a key; want ${names.want}`
      throw new Refusal('refused', `${what}; nothing was written`)
    }
    keys.set(prefix + path.join(separator), value)
  }
  if (keys.size === 0) throw new Refusal('refused', 'there is nothing to bring; an empty source removes nothing')
  return keys
}

function* leaves(value: Json, path: readonly string[]): Generator<Piece> {
  const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
  if (entries.length === 0 && (path.length > 0 || typeof value !== 'object')) yield { path, value }
  for (const [step, below] of entries) yield* leaves(below as Json, [...path, step])
}
