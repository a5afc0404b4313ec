/** How entries of the audit log are linked: each holds the hash of the one before. Pure; the same for every store. */
import { createHash } from 'node:crypto'
import type { Json, JsonObject } from 'midflight'
import type { AuditEntry, AuditRecord } from '../store.ts'

/** What the first entry links to. */
export const chainStart = '0'.repeat(64)

/** The next record of the log. */
export function link(entry: AuditEntry, head: { readonly number: number; readonly hash: string }): AuditRecord {
  const { at, actor, action, config, detail } = entry
  const record = { number: head.number + 1, at, actor, action, config, detail }
  return { ...record, prev: head.hash, hash: linkHash(head.hash, linkText(record)) }
}

/** The canonical text of an entry: what is hashed, after `prev`. */
export function linkText(record: Omit<AuditRecord, 'prev' | 'hash'>): string {
  const { number, at, actor, action, config, detail } = record
  return canonical({ number, at, actor, action, config, detail })
}

export function linkHash(prev: string, text: string): string {
  return createHash('sha256').update(prev).update(text).digest('hex')
}

/** RFC 8785: keys by UTF-16 code units, no white space, numbers and text as ECMAScript writes them. */
function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = value as JsonObject
  const keys = Object.keys(fields).sort()
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(fields[key] as Json)}`).join(',')}}`
}
