/**
 * The signing keys of a control plane, in one file that only its owner can read. One key signs; those before it are
 * kept as public keys, so that what they signed can still be checked. Keys from elsewhere, for releases that are signed
 * offline, are public keys only.
 */
import { createPublicKey, sign } from 'node:crypto'
import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { ReleaseSignature } from 'midflight/protocol'
import { keyIdOf, newKeyPair, signRelease, type Unsigned } from './signing.ts'

export type KeyRingErrorCode = 'permissions' | 'damaged' | 'unknown-key'

/** The file of keys cannot be used. */
export class KeyRingError extends Error {
  override readonly name = 'KeyRingError'
  readonly code: KeyRingErrorCode

  constructor(code: KeyRingErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** A key as it may be shown. */
export interface KnownKey {
  readonly keyId: string
  /** `signs`: the one in use. `retired`: still good for what it signed. `offline`: held by somebody else. */
  readonly use: 'signs' | 'retired' | 'offline'
  readonly createdAt: string
  readonly publicKey: string
}

interface StoredKey extends KnownKey {
  /** Only of the one that signs: a key that is not there cannot be stolen. */
  readonly privateKey?: string
}

export class KeyRing {
  private readonly path: string
  private stored: readonly StoredKey[]

  private constructor(path: string, stored: readonly StoredKey[]) {
    this.path = path
    this.stored = stored
  }

  /**
   * Reads the file, or makes it with a first key.
   * @throws KeyRingError if others may read it, or it is damaged: then restore it from a backup, or move it away and
   *   have a new key made, which nodes must be told of.
   */
  static open(path: string, now: Date = new Date()): KeyRing {
    const text = readIfThere(path)
    if (text !== undefined) return new KeyRing(path, parsed(path, text))
    const ring = new KeyRing(path, [])
    ring.rotate(now)
    return ring
  }

  keys(): readonly KnownKey[] {
    return this.stored.map(({ keyId, use, createdAt, publicKey }) => ({ keyId, use, createdAt, publicKey }))
  }

  /** Public keys by key id, for `verifyRelease`. */
  trusted(): ReadonlyMap<string, string> {
    return new Map(this.stored.map(({ keyId, publicKey }) => [keyId, publicKey]))
  }

  sign(release: Unsigned): ReleaseSignature {
    return signRelease(release, this.signing().privateKey)
  }

  /** Ed25519, in base64url. What is signed must not be mistaken for a release: that begins with a brace. */
  signBytes(bytes: Uint8Array): string {
    if (bytes[0] === 0x7b) throw new TypeError('what is to be signed looks like a release')
    return sign(null, bytes, this.signing().privateKey).toString('base64url')
  }

  /** Of the key that signs: SPKI as DER, in base64url. */
  publicKey(): string {
    return createPublicKey(this.signing().publicKey).export({ type: 'spki', format: 'der' }).toString('base64url')
  }

  private signing(): StoredKey & { readonly privateKey: string } {
    const key = this.stored.find(({ use }) => use === 'signs')
    if (key?.privateKey === undefined) throw new KeyRingError('unknown-key', `${this.path} has no key that signs`)
    return { ...key, privateKey: key.privateKey }
  }

  /** A new key signs from now on. Returns its id. The private half of the one before is forgotten. */
  rotate(now: Date = new Date()): string {
    const pair = newKeyPair()
    const retired = this.stored.map(({ privateKey: _, ...key }) =>
      key.use === 'signs' ? { ...key, use: 'retired' as const } : key,
    )
    this.save([...retired, { ...pair, use: 'signs', createdAt: now.toISOString() }])
    return pair.keyId
  }

  /** Releases signed with this key elsewhere are taken from now on. Returns its id. @throws if it is no Ed25519 key. */
  trust(publicKey: string, now: Date = new Date()): string {
    const keyId = keyIdOf(publicKey)
    if (this.stored.some((key) => key.keyId === keyId)) return keyId
    this.save([...this.stored, { keyId, use: 'offline', createdAt: now.toISOString(), publicKey }])
    return keyId
  }

  /** Signatures of this key are no longer good. @throws KeyRingError for the one that signs: rotate first. */
  distrust(keyId: string): void {
    const key = this.stored.find((known) => known.keyId === keyId)
    if (key === undefined) throw new KeyRingError('unknown-key', `there is no key ${keyId}`)
    if (key.use === 'signs') throw new KeyRingError('unknown-key', `key ${keyId} is the one that signs; rotate first`)
    this.save(this.stored.filter((known) => known !== key))
  }

  private save(keys: readonly StoredKey[]): void {
    writeWhole(this.path, `${JSON.stringify({ format: 1, keys }, null, 2)}\n`)
    this.stored = keys
  }
}

function readIfThere(path: string): string | undefined {
  try {
    const mode = statSync(path).mode & 0o777
    if ((mode & 0o077) !== 0) {
      throw new KeyRingError(
        'permissions',
        `${path} has the mode 0${mode.toString(8)}; want 0600, as it holds the signing key (chmod 600)`,
      )
    }
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function parsed(path: string, text: string): StoredKey[] {
  const damaged = (what: string): KeyRingError =>
    new KeyRingError('damaged', `${path} ${what}; restore it from a backup, or move it away to have a new key made`)
  let file: { format?: unknown; keys?: unknown }
  try {
    file = JSON.parse(text) as typeof file
  } catch {
    throw damaged('is not JSON')
  }
  if (file?.format !== 1 || !Array.isArray(file.keys)) throw damaged('is no file of keys in format 1')
  const keys = file.keys as StoredKey[]
  keys.forEach((key, index) => {
    let keyId: string
    try {
      keyId = keyIdOf(key.publicKey)
    } catch (error) {
      throw damaged(`holds no key at place ${index} (${(error as Error).message})`)
    }
    if (keyId !== key.keyId) throw damaged(`names key ${keyId} at place ${index} ${String(key.keyId)}`)
  })
  if (keys.filter(({ use }) => use === 'signs').length !== 1) throw damaged('does not have exactly one key that signs')
  return keys
}

/** All or nothing, also when the power fails: into a file beside it, flushed, renamed, and the folder flushed. */
function writeWhole(path: string, text: string): void {
  const beside = `${path}.new`
  const file = openSync(beside, 'w', 0o600)
  try {
    chmodSync(beside, 0o600) // one that was left by a crash may have another mode
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(beside, path)
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
