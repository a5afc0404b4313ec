/** A source whose document is set by hand: for tests, and for programs that make their configuration themselves. */
import type { Issue } from '../issue.ts'
import type { Json } from '../json.ts'
import { SourceError, type Document, type Source } from '../source.ts'
import type { ReloadRequest, Trigger } from '../trigger.ts'

export interface MemorySource extends Source, Trigger {
  /** The next load gives this; whoever listens to `requests` is told. */
  set(config: Json): void
  /** The next loads fail with this, until `set`. */
  fail(message: string, options?: { readonly transient?: boolean }): void
  /** How often `load` was called. */
  readonly loads: number
}

export function memory(config: Json, name = 'memory'): MemorySource {
  let document: Document | SourceError = { config: structuredClone(config) as Json }
  let loads = 0
  let wake = () => {}
  let asked = false
  const changed = () => {
    asked = true
    wake()
  }
  return {
    name,
    get loads() {
      return loads
    },
    set(next) {
      document = { config: structuredClone(next) as Json }
      changed()
    },
    fail(message, options = {}) {
      const issue: Issue = { code: 'unreadable', path: [], message, origin: { file: name } }
      document = new SourceError([issue], options)
      changed()
    },
    async load() {
      loads++
      if (document instanceof SourceError) throw document
      return document
    },
    async *requests(signal): AsyncGenerator<ReloadRequest> {
      const stop = () => wake()
      signal.addEventListener('abort', stop)
      try {
        while (!signal.aborted) {
          if (asked) {
            asked = false
            yield { trigger: name }
          } else await new Promise<void>((resolve) => (wake = resolve))
        }
      } finally {
        signal.removeEventListener('abort', stop)
      }
    },
  }
}
