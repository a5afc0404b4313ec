/**
 * What the corpora of other projects expect, held against what we do. Where the two differ, the case stands in
 * `test/corpora/*-disagreements.json` with our behaviour and the reason for it; a case that differs without being
 * listed fails, and so does a listed one that no longer differs.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import type { Json } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { defaultLimits, parseText, type Format } from '../src/text/parse.ts'

export type Outcome = { readonly config: Json } | { readonly refused: string }

/** Our reading of one case. A refusal must have a code, and the line and column that a user needs. */
export async function outcome(format: Format, text: string | Uint8Array): Promise<Outcome> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  try {
    const parsed = await parseText(bytes, { file: `case.${format}`, format, limits: defaultLimits })
    return { config: parsed.config }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    const [issue] = error.issues
    expect(issue?.origin, error.message).toMatchObject({ line: expect.any(Number), column: expect.any(Number) })
    return { refused: issue?.code ?? 'nothing' }
  }
}

/** What we do, if it is not what the corpus expects: a value, `refusal`, or `either` for a case left open. */
export function disagreement(ours: Outcome, expected: { config: unknown } | 'refusal' | 'either'): string | undefined {
  const refused = 'refused' in ours ? `refuses: ${ours.refused}` : undefined
  if (expected === 'either') return refused ?? 'accepts'
  if (expected === 'refusal') return refused === undefined ? 'accepts' : undefined
  if (refused !== undefined) return refused
  return 'config' in ours && isDeepStrictEqual(ours.config, expected.config) ? undefined : 'reads another value'
}

export function expectListed(format: 'json' | 'yaml' | 'toml', found: ReadonlyMap<string, string>): void {
  const file = new URL(`../../../test/corpora/${format}-disagreements.json`, import.meta.url)
  const listed = JSON.parse(readFileSync(file, 'utf8')) as Record<string, { ours: string; why: string }>
  const behaviours = Object.fromEntries(Object.entries(listed).map(([name, { ours }]) => [name, ours]))
  expect(Object.fromEntries(found)).toEqual(behaviours)
  for (const [name, { why }] of Object.entries(listed)) expect(why, name).toMatch(/\w{3}/)
}
