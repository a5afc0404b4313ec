/**
 * JSON and JSONC: `JSON.parse` for the tree, one pass over the bytes for what it lets through, and a slow exact
 * reader for the place of what is wrong. Reading only what changed since last time is `json-incremental.ts`.
 */
import type { Buffer } from 'node:buffer'
import { vouch, type Json } from '../json.ts'
import { SourceError } from '../source.ts'
import { JsonChecker, type Check } from './json-check.ts'
import type { Nested } from './json-noted.ts'
import { diagnoseJson } from './json-diagnose.ts'
import { skipSpace } from './json-locate.ts'
import type { SourceText } from './source-text.ts'

export interface JsonText {
  readonly config: Json
  /** The text as JSON: for JSONC, with comments blanked. */
  readonly bytes: Buffer
  /** Where the entries of large containers are, if there are any. */
  readonly root: Nested | undefined
  readonly mayHaveReferences: boolean
  /** Some string holds a `$` that was written as an escape. */
  readonly escapedDollar: boolean
}

/** @param bytes the text of `source`, with what is not JSON blanked in place */
export function parseJson(source: SourceText, bytes: Buffer, maxDepth: number): JsonText {
  if (skipSpace(bytes, 0) === bytes.length) throw source.emptiness()
  const text = bytes === source.bytes ? source.text() : bytes.toString()
  let config: Json
  try {
    config = JSON.parse(text) as Json
  } catch (error) {
    throw refused(source, text, maxDepth, error)
  }
  const check = checked(bytes, maxDepth)
  if (!check.clean) {
    const issue = diagnoseJson(source, text, maxDepth)
    if (issue) throw new SourceError([issue])
  }
  const { root, escapedDollar } = check
  if (check.clean && check.safeNumbers) vouch(config, check.extent)
  return { config, bytes, root, escapedDollar, mayHaveReferences: escapedDollar || bytes.includes(36) }
}

/**
 * Of the last text: the next one mostly has the same keys, and it costs more to learn them than to see that. Also, were
 * there none between two texts, the engine would forget the shape of such an object, and with it the compiled loop.
 */
let checker = new JsonChecker()

function checked(bytes: Buffer, maxDepth: number): Check {
  const check = checker.check(bytes, maxDepth)
  if (!checker.isReusable) checker = new JsonChecker()
  return check
}

function refused(source: SourceText, text: string, maxDepth: number, cause: unknown): SourceError {
  const issue = diagnoseJson(source, text, maxDepth)
  if (issue) return new SourceError([issue], { cause })
  return source.refusal('syntax', 0, `is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
}
