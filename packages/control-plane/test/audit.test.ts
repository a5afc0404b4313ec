/** The audit log: a chain whose broken link is named. */
import { describe, expect, test } from 'vitest'
import { auditHeadText, auditStart, findAuditHead, verifyAudit, verifyEntries } from '../src/audit.ts'
import { domainOf } from '../src/domain.ts'
import type { AuditRecord } from '../src/store.ts'
import { link } from '../src/stores/audit-chain.ts'
import { memory, publishOne, ready, stores } from './domain-rig.ts'

async function threeEntries(): Promise<AuditRecord[]> {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: { a: 1 } })
  await publishOne(domain, { content: { a: 2 } })
  return await domain.store.read((read) => read.audit(undefined, 10))
}

describe.each(stores)('on %s', (_name, open) => {
  test('an untouched log is whole, and every head that was ever shown is found in it', async () => {
    const domain = await ready(await open(), {})
    const heads: string[] = [auditHeadText(auditStart)]
    for (let a = 0; a < 5; a++) {
      await publishOne(domain, { content: { a } })
      heads.push(auditHeadText(await domain.store.read((read) => read.auditHead())))
    }
    const report = await verifyAudit(domain)
    expect(report).toMatchObject({ kind: 'whole', entries: 6, head: { number: 6 } })
    for (const head of heads) expect(await findAuditHead(domain, head)).toBe('known')
    const forged = [`6:${'f'.repeat(64)}`, `9${heads[5]}`, '', 'x', `6:${heads[5]?.slice(2).toUpperCase()}`]
    for (const head of forged) expect(await findAuditHead(domain, head)).toBe('unknown')
  })

  test('more entries than a page are checked, also while others are added', async () => {
    const domain = domainOf({ store: await open() })
    const add = (count: number) =>
      domain.store.transaction((tx) => {
        const entry = { at: '2026-11-20T09:00:00.000Z', actor: 'ada', action: 'test', config: null, detail: {} }
        for (let i = 0; i < count; i++) tx.appendAudit(entry)
      })
    await add(2_500)
    const [report] = await Promise.all([verifyAudit(domain), add(10)])
    expect(report.kind).toBe('whole')
    expect(await verifyAudit(domain)).toMatchObject({ kind: 'whole', entries: 2_510 })
  })
})

test.each<[string, (log: AuditRecord[]) => AuditRecord[], number]>([
  ['a changed actor', (log) => log.with(1, { ...(log[1] as AuditRecord), actor: 'eve' }), 2],
  ['a changed detail', (log) => log.with(1, { ...(log[1] as AuditRecord), detail: { number: 9 } }), 2],
  ['a removed entry', (log) => log.toSpliced(1, 1), 2],
  ['a removed first entry', (log) => log.slice(1), 1],
  ['two entries swapped', (log) => [log[0], log[2], log[1]] as AuditRecord[], 2],
  ['an entry twice', (log) => [log[0], log[1], log[1], log[2]] as AuditRecord[], 3],
  ['a hash of its own', (log) => log.with(2, { ...(log[2] as AuditRecord), hash: 'f'.repeat(64) }), 3],
  [
    'a changed actor, its hash made anew, and the next linked to that',
    ([first, second, third]) => {
      const changed = link({ ...(second as AuditRecord), actor: 'eve' }, first as AuditRecord)
      return [first, changed, { ...third, prev: changed.hash }] as AuditRecord[]
    },
    3,
  ],
  ['another link', (log) => log.with(2, { ...(log[2] as AuditRecord), prev: 'f'.repeat(64) }), 3],
])('%s is found, and the link is named', async (_what, tamper, number) => {
  const report = verifyEntries(tamper(await threeEntries()))
  expect(report).toMatchObject({ kind: 'broken', number })
  expect((report as { why: string }).why).not.toBe('')
})

test('an entry that is whole in itself, but was made for another log, is found', async () => {
  const log = await threeEntries()
  const { prev: _, hash: __, ...second } = log[1] as AuditRecord
  const forged = link(second, { number: 1, hash: 'f'.repeat(64) })
  expect(verifyEntries(log.with(1, forged))).toMatchObject({ kind: 'broken', number: 2 })
})

test('a stretch of the log is checked from where it begins', async () => {
  const log = await threeEntries()
  const [first] = log
  expect(verifyEntries(log.slice(1), first)).toMatchObject({ kind: 'whole', entries: 2, head: { number: 3 } })
})
