/** A place to write to that is an object in memory, for tests of what writes. */
import { WriteError, type Expected, type Stored, type Writer } from '../writers/writer.ts'

/** What several writers may share. */
export interface MemoryPlace {
  readonly entries: Map<string, Stored>
  /** While set, every call fails with it. */
  failure: WriteError | undefined
}

export function memoryPlace(): MemoryPlace {
  return { entries: new Map(), failure: undefined }
}

let revisions = 0

export function memoryWriter(place: MemoryPlace, name = 'memory'): Writer {
  const isAs = (key: string, expected: Expected) => {
    const now = place.entries.get(key)
    if (expected === 'any') return true
    return expected === 'absent' ? now === undefined : now?.revision === expected.revision
  }
  /** As a server would: later, and not at all if it is no longer wanted. */
  const reached = async (signal: AbortSignal) => {
    await new Promise((resolve) => setImmediate(resolve))
    if (signal.aborted) throw new WriteError('unreachable', `${name} was not waited for`)
    if (place.failure) throw place.failure
  }
  return {
    name,
    lacks: {},
    async read(key, signal) {
      await reached(signal)
      return place.entries.get(key)
    },
    async *list(prefix, signal) {
      await reached(signal)
      for (const [key, stored] of [...place.entries]) if (key.startsWith(prefix)) yield { key, ...stored }
    },
    async write(key, value, expected, signal) {
      await reached(signal)
      if (!isAs(key, expected)) return { kind: 'conflict' }
      const revision = String(++revisions)
      place.entries.set(key, { value: Uint8Array.from(value), revision })
      return { kind: 'written', revision }
    },
    async remove(key, expected, signal) {
      await reached(signal)
      if (!isAs(key, expected)) return { kind: 'conflict' }
      return { kind: place.entries.delete(key) ? 'removed' : 'absent' }
    },
    async close() {},
  }
}
