/** What a release is, as control plane and agents speak of it, and the text that its signature is over. Browser-safe. */
import { canonicalText } from '../canonical.ts'
import type { Json } from '../json.ts'
import { configNamePattern, maxConfigNameLength } from './names.ts'
import { integer, nullable, oneOf, optional, record, text, type Of } from './shape.ts'

export const digestText = text(71, { like: /^sha256:[0-9a-f]{64}$/, words: '"sha256:" and 64 hexadecimal digits' })
export const configText = text(maxConfigNameLength, {
  like: configNamePattern,
  words: 'the name of a config, such as shop/gateway/prod',
})
export const timeText = text(30, {
  like: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/,
  words: 'a time such as 2026-11-20T09:30:00.000Z',
})
export const releaseNumber = integer(1)

const signature = record({
  keyId: text(128),
  alg: oneOf('Ed25519'),
  /** Base64url without padding: 64 bytes. */
  value: text(86, { like: /^[A-Za-z0-9_-]{86}$/, words: 'the base64url of 64 bytes' }),
})

export const releaseInfo = record({
  config: configText,
  /** 1, 2, 3, … within a config. Never used twice. */
  number: releaseNumber,
  /** Of the content: `docs/protocol.md`, Digest. */
  digest: digestText,
  /** The release that it was made on; `null` for the first. */
  parent: nullable(releaseNumber),
  createdAt: timeText,
  author: text(256),
  message: text(4096),
  kind: oneOf('publish', 'rollback'),
  /** The release whose content it brings back. For people: the digest is what counts, and is what is signed. */
  rollbackOf: optional(releaseNumber),
  signature: optional(signature),
})

/** An immutable release, without its content. */
export type ReleaseInfo = Of<typeof releaseInfo>
export type ReleaseSignature = Of<typeof signature>

/** What is signed: the RFC 8785 text, in UTF-8, of these eight fields. The digest stands for the content. */
export function signedText(release: Omit<ReleaseInfo, 'signature' | 'rollbackOf'>): string {
  const { config, number, digest, parent, createdAt, author, message, kind } = release
  const fields: Json = { config, number, digest, parent, createdAt, author, message, kind }
  return canonicalText(fields)
}
