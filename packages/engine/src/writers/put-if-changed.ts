/**
 * Put if changed: reads what is there, compares what it says, and writes only what says something else, and only where
 * nobody else has written in between. Pure policy, and its one home; how a store is read and written is its writer.
 */
import { Buffer } from 'node:buffer'
import { backoffMs, errorText, pause } from '../deadline.ts'
import { digest } from '../digest.ts'
import type { Json } from '../json.ts'
import { isJsonValue, keyValueText } from '../text/key-value.ts'
import { defaultLimits, parseText } from '../text/parse.ts'
import { checkedText } from '../text/source-text.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

/**
 * How a value stands in its key. `json`: the whole document, as JSON. `auto`: one value of many, as sources read the
 * keys below a prefix: text as it stands, everything else as JSON.
 */
export type ValueForm = 'json' | 'auto'

export interface PutOptions {
  /** Default `json`. */
  readonly form?: ValueForm
  /** Writes without comparing, also what says the same. Without `expected` over whatever is there. */
  readonly force?: boolean
  /** Writes only where the key is so. Default: as it was when it was compared. */
  readonly expected?: Expected
  /** How often it is compared and written again after somebody else was faster, 0 to 100, default 0. Not with `expected`. */
  readonly retries?: number
  /** What the key held a moment ago, so that it is not read first. `null`: it was not there. */
  readonly last?: Stored | null
  readonly signal?: AbortSignal
}

/** What a key holds. `unreadable`: what is there is no JSON, so it is something else than any value. */
export type Found =
  | { readonly kind: 'absent' }
  | { readonly kind: 'value'; readonly digest: string; readonly revision: string }
  | { readonly kind: 'unreadable'; readonly why: string; readonly revision: string }

export type Put =
  /** It says this already; nothing was written. */
  | { readonly kind: 'unchanged'; readonly digest: string; readonly revision: string }
  | {
      readonly kind: 'written'
      readonly digest: string
      readonly revision: string
      /** What was there. Undefined where it was not looked at. */
      readonly before: Found | undefined
      /** Why somebody else's write at the same moment would not have been noticed. */
      readonly unguarded?: string
    }
  /** It was not as expected, or somebody else was faster. Nothing was written; `now` is what is there. */
  | { readonly kind: 'conflict'; readonly digest: string; readonly now: Found }

const never = new AbortController().signal
const maxRetries = 100

/**
 * Makes `value` what `key` says. The order of an object's keys is no difference; that of a list is, and so is the type
 * of a value. Where the store lacks compare-and-set, what is written is told to be `unguarded`.
 *
 * It may be called again after an error: what was written after all is `unchanged` then.
 * @throws WriteError; RangeError if an option is out of range, or `value` is not JSON data.
 */
export async function putIfChanged(writer: Writer, key: string, value: Json, options: PutOptions = {}): Promise<Put> {
  const { form = 'json', force = false, expected, last, retries = 0, signal = never } = options
  if (!(retries >= 0 && retries <= maxRetries)) {
    throw new RangeError(`retries is ${retries}; want 0 to ${maxRetries}`)
  }
  const wanted: Wanted = { digest: digest(value), bytes: Buffer.from(valueText(value, form)), form }
  if (force) {
    const written = await writer.write(key, wanted.bytes, expected ?? 'any', signal)
    if (written.kind === 'conflict') return lost(writer, key, wanted, signal)
    return { ...written, digest: wanted.digest, before: undefined }
  }
  refuseBlind(writer, expected)
  let stored = last === undefined ? await writer.read(key, signal) : (last ?? undefined)
  for (let attempt = 0; ; attempt++) {
    const put = await compareAndWrite(writer, key, wanted, stored, expected, signal)
    if (put.kind !== 'conflict' || expected !== undefined || attempt >= retries) return put
    await pause(backoffMs(attempt, 10, 1_000), signal)
    stored = await writer.read(key, signal)
  }
}

interface Wanted {
  readonly digest: string
  readonly bytes: Uint8Array
  readonly form: ValueForm
}

async function compareAndWrite(
  writer: Writer,
  key: string,
  wanted: Wanted,
  stored: Stored | undefined,
  expected: Expected | undefined,
  signal: AbortSignal,
): Promise<Put> {
  const before = await foundIn(key, stored, wanted.form)
  const { digest } = wanted
  if (before.kind === 'value' && before.digest === digest) {
    return { kind: 'unchanged', digest, revision: before.revision }
  }
  const unguarded = writer.lacks.compare
  const asFound = before.kind === 'absent' ? 'absent' : { revision: before.revision }
  const guard = expected ?? (unguarded === undefined ? asFound : 'any')
  const written = await writer.write(key, wanted.bytes, guard, signal)
  if (written.kind === 'conflict') return lost(writer, key, wanted, signal)
  return { ...written, digest, before, ...(guard === 'any' && unguarded !== undefined && { unguarded }) }
}

/** Somebody else was faster. If they wrote the same, it is as it should be. */
async function lost(writer: Writer, key: string, { digest, form }: Wanted, signal: AbortSignal): Promise<Put> {
  const now = await foundIn(key, await writer.read(key, signal), form)
  if (now.kind === 'value' && now.digest === digest) return { kind: 'unchanged', digest, revision: now.revision }
  return { kind: 'conflict', digest, now }
}

function refuseBlind({ name, lacks }: Writer, expected: Expected | undefined): void {
  if (lacks.read !== undefined) {
    throw new WriteError('refused', `${name} cannot be compared with: ${lacks.read}; it can be written by force`)
  }
  if (lacks.compare !== undefined && expected !== undefined && expected !== 'any') {
    throw new WriteError('refused', `${name} cannot be written only where it is as expected: ${lacks.compare}`)
  }
}

/** What a key says. Never throws for what others wrote. */
export async function foundIn(key: string, stored: Stored | undefined, form: ValueForm): Promise<Found> {
  if (stored === undefined) return { kind: 'absent' }
  const { value, revision } = stored
  try {
    return { kind: 'value', digest: digest(await valueIn(key, value, form)), revision }
  } catch (error) {
    return { kind: 'unreadable', why: errorText(error), revision }
  }
}

/** @throws SourceError for what is no JSON. */
async function valueIn(key: string, bytes: Uint8Array, form: ValueForm): Promise<Json> {
  const limits = defaultLimits
  if (form === 'auto') {
    const text = checkedText(key, bytes, limits.maxBytes).text()
    if (!isJsonValue(text)) return text
  }
  return (await parseText(bytes, { file: key, format: 'json', limits })).config
}

/** What `valueIn` reads as `value`. */
export function valueText(value: Json, form: ValueForm): string {
  return form === 'auto' ? keyValueText(value) : JSON.stringify(value)
}
