/**
 * A store that forgets when it is closed: for tests, and for trying things out. It keeps the same promises as the others
 * but for those about disks.
 */
import { digest, share, type Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import { StoreError } from '../store.ts'
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
  Store,
  StoreRead,
  StoreReport,
  StoreTx,
  TokenRecord,
} from '../store.ts'
import { chainStart, link } from './audit-chain.ts'
import { MemoryDeployments } from './memory-deployments.ts'
import { MemoryRollouts, type Fence, type Put } from './memory-rollouts.ts'
import { checkEpoch, checkNext, checkPolicy, neededBy, promiseError } from './preconditions.ts'

export function memoryStore(): Store {
  const records = new Records()
  let closed = false
  const opened = (): void => {
    if (closed) throw new StoreError('closed', 'memory', 'is closed', 'open another')
  }
  return {
    async transaction<T>(work: (tx: StoreTx) => T): Promise<T> {
      opened()
      return records.transaction(work)
    },
    async read<T>(work: (tx: StoreRead) => T): Promise<T> {
      opened()
      return work(records)
    },
    async verify(): Promise<StoreReport> {
      opened()
      return records.report()
    },
    async backup(): Promise<void> {
      opened()
      throw new StoreError('read-only', 'memory', 'is not on disk', 'use the SQLite store to have backups')
    },
    async close() {
      closed = true
    },
  }
}

interface Release {
  readonly info: ReleaseInfo
  readonly content: Json | undefined
  readonly appliedAt: string | undefined
}

class Records implements StoreTx {
  private readonly configsByName = new Map<string, Omit<ConfigRecord, 'head'>>()
  private readonly releasesOf = new Map<string, Release[]>()
  private readonly nodesByUid = new Map<string, NodeRecord>()
  private readonly attemptsOf = new Map<string, AttemptRecord[]>()
  private readonly draftsById = new Map<string, DraftRecord>()
  private readonly draftContents = new Map<string, Json>()
  private readonly tokensById = new Map<string, TokenRecord>()
  private readonly keys = new Map<string, IdempotencyRecord>()
  private readonly put: Put = (map, key, value) => this.set(map, key, value)
  private readonly fence: Fence = (epoch) => checkEpoch(epoch, this.epoch())
  private readonly epochs = new Map<'newest', number>()
  readonly rollouts = new MemoryRollouts(this.put, this.fence, (...one) => this.release(...one) !== undefined)
  readonly deployments = new MemoryDeployments(this.put, this.fence)
  private readonly log: AuditRecord[] = []
  /** Undoes what the transaction under way has done, last first; `undefined` outside of one. */
  private undo: (() => void)[] | undefined

  transaction<T>(work: (tx: StoreTx) => T): T {
    this.undo = []
    try {
      const value = work(this)
      const wrong = promiseError(value)
      if (wrong !== undefined) throw wrong
      return value
    } catch (error) {
      for (const step of this.undo.reverse()) step()
      throw error
    } finally {
      this.undo = undefined
    }
  }

  config(name: string): ConfigRecord | undefined {
    const config = this.configsByName.get(name)
    if (config === undefined) return undefined
    const head = this.releasesOf.get(name)?.at(-1)?.info
    return { ...config, head: head === undefined ? null : { number: head.number, digest: head.digest } }
  }

  configs(prefix: string, after: string | undefined, limit: number): ConfigRecord[] {
    const names = sorted(this.configsByName.keys()).filter(
      (name) => prefix === '' || name === prefix || name.startsWith(`${prefix}/`),
    )
    return page(names, (name) => after === undefined || byText(name, after) > 0, limit).map(
      (name) => this.config(name) as ConfigRecord,
    )
  }

  release(config: string, number: number): ReleaseInfo | undefined {
    return this.releasesOf.get(config)?.[number - 1]?.info
  }

  releases(config: string, before: number | undefined, limit: number): ReleaseInfo[] {
    const all = (this.releasesOf.get(config) ?? []).map(({ info }) => info).reverse()
    return page(all, ({ number }) => before === undefined || number < before, limit)
  }

  content(config: string, number: number): Json | undefined {
    return this.releasesOf.get(config)?.[number - 1]?.content
  }

  appliedAt(config: string, number: number): string | undefined {
    return this.releasesOf.get(config)?.[number - 1]?.appliedAt
  }

  idempotency(key: string): IdempotencyRecord | undefined {
    return this.keys.get(key)
  }

  node(uid: string): NodeRecord | undefined {
    return this.nodesByUid.get(uid)
  }

  nodes(config: string, { notOn }: NodeFilter, after: string | undefined, limit: number): NodeRecord[] {
    const found = sorted(this.nodesByUid.keys())
      .map((uid) => this.nodesByUid.get(uid) as NodeRecord)
      .filter((node) => node.config === config)
      .filter((node) => notOn === undefined || node.runs?.number !== notOn)
    return page(found, ({ uid }) => after === undefined || byText(uid, after) > 0, limit)
  }

  attempts(uid: string, limit: number): AttemptRecord[] {
    return (this.attemptsOf.get(uid) ?? []).toReversed().slice(0, limit)
  }

  epoch(): number {
    return this.epochs.get('newest') ?? 0
  }

  takeOver(): number {
    const epoch = this.epoch() + 1
    this.put(this.epochs, 'newest', epoch)
    return epoch
  }

  draft(id: string): DraftRecord | undefined {
    return this.draftsById.get(id)
  }

  draftContent(id: string): Json | undefined {
    return this.draftContents.get(id)
  }

  drafts(config: string | undefined, after: string | undefined, limit: number): DraftRecord[] {
    const found = sorted(this.draftsById.keys())
      .map((id) => this.draftsById.get(id) as DraftRecord)
      .filter((draft) => config === undefined || draft.config === config)
    return page(found, ({ id }) => after === undefined || byText(id, after) > 0, limit)
  }

  token(hash: string): TokenRecord | undefined {
    return [...this.tokensById.values()].find((token) => token.hash === hash)
  }

  tokenById(id: string): TokenRecord | undefined {
    return this.tokensById.get(id)
  }

  tokens(after: string | undefined, limit: number): TokenRecord[] {
    const found = sorted(this.tokensById.keys()).map((id) => this.tokensById.get(id) as TokenRecord)
    return page(found, ({ id }) => after === undefined || byText(id, after) > 0, limit)
  }

  audit(after: number | undefined, limit: number): AuditRecord[] {
    return this.log.slice(after ?? 0, (after ?? 0) + limit)
  }

  auditHead(): { number: number; hash: string } {
    const last = this.log.at(-1)
    return { number: last?.number ?? 0, hash: last?.hash ?? chainStart }
  }

  putConfig(config: Omit<ConfigRecord, 'head'>): void {
    const { head: _, ...record } = config as ConfigRecord
    this.set(this.configsByName, config.name, copy(record))
  }

  addRelease(release: ReleaseInfo, content: Json): Json {
    const config = this.config(release.config)
    checkNext(release, config)
    const before = this.content(release.config, release.number - 1)
    const kept = Object.isFrozen(content) ? content : share(content, before, {})
    const found = digest(kept, before)
    if (found !== release.digest) {
      throw new RangeError(`the content of release ${release.config} #${release.number} has the digest ${found}`)
    }
    const releases = this.releasesOf.get(release.config) ?? []
    const added = { info: copy(release), content: kept, appliedAt: undefined }
    this.set(this.releasesOf, release.config, [...releases, added])
    return kept
  }

  putIdempotency(record: IdempotencyRecord): void {
    this.set(this.keys, record.key, copy(record))
  }

  putNode(node: NodeRecord): void {
    this.set(this.nodesByUid, node.uid, copy(node))
  }

  removeNode(uid: string): void {
    this.set(this.nodesByUid, uid, undefined)
    this.set(this.attemptsOf, uid, undefined)
  }

  addAttempts(attempts: readonly AttemptRecord[]): void {
    for (const attempt of attempts) {
      const { uid, config, number, status, at } = attempt
      this.set(this.attemptsOf, uid, [...(this.attemptsOf.get(uid) ?? []), copy(attempt)])
      const release = this.releasesOf.get(config)?.[number - 1]
      if (status === 'APPLIED' && release?.appliedAt === undefined) this.change(config, number, { appliedAt: at })
    }
  }

  putDraft(draft: DraftRecord, content?: Json): void {
    this.set(this.draftsById, draft.id, copy(draft))
    if (content !== undefined) this.set(this.draftContents, draft.id, copy(content))
  }

  putToken(token: TokenRecord): void {
    this.set(this.tokensById, token.id, copy(token))
  }

  appendAudit(entry: AuditEntry): AuditRecord {
    const record = copy(link(entry, this.auditHead()))
    this.writing().push(() => this.log.pop())
    this.log.push(record)
    return record
  }

  prune(policy: PrunePolicy): Pruned {
    this.writing()
    checkPolicy(policy)
    let [contents, attempts, idempotency] = [0, 0, 0]
    for (const config of policy.config === undefined ? this.configsByName.keys() : [policy.config]) {
      const releases = this.releasesOf.get(config) ?? []
      const needed = this.neededOf(config)
      this.rollouts.prune(config, releases.length - policy.keepNewest)
      for (const { info, content } of releases) {
        const { number, createdAt } = info
        const recent = policy.keepSince !== undefined && createdAt >= policy.keepSince
        if (content === undefined || number > releases.length - policy.keepNewest) continue
        if (recent || needed.has(number)) continue
        this.change(config, number, { content: undefined })
        contents++
      }
    }
    for (const [uid, found] of policy.attemptsPerNode === undefined ? [] : this.attemptsOf) {
      if (policy.config !== undefined && this.nodesByUid.get(uid)?.config !== policy.config) continue
      const surplus = Math.max(0, found.length - (policy.attemptsPerNode as number))
      this.set(this.attemptsOf, uid, found.slice(surplus))
      attempts += surplus
    }
    for (const { key, createdAt } of policy.idempotencyBefore === undefined ? [] : this.keys.values()) {
      if (createdAt >= (policy.idempotencyBefore as string)) continue
      this.set(this.keys, key, undefined)
      idempotency++
    }
    return { contents, attempts, idempotency }
  }

  /** Releases that somebody runs, or is about to. */
  private neededOf(config: string): Set<number> {
    const needed = new Set<number>()
    for (const node of this.nodesByUid.values()) if (node.config === config && node.runs) needed.add(node.runs.number)
    for (const draft of this.draftsById.values()) {
      if (draft.config === config && draft.status === 'open' && draft.base !== null) needed.add(draft.base)
    }
    for (const rollout of this.rollouts.open(config)) for (const number of neededBy(rollout)) needed.add(number)
    return needed
  }

  report(): StoreReport {
    const releases = [...this.releasesOf.values()].flat()
    const contents = releases.filter(({ content }) => content !== undefined)
    const counts = { configs: this.configsByName.size, releases: releases.length, contents: contents.length }
    return { ...counts, audit: this.log.length, problems: [] }
  }

  private change(config: string, number: number, to: Partial<Release>): void {
    const releases = this.releasesOf.get(config) ?? []
    const changed = releases.map((release) => (release.info.number === number ? { ...release, ...to } : release))
    this.set(this.releasesOf, config, changed)
  }

  private set<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
    const before = map.get(key)
    this.writing().push(() => put(map, key, before))
    put(map, key, value)
  }

  private writing(): (() => void)[] {
    if (this.undo === undefined) {
      throw new RangeError('this transaction is over: write within the function that was given it')
    }
    return this.undo
  }
}

function put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key)
  else map.set(key, value)
}

/** Frozen, and not what the caller may still change. */
function copy<T>(record: T): T {
  return share(JSON.parse(JSON.stringify(record)) as Json, undefined, {}) as T
}

/** By code points, as a database sorts; names and ids are ASCII. */
function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function sorted(keys: Iterable<string>): string[] {
  return [...keys].sort(byText)
}

function page<T>(all: readonly T[], behind: (entry: T) => boolean, limit: number): T[] {
  return all.filter(behind).slice(0, limit)
}
