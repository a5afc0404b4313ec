/** What the tests of writers share. */
import { test } from 'vitest'
import { testWriter, type WriterFactory } from '../src/testing/index.ts'

/** @param skipped why none of them can run here, such as a server that is not installed. */
export function writerTests(factory: WriterFactory, skipped?: string): void {
  for (const { name, skip, run } of testWriter(factory)) {
    const why = skipped ?? skip
    test.skipIf(why !== undefined)(`${name}${why === undefined ? '' : ` (skipped: ${why})`}`, run, 60_000)
  }
}
