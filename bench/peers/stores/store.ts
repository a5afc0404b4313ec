/** What the benchmark of sources asks of a store, and what the stores beside this file have in common. */
import type { Source, Trigger } from 'midflight'

/** One key, or all below a prefix. */
export type Place = { readonly key: string } | { readonly prefix: string }
export type OnValue = (key: string, value: Uint8Array) => void

export interface Store {
  readonly separator: string
  put(key: string, value: string): Promise<unknown>
  /** At most 64 keys at once, where one by one takes long. */
  putAll?(keys: readonly string[], value: string): Promise<unknown>
  source(place: Place): Source & Trigger
  /** The client's own watch: what is there, and then each change. Settles once it follows. */
  watch(place: Place, onValue: OnValue): Promise<() => Promise<void> | void>
  close(): Promise<void>
}

export function nameOf(place: Place): string {
  return 'key' in place ? place.key : place.prefix
}

/** @returns ends it */
export function looping(look: () => Promise<void>, over: AbortController): () => Promise<void> {
  const run = (async () => {
    while (!over.signal.aborted) await look()
  })().catch((error: unknown) => {
    if (!over.signal.aborted) throw error
  })
  return () => {
    over.abort()
    return run
  }
}

export type Callback<Answer> = (error: unknown, answer: Answer) => void

export function answered<Answer>(start: (done: Callback<Answer>) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    start((error, answer) =>
      error ? reject(error instanceof Error ? error : new Error(String(error))) : resolve(answer),
    )
  })
}
