/**
 * Ed25519 signatures of releases. Pure; where keys are kept is `key-ring.ts`, and what a node demands of a signature is
 * its own policy.
 *
 * Signed is the canonical text (RFC 8785) of the release's `config, number, digest, parent, createdAt, author, message,
 * kind`: its content by its digest, and its place in the sequence. So a release can be signed on a machine that the
 * control plane never sees, before it is published: whoever signs fixes `number` and `createdAt`.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { signedText, type ReleaseInfo, type ReleaseSignature } from 'midflight/protocol'

/** A release, but for its signature. */
export type Unsigned = Omit<ReleaseInfo, 'signature' | 'rollbackOf'>

/** Both halves as PEM: PKCS #8 and SPKI. */
export interface KeyPair {
  readonly keyId: string
  readonly privateKey: string
  readonly publicKey: string
}

export function newKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  return { keyId: keyIdOf(publicKey), privateKey, publicKey }
}

/**
 * The name of a key: the first 16 hex digits of the SHA-256 of its public half (SPKI, DER).
 * @throws TypeError if it is no Ed25519 key.
 */
export function keyIdOf(key: string): string {
  const publicKey = createPublicKey(key)
  if (publicKey.asymmetricKeyType !== 'ed25519') {
    throw new TypeError(`is a key of type ${publicKey.asymmetricKeyType ?? 'unknown'}; want Ed25519`)
  }
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16)
}

/** @throws Error if `privateKey` is no private key in PEM. */
export function signRelease(release: Unsigned, privateKey: string): ReleaseSignature {
  const key = createPrivateKey(privateKey)
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string
  const value = sign(null, Buffer.from(signedText(release)), key).toString('base64url')
  return { keyId: keyIdOf(publicKey), alg: 'Ed25519', value }
}

export type Verdict = 'good' | 'unsigned' | 'unknown-key' | 'bad'

/** @param trusted public keys (PEM) by key id. */
export function verifyRelease(
  release: Unsigned & Pick<ReleaseInfo, 'signature'>,
  trusted: ReadonlyMap<string, string>,
): Verdict {
  const { signature } = release
  if (signature === undefined) return 'unsigned'
  const key = trusted.get(signature.keyId)
  if (key === undefined) return 'unknown-key'
  if (signature.alg !== 'Ed25519') return 'bad'
  const good = verify(null, Buffer.from(signedText(release)), key, Buffer.from(signature.value, 'base64url'))
  return good ? 'good' : 'bad'
}
