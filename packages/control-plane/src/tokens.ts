/**
 * Tokens: who somebody is, by a secret. The secret is shown once, when it is made; kept is its SHA-256, so that nobody
 * who reads the store can use it. What its holder may do is `access.ts`.
 */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { isBelow, isConfigName } from 'midflight/protocol'
import { mayGrant, roles, type Principal, type Role } from './access.ts'
import type { Domain } from './domain.ts'
import { requireText } from './publish.ts'
import { RefusedError } from './release.ts'
import type { StoreRead, StoreTx, TokenRecord } from './store.ts'

/** Begins every secret, so that scanners for leaked secrets can know one. */
const secretStart = 'mfs_'
/** 256 bits as base64url. */
const secretPattern = /^mfs_[A-Za-z0-9_-]{43}$/
const pageSize = 1000

/** A token as it may be shown. */
export type TokenView = Omit<TokenRecord, 'hash'>

export interface CreateToken {
  /** Who will use it: stands in the audit log for what is done with it. */
  readonly name: string
  readonly role: Role
  /** Whole segments of config names; the empty prefix is everything. */
  readonly prefix: string
  /** `null`: never. */
  readonly expiresAt: string | null
}

/** The control plane itself: makes the first token. */
export const controlPlane: Principal = { name: 'control plane', role: 'admin', prefix: '' }

/** Names in the audit log that are nobody's token. */
const reserved = /^(?:(?:oidc|certificate):.*|control plane|midflight|anyone|batch)$/s

/**
 * @returns the secret too, for the one and only time.
 * @throws RefusedError `denied` for more than `by` has itself; `exists` if a token that is good has the name: the audit
 *   log, releases and approvals know people by it.
 */
export async function createToken(
  domain: Domain,
  request: CreateToken,
  by: Principal,
): Promise<{ readonly token: TokenView; readonly secret: string }> {
  const { name, role, prefix, expiresAt } = request
  requireText(name, 'name', 1, 128)
  if (reserved.test(name)) throw new RefusedError('invalid', `the name ${JSON.stringify(name)} is not for tokens`)
  if (!roles.includes(role)) throw new RefusedError('invalid', `the role is ${String(role)}; want ${roles.join(', ')}`)
  if (prefix !== '' && !isConfigName(prefix)) {
    throw new RefusedError('invalid', `the prefix is ${JSON.stringify(prefix)}; want segments of config names, or ""`)
  }
  if (role === 'metrics' && prefix !== '') {
    throw new RefusedError(
      'invalid',
      `the prefix is "${prefix}"; want "" for the role metrics, which is about everything`,
    )
  }
  const now = domain.now()
  if (expiresAt !== null && !(Date.parse(expiresAt) > now.getTime())) {
    throw new RefusedError('invalid', `expiresAt is ${expiresAt}; want a time to come`)
  }
  if (!mayGrant(by, role, prefix)) {
    throw new RefusedError('denied', `${by.name} may not hand out the role ${role} for "${prefix}"`)
  }
  const secret = secretStart + randomBytes(32).toString('base64url')
  const record: TokenRecord = {
    id: randomUUID(),
    hash: hashOf(secret),
    name,
    role,
    prefix,
    createdAt: now.toISOString(),
    createdBy: by.name,
    expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
    revokedAt: null,
  }
  await domain.store.transaction((tx) => {
    requireFree(tx, name, by, now)
    tx.putToken(record)
    log(tx, record, by, 'token-created', now)
  })
  return { token: viewOf(record), secret }
}

function requireFree(read: StoreRead, name: string, by: Principal, now: Date): void {
  for (const token of allTokens(read)) {
    if (token.name !== name || !isGood(token, now)) continue
    // Which it is elsewhere is not theirs to know.
    const way = isBelow(by.prefix, token.prefix) ? `take another, or revoke ${token.id} first` : 'take another'
    throw new RefusedError('exists', `a token that is good has the name ${JSON.stringify(name)}; ${way}`)
  }
}

/** Names that several good tokens have: an earlier version gave them out. */
export async function sharedNames(domain: Domain): Promise<readonly string[]> {
  const now = domain.now()
  return await domain.store.read((read) => {
    const names = allTokens(read).flatMap((token) => (isGood(token, now) ? [token.name] : []))
    return [...new Set(names.filter((name, i) => names.indexOf(name) < i))]
  })
}

function allTokens(read: StoreRead): TokenRecord[] {
  const found: TokenRecord[] = []
  for (;;) {
    const page = read.tokens(found.at(-1)?.id, pageSize)
    found.push(...page)
    if (page.length < pageSize) return found
  }
}

function isGood({ revokedAt, expiresAt }: TokenRecord, now: Date): boolean {
  return revokedAt === null && (expiresAt === null || Date.parse(expiresAt) > now.getTime())
}

/** Who it is, or `undefined`: unknown, expired and revoked look the same. */
export async function authenticate(domain: Domain, secret: unknown): Promise<Principal | undefined> {
  if (typeof secret !== 'string' || !secretPattern.test(secret)) return undefined
  const hash = hashOf(secret)
  const record = await domain.store.read((read) => read.token(hash))
  // The look-up is by a hash that nobody can choose; compared again, in constant time, whatever the store does.
  if (record === undefined || !timingSafeEqual(Buffer.from(record.hash), Buffer.from(hash))) return undefined
  if (!isGood(record, domain.now())) return undefined
  return { name: record.name, id: record.id, role: record.role, prefix: record.prefix }
}

/** From now on it is refused. Revoking it again changes nothing. @throws RefusedError `not-found`, also for others' tokens. */
export async function revokeToken(domain: Domain, id: string, by: Principal): Promise<TokenView> {
  return await domain.store.transaction((tx) => {
    const record = tx.tokenById(id)
    if (record === undefined || !isBelow(by.prefix, record.prefix)) {
      throw new RefusedError('not-found', `there is no token ${JSON.stringify(id)}`)
    }
    if (!mayGrant(by, record.role, record.prefix)) {
      throw new RefusedError('denied', `${by.name} may not revoke tokens of the role ${record.role}`)
    }
    if (record.revokedAt !== null) return viewOf(record)
    const now = domain.now()
    const revoked = { ...record, revokedAt: now.toISOString() }
    tx.putToken(revoked)
    log(tx, revoked, by, 'token-revoked', now)
    return viewOf(revoked)
  })
}

/** Those below the prefix of `by`, by id. Fewer than `limit` may come though there are more: go on after `next`. */
export async function listTokens(
  domain: Domain,
  by: Principal,
  after: string | undefined,
  limit: number,
): Promise<{ readonly tokens: readonly TokenView[]; readonly next: string | undefined }> {
  const page = await domain.store.read((read) => read.tokens(after, limit))
  return {
    tokens: page.filter(({ prefix }) => isBelow(by.prefix, prefix)).map(viewOf),
    next: page.length < limit ? undefined : page.at(-1)?.id,
  }
}

function viewOf({ hash: _, ...view }: TokenRecord): TokenView {
  return view
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

function log(tx: StoreTx, token: TokenRecord, by: Principal, action: string, at: Date): void {
  const { id, name, role, prefix, expiresAt } = token
  const detail = { id, name, role, prefix, expiresAt }
  tx.appendAudit({ at: at.toISOString(), actor: by.name, action, config: null, detail })
}
