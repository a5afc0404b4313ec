/** A release that was signed away from the control plane: what `midflight sign` writes and `publish --signed` reads. */
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { releaseInfo, mismatchText, signedText, type ReleaseInfo } from 'midflight/protocol'
import { Refusal } from '../refusal.ts'

export interface Signed {
  readonly release: ReleaseInfo
  /** As a publish takes it. */
  readonly field: {
    readonly number: number
    readonly createdAt: string
    readonly keyId: string
    readonly value: string
  }
}

/** @throws Refusal for a key that cannot sign. */
export function signRelease(release: Omit<ReleaseInfo, 'signature' | 'rollbackOf'>, keyPath: string): ReleaseInfo {
  const key = privateKeyIn(keyPath)
  const value = sign(null, Buffer.from(signedText(release)), key).toString('base64url')
  const signed = { ...release, signature: { keyId: keyIdOf(key), alg: 'Ed25519', value } } as const
  const wrong = releaseInfo.mismatch(signed, [])
  if (wrong) throw new Refusal('usage', `this would be no release: ${mismatchText(wrong)}`)
  return signed
}

/** The first 16 hex digits of the SHA-256 of the public half (SPKI, DER). */
function keyIdOf(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest('hex').slice(0, 16)
}

function privateKeyIn(path: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(readFileSync(path))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // What OpenSSL says of it may show pieces of the file.
    const what = code === 'ENOENT' ? 'is not there' : 'cannot be read as a private key without a passphrase (PEM)'
    throw new Refusal(
      'unreadable',
      `--key ${path} ${what}`,
      'openssl genpkey -algorithm ed25519 -out key.pem makes one',
    )
  }
  if (key.asymmetricKeyType === 'ed25519') return key
  throw new Refusal('usage', `--key ${path} is a key of type ${key.asymmetricKeyType ?? 'unknown'}; want Ed25519`)
}

/** @throws Refusal if the file holds no signed release of this config. */
export function signedIn(path: string, config: string): Signed {
  let found: unknown
  try {
    found = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Refusal('unreadable', `--signed ${path} ${code === 'ENOENT' ? 'is not there' : 'is not JSON'}`)
  }
  const wrong = releaseInfo.mismatch(found, ['release'])
  if (wrong) throw new Refusal('usage', `--signed ${path} is not what midflight sign makes: ${mismatchText(wrong)}`)
  const release = found as ReleaseInfo
  const { number, createdAt, signature } = release
  if (signature === undefined) throw new Refusal('usage', `--signed ${path} holds no signature`)
  if (release.config !== config) throw new Refusal('usage', `--signed ${path} is for ${release.config}, not ${config}`)
  return { release, field: { number, createdAt, keyId: signature.keyId, value: signature.value } }
}
