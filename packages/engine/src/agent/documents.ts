/** The document that an engine is given for a release: the same object each time, where nothing in it can have changed. */
import type { Document } from '../source.ts'
import type { Held } from './node-state.ts'
import type { References } from './references.ts'

export class Documents {
  readonly #references: References | undefined
  #last: { readonly of: Held; readonly document: Document } | undefined

  constructor(references: References | undefined) {
    this.#references = references
  }

  /** @throws SourceError for what it refers to. */
  async of(held: Held, signal: AbortSignal): Promise<Document> {
    // Each time, as what is referred to may have changed.
    if (this.#references) return this.#references.document(held, signal)
    if (this.#last?.of !== held) this.#last = { of: held, document: documentOf(held) }
    return this.#last.document
  }
}

function documentOf({ release, content }: Held): Document {
  const origin = { file: `${release.config} release ${release.number}` }
  return { config: content, origin: () => origin }
}
