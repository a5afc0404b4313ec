/** A source whose document is set by hand: for tests, and for programs that make their configuration themselves. */
import type { Json } from '../json.ts'
import { copyOf } from '../snapshot.ts'
import { SourceError, type Document, type Source } from '../source.ts'

export interface MemorySource extends Source {
  /** The next load gives this. Asks for no reload: call `engine.reload()`. */
  set(config: Json): void
  /** The next loads fail with this, until `set`. */
  fail(message: string, options?: { readonly transient?: boolean }): void
  /** How often `load` was called. */
  readonly loads: number
}

export function memory(config: Json, name = 'memory'): MemorySource {
  let document = documentOf(config, name)
  let loads = 0
  return {
    name,
    get loads() {
      return loads
    },
    set(next) {
      document = documentOf(next, name)
    },
    fail(message, options = {}) {
      document = new SourceError([{ code: 'unreadable', path: [], message, origin: { file: name } }], options)
    },
    async load() {
      loads++
      if (document instanceof SourceError) throw document
      return document
    },
  }
}

function documentOf(config: Json, name: string): Document | SourceError {
  const copied = copyOf(config)
  if ('copy' in copied) return { config: copied.copy }
  return new SourceError(copied.issues.map((issue) => ({ ...issue, origin: { file: name } })))
}
