/**
 * The audit log as a chain: each entry holds the hash of the one before, so none can be changed, removed or put in
 * between without changing all that follow. That the whole chain was not made anew, or its end cut off, only those can
 * tell who have been shown a head: the nodes keep one. How entries are linked is `stores/audit-chain.ts`.
 */
import type { Domain } from './domain.ts'
import { chainStart, linkHash, linkText } from './stores/audit-chain.ts'
import type { AuditRecord } from './store.ts'

export interface AuditHead {
  readonly number: number
  readonly hash: string
}

export type AuditReport =
  | { readonly kind: 'whole'; readonly entries: number; readonly head: AuditHead }
  /** `number` is the first entry that does not follow from the one before. */
  | { readonly kind: 'broken'; readonly number: number; readonly why: string }

/** Where every chain begins. */
export const auditStart: AuditHead = { number: 0, hash: chainStart }

/** Checks a stretch of the log that follows on `from`. Pure: also for a log that was exported. */
export function verifyEntries(entries: Iterable<AuditRecord>, from: AuditHead = auditStart): AuditReport {
  let head = from
  let count = 0
  for (const entry of entries) {
    const why = brokenLink(entry, head)
    if (why !== undefined) return { kind: 'broken', number: head.number + 1, why }
    head = { number: entry.number, hash: entry.hash }
    count++
  }
  return { kind: 'whole', entries: count, head }
}

function brokenLink(entry: AuditRecord, head: AuditHead): string | undefined {
  if (entry.number !== head.number + 1) return `entry ${entry.number} stands where ${head.number + 1} should`
  if (entry.prev !== head.hash) return `does not link to entry ${head.number}: that one was changed, or this one`
  if (linkHash(entry.prev, linkText(entry)) !== entry.hash) return 'does not have its hash: it was changed'
  return undefined
}

const pageSize = 1000

/** Checks the whole log, page by page. */
export async function verifyAudit(domain: Domain): Promise<AuditReport> {
  // First, so that what is added meanwhile is not taken for missing.
  const kept = await domain.store.read((read) => read.auditHead())
  let head = auditStart
  for (;;) {
    const page = await domain.store.read((read) => read.audit(head.number, pageSize))
    const report = verifyEntries(page, head)
    if (report.kind === 'broken') return report
    head = report.head
    if (page.length < pageSize) break
  }
  if (kept.number > head.number) {
    return { kind: 'broken', number: head.number + 1, why: `is missing: the log once had ${kept.number} entries` }
  }
  return { kind: 'whole', entries: head.number, head }
}

/** As it travels to the nodes and back. */
export function auditHeadText({ number, hash }: AuditHead): string {
  return `${number}:${hash}`
}

/** Whether a head that somebody was shown is in the log. `unknown`: the log was made anew or cut off since, or a lie. */
export async function findAuditHead(domain: Domain, text: string): Promise<'known' | 'unknown'> {
  const [, digits = '', hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? []
  const number = Number(digits)
  if (hash === undefined) return 'unknown'
  if (number === 0) return hash === chainStart ? 'known' : 'unknown'
  const [entry] = await domain.store.read((read) => read.audit(number - 1, 1))
  return entry?.number === number && entry.hash === hash ? 'known' : 'unknown'
}
