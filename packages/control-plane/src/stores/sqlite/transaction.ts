/** What can be read and written in the SQLite store: one object for all transactions, which the store opens and shuts. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { digest, type Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type {
  AttemptRecord,
  AuditEntry,
  AuditRecord,
  ConfigRecord,
  DraftRecord,
  IdempotencyRecord,
  NodeFilter,
  NodeRecord,
  PrunePolicy,
  Pruned,
  StoreTx,
  TokenRecord,
} from '../../store.ts'
import { Attempts } from './attempts.ts'
import { chainStart, link, linkHash, linkText } from '../audit-chain.ts'
import { checkNext } from '../preconditions.ts'
import { Contents, type ContentLimits } from './contents.ts'
import { Deployments } from './deployments.ts'
import { damaged } from './errors.ts'
import { Fence } from './fence.ts'
import { prune } from './prune.ts'
import { Rollouts } from './rollouts.ts'
import { statements, type Statements } from './statements.ts'
import { tablesOf, type Row, type Tables } from './tables.ts'

/** Behind every prefix: no name has this character. */
const lastCharacter = '\u{10ffff}'

const maxConfigsRead = 1000

export class SqliteTransaction implements StoreTx {
  readonly tables: Tables
  readonly contents: Contents
  readonly rollouts: Rollouts
  readonly deployments: Deployments
  private readonly db: DatabaseSync
  private readonly sql: Statements
  private readonly history: Attempts
  private readonly fence: Fence
  /**
   * As the database has them. Each keeps its schema, so that what is compiled from one can be kept by the object.
   */
  private readonly configsRead = new Map<string, ConfigRecord>()
  private writable = false

  constructor(db: DatabaseSync, limits: ContentLimits) {
    this.db = db
    this.tables = tablesOf(db)
    this.contents = new Contents(db, this.tables.releases, limits)
    this.sql = statements(db)
    this.history = new Attempts(db, this.tables.attempts)
    const mustWrite = () => this.mustWrite()
    const fence = (this.fence = new Fence(db, mustWrite))
    const hasRelease = (config: string, number: number) => this.release(config, number) !== undefined
    this.rollouts = new Rollouts(db, this.tables, { fence, mustWrite, hasRelease })
    this.deployments = new Deployments(db, this.tables, fence)
  }

  open(): void {
    this.writable = true
  }

  shut(): void {
    this.writable = false
  }

  /** Forgets what a transaction did that is not to be. */
  rollBackTo(mark: number): void {
    this.contents.cache.rollBackTo(mark)
    this.configsRead.clear()
  }

  config(name: string): ConfigRecord | undefined {
    const known = this.configsRead.get(name)
    if (known !== undefined) return known
    const row = this.sql.config.get(name)
    return row && this.configFrom(row)
  }

  configs(prefix: string, after: string | undefined, limit: number): ConfigRecord[] {
    const rows = this.sql.configs.all(prefix, prefix, `${prefix}/`, `${prefix}/${lastCharacter}`, after ?? '', limit)
    return rows.map((row) => this.configsRead.get(String(row['name'])) ?? this.configFrom(row))
  }

  private configFrom(row: Row): ConfigRecord {
    const config = freeze(this.tables.configs.read(row))
    const number = Number(row['head'])
    const head = number === 0 ? undefined : this.release(config.name, number)
    if (number !== 0 && head === undefined) {
      throw damaged(`config ${config.name}`, `has release ${number} as its head, which is not there`)
    }
    return this.remember({ ...config, head: head === undefined ? null : { number, digest: head.digest } })
  }

  private remember(config: ConfigRecord): ConfigRecord {
    if (this.configsRead.size >= maxConfigsRead) this.configsRead.clear()
    this.configsRead.set(config.name, Object.freeze({ ...config, head: Object.freeze(config.head) }))
    return config
  }

  release(config: string, number: number): ReleaseInfo | undefined {
    const known = this.contents.cache.get(config, number)
    if (known !== undefined) return known.release
    const row = this.sql.release.get(config, number)
    return row && freeze(this.tables.releases.read(row))
  }

  releases(config: string, before: number | undefined, limit: number): ReleaseInfo[] {
    const rows = this.sql.releases.all(config, before ?? Number.MAX_SAFE_INTEGER, limit)
    return rows.map((row) => this.tables.releases.read(row))
  }

  content(config: string, number: number): Json | undefined {
    const release = this.release(config, number)
    return release && this.contents.read(release)
  }

  appliedAt(config: string, number: number): string | undefined {
    const row = this.sql.applied.get(config, number)
    return row && this.tables.applied.read(row).at
  }

  idempotency(key: string): IdempotencyRecord | undefined {
    const row = this.sql.idempotency.get(key)
    return row && this.tables.idempotency.read(row)
  }

  node(uid: string): NodeRecord | undefined {
    const row = this.sql.node.get(uid)
    return row && this.tables.nodes.read(row)
  }

  nodes(config: string, { notOn }: NodeFilter, after: string | undefined, limit: number): NodeRecord[] {
    const rows = this.sql.nodes.all({
      config,
      after: after ?? '',
      limit,
      notOn: notOn ?? null,
    })
    return rows.map((row) => this.tables.nodes.read(row))
  }

  attempts(uid: string, limit: number): AttemptRecord[] {
    return this.history.of(uid, limit)
  }

  epoch(): number {
    return this.fence.epoch()
  }

  takeOver(): number {
    return this.fence.takeOver()
  }

  draft(id: string): DraftRecord | undefined {
    const row = this.sql.draft.get(id)
    return row && this.tables.drafts.read(row)
  }

  draftContent(id: string): Json | undefined {
    const row = this.sql.draftContent.get(id)
    if (row === undefined) return undefined
    const content = freeze(JSON.parse(String(row['body'])) as Json)
    if (digest(content) !== row['digest']) throw damaged(`draft ${id}`, 'has a content that is not what was written')
    return content
  }

  drafts(config: string | undefined, after: string | undefined, limit: number): DraftRecord[] {
    const rows = this.sql.drafts.all({ config: config ?? null, after: after ?? '', limit })
    return rows.map((row) => this.tables.drafts.read(row))
  }

  token(hash: string): TokenRecord | undefined {
    const row = this.sql.token.get(hash)
    return row && this.tables.tokens.read(row)
  }

  tokenById(id: string): TokenRecord | undefined {
    const row = this.sql.tokenById.get(id)
    return row && this.tables.tokens.read(row)
  }

  tokens(after: string | undefined, limit: number): TokenRecord[] {
    return this.sql.tokens.all(after ?? '', limit).map((row) => this.tables.tokens.read(row))
  }

  audit(after: number | undefined, limit: number): AuditRecord[] {
    return this.sql.audit.all(after ?? 0, limit).map(auditFrom)
  }

  auditHead(): { number: number; hash: string } {
    const row = this.sql.auditHead.get()
    return row === undefined
      ? { number: 0, hash: chainStart }
      : { number: Number(row['number']), hash: String(row['hash']) }
  }

  putConfig(config: Omit<ConfigRecord, 'head'>): void {
    this.mustWrite()
    const { head: _, ...record } = config as ConfigRecord
    this.tables.configs.put(record)
    this.configsRead.delete(config.name)
  }

  addRelease(release: ReleaseInfo, content: Json): Json {
    this.mustWrite()
    const config = this.config(release.config)
    checkNext(release, config)
    const { head } = config
    const before = head === null ? undefined : this.content(release.config, head.number)
    const kept = this.contents.add(copyOf(release), content, before)
    this.sql.setHead.run(release.number, release.config)
    this.remember({ ...config, head: { number: release.number, digest: release.digest } })
    return kept
  }

  putIdempotency(record: IdempotencyRecord): void {
    this.mustWrite()
    this.tables.idempotency.put(record)
  }

  putNode(node: NodeRecord): void {
    this.mustWrite()
    this.tables.nodes.put(node)
  }

  removeNode(uid: string): void {
    this.run('delete from nodes where uid = ?', uid)
    this.history.forget(uid)
  }

  addAttempts(attempts: readonly AttemptRecord[]): void {
    this.mustWrite()
    this.history.add(attempts)
    let known: AttemptRecord | undefined
    for (const attempt of attempts) {
      if (attempt.status !== 'APPLIED') continue
      const { config, number, at } = attempt
      if (known?.number === number && known.config === config) continue
      known = attempt
      if (this.appliedAt(config, number) === undefined) this.tables.applied.put({ config, number, at })
    }
  }

  putDraft(draft: DraftRecord, content?: Json): void {
    this.mustWrite()
    this.tables.drafts.put(draft)
    if (content !== undefined) this.sql.putDraftContent.run(draft.id, draft.digest, JSON.stringify(content))
  }

  putToken(token: TokenRecord): void {
    this.mustWrite()
    this.tables.tokens.put(token)
  }

  appendAudit(entry: AuditEntry): AuditRecord {
    this.mustWrite()
    const record = link(entry, this.auditHead())
    this.sql.appendAudit.run(record.number, linkText(record), record.prev, record.hash)
    return record
  }

  prune(policy: PrunePolicy): Pruned {
    this.mustWrite()
    return prune(this.db, this, this.history, policy)
  }

  private run(sql: string, ...values: SQLInputValue[]): void {
    this.mustWrite()
    this.db.prepare(sql).run(...values)
  }

  private mustWrite(): void {
    if (!this.writable) throw new RangeError('this transaction is over: write within the function that was given it')
  }
}

/** @throws StoreError `audit-broken` is for `verify`; here the row must only be what was written. */
function auditFrom(row: Row): AuditRecord {
  const [text, prev, hash] = [String(row['entry']), String(row['prev']), String(row['hash'])]
  if (linkHash(prev, text) !== hash) throw damaged(`audit #${String(row['number'])}`, 'is not what was written')
  return { ...(JSON.parse(text) as Omit<AuditRecord, 'prev' | 'hash'>), prev, hash }
}

function copyOf(release: ReleaseInfo): ReleaseInfo {
  const { signature } = release
  return Object.freeze({ ...release, ...(signature && { signature: Object.freeze({ ...signature }) }) })
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(freeze)
    Object.freeze(value)
  }
  return value
}
