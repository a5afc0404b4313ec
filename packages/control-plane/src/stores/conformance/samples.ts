/** Records to try stores with: one maker for each kind. */
import { digest, type Json, type JsonObject } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type {
  AttemptRecord,
  AuditEntry,
  ConfigRecord,
  DraftRecord,
  NodeRecord,
  Store,
  StoreRead,
  StoreTx,
  TokenRecord,
} from '../../store.ts'

export const sample = { config: 'shop/gateway/prod', at: '2026-01-01T00:00:00.000Z' } as const

export function configOf(name: string = sample.config): Omit<ConfigRecord, 'head'> {
  return { name, createdAt: sample.at, schema: { type: 'object' }, rules: [], reviewers: 0 }
}

export function releaseOf(number: number, content: Json, config: string = sample.config): ReleaseInfo {
  return {
    config,
    number,
    digest: digest(content),
    parent: number === 1 ? null : number - 1,
    createdAt: new Date(Date.parse(sample.at) + number * 1000).toISOString(),
    author: 'ada',
    message: `number ${number}`,
    kind: 'publish',
  }
}

/** Adds the next release. */
export function publish(tx: StoreTx, content: Json, config: string = sample.config): ReleaseInfo {
  const release = releaseOf((tx.config(config)?.head?.number ?? 0) + 1, content, config)
  tx.addRelease(release, content)
  return release
}

/** A content large enough to be kept as patches. */
export function rulesOf(count: number, changes: Readonly<Record<number, number>> = {}): JsonObject {
  return {
    rules: Array.from({ length: count }, (_, i) => ({ id: `r${i}`, limit: changes[i] ?? 100, path: `/api/${i}` })),
  }
}

export function nodeOf(uid: string, over: Partial<NodeRecord> = {}): NodeRecord {
  return {
    uid,
    config: sample.config,
    labels: { zone: 'a' },
    agent: { name: 'midflight', version: '1' },
    runs: null,
    seen: null,
    status: 'UNSET',
    firstSeenAt: sample.at,
    lastSeenAt: sample.at,
    leaseUntil: sample.at,
    ...over,
  }
}

export function attemptOf(uid: string, number: number, over: Partial<AttemptRecord> = {}): AttemptRecord {
  return { uid, config: sample.config, number, digest: 'd', status: 'APPLIED', attempt: 1, at: sample.at, ...over }
}

export function draftOf(id: string, content: Json, over: Partial<DraftRecord> = {}): DraftRecord {
  const { config, at } = sample
  const own = { id, config, base: null, digest: digest(content), author: 'ada', message: '', approvals: [] }
  return { ...own, createdAt: at, updatedAt: at, status: 'open', ...over }
}

export function tokenOf(id: string, over: Partial<TokenRecord> = {}): TokenRecord {
  const own = { id, hash: `hash-of-${id}`, name: 'ci', role: 'publisher', prefix: 'shop', createdBy: 'ada' } as const
  return { ...own, createdAt: sample.at, expiresAt: null, revokedAt: null, ...over }
}

export const auditEntry: AuditEntry = {
  at: sample.at,
  actor: 'ada',
  action: 'publish',
  config: sample.config,
  detail: { a: 'é' },
}

/** One of each kind of record. */
export async function fill(store: Store): Promise<void> {
  await store.transaction((tx) => {
    tx.putConfig(configOf())
    tx.putConfig(configOf('shop/web'))
    for (let n = 0; n < 5; n++) publish(tx, rulesOf(200, { [n]: n }))
    tx.putNode(nodeOf('u1', { runs: { number: 2, digest: 'd' } }))
    tx.addAttempts([attemptOf('u1', 2)])
    tx.putDraft(draftOf('d1', { a: 1 }), { a: 1 })
    tx.putToken(tokenOf('t1'))
    tx.putIdempotency({ key: 'k', request: 'r', response: { ok: true }, createdAt: sample.at })
    tx.appendAudit(auditEntry)
    tx.appendAudit({ ...auditEntry, config: null })
  })
}

/** Everything that can be read. */
export function all(tx: StoreRead): unknown {
  const configs = tx.configs('', undefined, 1000)
  return {
    configs,
    releases: configs.map(({ name }) =>
      tx.releases(name, undefined, 1000).map((release) => ({
        release,
        content: tx.content(name, release.number),
        appliedAt: tx.appliedAt(name, release.number),
      })),
    ),
    nodes: configs.map(({ name }) =>
      tx.nodes(name, {}, undefined, 1000).map((node) => ({ node, attempts: tx.attempts(node.uid, 1000) })),
    ),
    drafts: tx.drafts(undefined, undefined, 1000).map((draft) => ({ draft, content: tx.draftContent(draft.id) })),
    tokens: tx.tokens(undefined, 1000),
    audit: tx.audit(undefined, 1000),
  }
}
