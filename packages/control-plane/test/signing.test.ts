/** Signatures: what was signed, by which key, and where the keys lie. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ReleaseInfo } from 'midflight/protocol'
import { digest } from 'midflight'
import { describe, expect, test } from 'vitest'
import { KeyRing, KeyRingError } from '../src/key-ring.ts'
import { keyIdOf, newKeyPair, signRelease, verifyRelease, type KeyPair, type Unsigned } from '../src/signing.ts'
import { config, memory, publishOne, ready, refusal, releaseCount, temporaryFolder } from './domain-rig.ts'

const release: Unsigned = {
  config,
  number: 2,
  digest: digest({ a: 1 }),
  parent: 1,
  createdAt: '2026-11-20T09:00:00.000Z',
  author: 'ada',
  message: 'with "quotes", \n and €',
  kind: 'publish',
}
const trust = (...pairs: KeyPair[]) => new Map(pairs.map(({ keyId, publicKey }) => [keyId, publicKey]))

describe('a signature', () => {
  const pair = newKeyPair()
  const signature = signRelease(release, pair.privateKey)

  test('is good for the release and the key it was made with', () => {
    expect(signature).toMatchObject({ keyId: pair.keyId, alg: 'Ed25519' })
    expect(verifyRelease({ ...release, signature }, trust(pair))).toBe('good')
    expect(verifyRelease(release, trust(pair))).toBe('unsigned')
    expect(verifyRelease({ ...release, signature }, trust(newKeyPair()))).toBe('unknown-key')
  })

  const others: [string, Partial<Unsigned>][] = [
    ['config', { config: 'shop/other' }],
    ['number', { number: 3 }],
    ['digest', { digest: digest({ a: '1' }) }],
    ['parent', { parent: null }],
    ['createdAt', { createdAt: '2026-11-20T09:00:00.001Z' }],
    ['author', { author: 'eve' }],
    ['message', { message: '' }],
    ['kind', { kind: 'rollback' }],
  ]
  test.each(others)('is not good for another %s', (_field, over) => {
    expect(verifyRelease({ ...release, ...over, signature }, trust(pair))).toBe('bad')
  })

  test('is not good with a flipped bit, another algorithm, or under the name of another key', () => {
    const bytes = Buffer.from(signature.value, 'base64url')
    bytes[5] = (bytes[5] as number) ^ 1
    expect(
      verifyRelease({ ...release, signature: { ...signature, value: bytes.toString('base64url') } }, trust(pair)),
    ).toBe('bad')
    const none = { ...signature, alg: 'none' as 'Ed25519' }
    expect(verifyRelease({ ...release, signature: none }, trust(pair))).toBe('bad')
    const other = newKeyPair()
    expect(verifyRelease({ ...release, signature: { ...signature, keyId: other.keyId } }, trust(other))).toBe('bad')
  })

  test('the id of a key is the same from either half of it; other kinds of keys are refused', () => {
    expect(keyIdOf(pair.publicKey)).toBe(pair.keyId)
    expect(createPrivateKey(pair.privateKey).asymmetricKeyType).toBe('ed25519')
    const { publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    })
    expect(() => keyIdOf(publicKey)).toThrow(/Ed25519/)
  })
})

describe('the key ring', () => {
  test('is made with a key, in a file of mode 0600, and is the same when it is read again', async () => {
    const path = join(await temporaryFolder(), 'signing-keys.json')
    const ring = KeyRing.open(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const again = KeyRing.open(path)
    expect(again.keys()).toEqual(ring.keys())
    expect(verifyRelease({ ...release, signature: again.sign(release) }, ring.trusted())).toBe('good')
    expect(JSON.stringify(ring.keys())).not.toContain('PRIVATE')
  })

  test('rotation: the new key signs, the old one is still good for what it signed, and its private half is gone', async () => {
    const path = join(await temporaryFolder(), 'signing-keys.json')
    const ring = KeyRing.open(path)
    const before = { ...release, signature: ring.sign(release) }
    const keyId = ring.rotate()
    const after = { ...release, signature: ring.sign(release) }
    expect(after.signature.keyId).toBe(keyId)
    for (const one of [before, after]) expect(verifyRelease(one, KeyRing.open(path).trusted())).toBe('good')
    expect(readFileSync(path, 'utf8').match(/PRIVATE KEY-----\\n/g)).toHaveLength(2) // begin and end of one
    expect(ring.keys().map(({ use }) => use)).toEqual(['retired', 'signs'])
    ring.distrust(before.signature.keyId)
    expect(verifyRelease(before, KeyRing.open(path).trusted())).toBe('unknown-key')
    expect(() => ring.distrust(keyId)).toThrow(KeyRingError)
  })

  test('a file that others may read is refused, and so is a damaged one, with the way out', async () => {
    const path = join(await temporaryFolder(), 'signing-keys.json')
    KeyRing.open(path)
    chmodSync(path, 0o640)
    expect(() => KeyRing.open(path)).toThrow(/0640.*0600/)
    chmodSync(path, 0o600)
    const good = readFileSync(path, 'utf8')
    for (const text of [
      '',
      '{',
      '{"format":2,"keys":[]}',
      '{"format":1,"keys":[]}',
      good.replace(/"keyId": "./, '"keyId": "x'),
    ]) {
      writeFileSync(path, text)
      expect(() => KeyRing.open(path)).toThrow(/restore it from a backup/)
    }
  })
})

describe('releases', () => {
  test('are signed by the control plane, each over its own place in the sequence', async () => {
    const keys = KeyRing.open(join(await temporaryFolder(), 'keys.json'))
    const domain = await ready(await memory(), {}, { keys })
    const first = await publishOne(domain, { content: { a: 1 } })
    const second = await publishOne(domain, { content: { a: 2 }, message: 'more' })
    for (const { release: made } of [first, second]) expect(verifyRelease(made, keys.trusted())).toBe('good')
    const swapped: ReleaseInfo = { ...second.release, signature: first.release.signature }
    expect(verifyRelease(swapped, keys.trusted())).toBe('bad')
  })

  test('that are signed offline are taken as they are, from a key that is trusted, at the place they were signed for', async () => {
    const keys = KeyRing.open(join(await temporaryFolder(), 'keys.json'))
    const domain = await ready(await memory(), {}, { keys })
    await publishOne(domain, { content: { a: 1 } })
    const offline = newKeyPair()
    const content = { a: 2 }
    const made: Unsigned = { ...release, digest: digest(content), message: 'signed at my desk' }
    const { keyId, value } = signRelease(made, offline.privateKey)
    const signed = { number: 2, createdAt: made.createdAt, keyId, value }
    const change = { content, message: made.message, signed }
    expect((await refusal(publishOne(domain, change))).code).toBe('signature')
    keys.trust(offline.publicKey)
    expect((await refusal(publishOne(domain, { ...change, message: 'changed' }))).code).toBe('signature')
    expect((await refusal(publishOne(domain, { ...change, content: { a: 3 } }))).code).toBe('signature')
    const late = { ...change, signed: { ...signed, number: 3 } }
    expect((await refusal(publishOne(domain, late))).code).toBe('conflict')
    const bad = { ...change, signed: { ...signed, value: 'no' } }
    expect((await refusal(publishOne(domain, bad))).code).toBe('signature')
    expect(await releaseCount(domain)).toBe(1)
    const { release: taken } = await publishOne(domain, change)
    expect(taken).toMatchObject({ ...made, signature: { keyId: offline.keyId } })
    expect(verifyRelease(taken, trust(offline))).toBe('good')
  })
})
