/** All sources read at the same time, and told what came of it. What is made of their documents is `reload.ts`. */
import { DeadlineError, errorText, StoppedError, within } from './deadline.ts'
import type { Issue } from './issue.ts'
import type { Outcome } from './outcome.ts'
import { SourceError, type Document, type Source } from './source.ts'

export type Loaded =
  | { readonly kind: 'documents'; readonly documents: readonly Document[] }
  | { readonly kind: 'failed'; readonly issues: readonly Issue[]; readonly transient: boolean }
  | { readonly kind: 'stopped' }

/** A document to be used as that of a source, in place of what it would load. */
export interface Instead {
  readonly kind: 'instead'
  readonly source: Source
  readonly document: Document
}

/** @param limitMs for each of the sources, in milliseconds. */
export async function load(
  sources: readonly Source[],
  limitMs: number,
  stop: AbortSignal,
  instead?: Instead,
): Promise<Loaded> {
  if (stop.aborted) return { kind: 'stopped' }
  if (sources.length === 0) {
    const issue: Issue = { code: 'empty', path: [], message: 'there is no source to load from' }
    return { kind: 'failed', issues: [issue], transient: false }
  }
  const results = await Promise.allSettled(
    sources.map((source) =>
      source === instead?.source
        ? Promise.resolve(instead.document)
        : within(limitMs, stop, (signal) => read(source, signal)),
    ),
  )
  const documents: Document[] = []
  const failures: { readonly name: string; readonly error: unknown }[] = []
  results.forEach((result, i) => {
    if (result.status === 'fulfilled') documents.push(result.value)
    else failures.push({ name: sources[i]?.name ?? '', error: result.reason })
  })
  if (failures.some(({ error }) => error instanceof StoppedError)) return { kind: 'stopped' }
  if (failures.length === 0) return { kind: 'documents', documents }
  return {
    kind: 'failed',
    issues: failures.flatMap(({ name, error }) => issuesOf(name, error)),
    transient: failures.every(({ error }) => error instanceof SourceError && error.transient),
  }
}

/** @param outcome `undefined` after a dry run. */
export function tellSources(
  sources: readonly Source[],
  outcome: Outcome | undefined,
  warn: (message: string) => void,
): void {
  for (const source of sources) {
    try {
      source.settled?.(outcome)
    } catch (error) {
      warn(`source ${source.name} did not take the outcome: ${errorText(error)}`)
    }
  }
}

async function read(source: Source, signal: AbortSignal): Promise<Document> {
  const document: Document | undefined = await source.load(signal)
  if (typeof document !== 'object' || document === null) throw new TypeError('returned no document')
  return document
}

function issuesOf(name: string, error: unknown): readonly Issue[] {
  if (error instanceof SourceError) return error.issues
  const code = error instanceof DeadlineError ? 'timeout' : 'internal'
  return [{ code, path: [], message: `source ${name} ${errorText(error)}` }]
}
