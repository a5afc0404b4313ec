/**
 * Checks an audit log link by link, away from the control plane that keeps it: each entry holds the SHA-256 of the hash
 * before it and of its own canonical text (RFC 8785).
 */
import { createHash } from 'node:crypto'
import { canonicalText } from 'midflight/protocol'
import type { AuditEntry } from './records.ts'

export interface AuditHead {
  readonly number: number
  readonly hash: string
}

/** Where every chain begins. */
export const chainStart: AuditHead = { number: 0, hash: '0'.repeat(64) }

/** Why an entry does not follow on `head`, or `undefined`. */
export function brokenLink(entry: AuditEntry, head: AuditHead): string | undefined {
  const { number, at, actor, action, config, detail, prev, hash } = entry
  if (number !== head.number + 1) return `is missing: entry ${number} stands in its place`
  if (prev !== head.hash) return `does not link to entry ${head.number}: one of the two was changed`
  const text = canonicalText({ number, at, actor, action, config, detail })
  const wanted = createHash('sha256').update(prev).update(text).digest('hex')
  return hash === wanted ? undefined : 'does not have its hash: it was changed'
}
