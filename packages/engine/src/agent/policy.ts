/** Whose signatures this node takes releases from. The node's own affair: nothing that a control plane says changes it. */
import { createPublicKey, KeyObject, verify } from 'node:crypto'
import { signedText, type ReleaseInfo } from '../protocol/release.ts'

export interface VerifyOptions {
  /** Ed25519 public keys by their ids: PEM text (SPKI) or a KeyObject. Several at a time allow for rotation. */
  readonly keys: Readonly<Record<string, string | KeyObject>>
  /**
   * Default `true`: a release without a signature by one of the keys is refused. `false` refuses only signatures by a
   * known key that do not fit, for the time in which signing is being introduced.
   */
  readonly required?: boolean
}

export interface Policy {
  /** Why this release must not be used, or `undefined`. */
  problem(release: ReleaseInfo): string | undefined
}

export const anyRelease: Policy = { problem: () => undefined }

/** @throws TypeError for a key that is not an Ed25519 public key, or no key at all. */
export function policyOf({ keys, required = true }: VerifyOptions): Policy {
  const known = new Map(Object.entries(keys).map(([id, key]) => [id, publicKey(id, key)]))
  if (known.size === 0) throw new TypeError('controlPlane(): verify.keys is empty; want at least one public key')
  return {
    problem(release) {
      const { signature, number } = release
      if (!signature) return required ? `release ${number} is not signed, and this node wants a signature` : undefined
      const key = known.get(signature.keyId)
      if (!key) {
        return required ? `release ${number} is signed by ${signature.keyId}, a key that is not known here` : undefined
      }
      const fits = verify(null, Buffer.from(signedText(release)), key, Buffer.from(signature.value, 'base64url'))
      return fits ? undefined : `the signature of release ${number} by ${signature.keyId} does not fit`
    },
  }
}

function publicKey(id: string, key: string | KeyObject): KeyObject {
  let found: KeyObject
  try {
    found = key instanceof KeyObject && key.type === 'public' ? key : createPublicKey(key)
  } catch (error) {
    throw new TypeError(`controlPlane(): verify.keys[${JSON.stringify(id)}] is not a public key`, { cause: error })
  }
  if (found.asymmetricKeyType === 'ed25519') return found
  throw new TypeError(`controlPlane(): verify.keys[${JSON.stringify(id)}] is not an Ed25519 key`)
}
