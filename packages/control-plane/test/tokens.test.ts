/** Tokens: shown once, kept as a hash, and good until they expire or are revoked. */
import { describe, expect, test } from 'vitest'
import { decide, type Principal } from '../src/access.ts'
import { domainOf } from '../src/domain.ts'
import { authenticate, controlPlane, createToken, listTokens, revokeToken, sharedNames } from '../src/tokens.ts'
import { HandClock, refusal, stores } from './domain-rig.ts'

const publisher = { name: 'ada', role: 'publisher', prefix: 'shop', expiresAt: null } as const

describe.each(stores)('on %s', (_name, open) => {
  test('a token says who somebody is, and its secret is 256 bits that are kept nowhere', async () => {
    const domain = domainOf({ store: await open() })
    const { token, secret } = await createToken(domain, publisher, controlPlane)
    expect(secret).toMatch(/^mfs_[A-Za-z0-9_-]{43}$/)
    const principal = (await authenticate(domain, secret)) as Principal
    expect(principal).toEqual({ name: 'ada', id: token.id, role: 'publisher', prefix: 'shop' })
    expect(decide(principal, 'publish', 'shop/gateway')).toBe('allowed')
    const everything = await domain.store.read((read) => [read.tokens(undefined, 10), read.audit(undefined, 10)])
    expect(JSON.stringify([everything, token])).not.toContain(secret.slice(4))
    expect(token).not.toHaveProperty('hash')
  })

  test('unknown, empty, expired, revoked, not a token: all refused alike', async () => {
    const clock = new HandClock()
    const domain = domainOf({ store: await open(), now: clock.now })
    const expiring = await createToken(domain, { ...publisher, expiresAt: '2026-11-21T00:00:00Z' }, controlPlane)
    const revoked = await createToken(domain, { ...publisher, name: 'bob' }, controlPlane)
    expect(await authenticate(domain, expiring.secret)).toBeDefined()
    await revokeToken(domain, revoked.token.id, controlPlane)
    clock.atMs = Date.parse('2026-11-21T00:00:00Z')
    const stranger = `mfs_${'A'.repeat(43)}`
    const bad = ['', ' ', undefined, null, 7, {}, stranger, `${revoked.secret}\r\n`, `Bearer ${revoked.secret}`, 'mfs_']
    for (const secret of [...bad, expiring.secret, revoked.secret, expiring.token.id]) {
      expect(await authenticate(domain, secret)).toBeUndefined()
    }
  })

  test('nobody hands out more than they have, and others do not see or revoke it', async () => {
    const domain = domainOf({ store: await open() })
    const shop: Principal = { name: 'shop admin', role: 'admin', prefix: 'shop' }
    const bank = await createToken(domain, { ...publisher, name: 'bank', prefix: 'bank' }, controlPlane)
    const own = await createToken(domain, { ...publisher, name: 'own', prefix: 'shop/gateway' }, shop)
    expect((await refusal(createToken(domain, { ...publisher, prefix: '' }, shop))).code).toBe('denied')
    const ada: Principal = { name: 'ada', role: 'publisher', prefix: '' }
    expect((await refusal(createToken(domain, publisher, ada))).code).toBe('denied')
    expect((await refusal(revokeToken(domain, own.token.id, ada))).code).toBe('denied')
    expect((await refusal(revokeToken(domain, bank.token.id, shop))).code).toBe('not-found')
    expect((await refusal(revokeToken(domain, 'nothing', shop))).code).toBe('not-found')
    const { tokens } = await listTokens(domain, shop, undefined, 10)
    expect(tokens.map(({ name }) => name)).toEqual(['own'])
    expect(JSON.stringify(tokens)).not.toContain('hash')
    expect((await listTokens(domain, controlPlane, undefined, 1)).next).toBeDefined()
  })

  test('what is done with tokens is audited, and revoking twice is once', async () => {
    const domain = domainOf({ store: await open() })
    const { token } = await createToken(domain, publisher, controlPlane)
    await revokeToken(domain, token.id, controlPlane)
    await revokeToken(domain, token.id, controlPlane)
    const log = await domain.store.read((read) => read.audit(undefined, 10))
    expect(log.map(({ action }) => action)).toEqual(['token-created', 'token-revoked'])
    expect(log[0]).toMatchObject({ actor: 'control plane', detail: { name: 'ada', role: 'publisher', prefix: 'shop' } })
  })

  test('a name is one good token: who comes second is told the way out, and a name is free again when its token ends', async () => {
    const clock = new HandClock()
    const domain = domainOf({ store: await open(), now: clock.now })
    const first = await createToken(domain, { ...publisher, expiresAt: '2026-11-21T00:00:00Z' }, controlPlane)
    const second = await refusal(createToken(domain, { ...publisher, role: 'approver' }, controlPlane))
    expect([second.code, second.message]).toEqual(['exists', expect.stringContaining(`revoke ${first.token.id} first`)])
    const bank: Principal = { name: 'bank admin', role: 'admin', prefix: 'bank' }
    const elsewhere = await refusal(createToken(domain, { ...publisher, prefix: 'bank' }, bank))
    expect([elsewhere.code, elsewhere.message.includes(first.token.id)]).toEqual(['exists', false])
    clock.atMs = Date.parse('2026-11-21T00:00:00Z')
    const third = await createToken(domain, publisher, controlPlane)
    await revokeToken(domain, third.token.id, controlPlane)
    const fourth = await createToken(domain, publisher, controlPlane)
    expect((await authenticate(domain, fourth.secret))?.id).toBe(fourth.token.id)
  })

  test('of two who ask for one name at once, one gets it', async () => {
    const domain = domainOf({ store: await open() })
    const asked = Array.from({ length: 5 }, () => createToken(domain, publisher, controlPlane))
    const done = await Promise.allSettled(asked)
    expect(done.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('doubles of an earlier version are found, and told apart by their ids', async () => {
    const domain = domainOf({ store: await open() })
    const { token, secret } = await createToken(domain, publisher, controlPlane)
    const twin = await createToken(domain, { ...publisher, name: 'twin' }, controlPlane)
    await domain.store.transaction((tx) => {
      const record = tx.tokenById(twin.token.id)
      if (record !== undefined) tx.putToken({ ...record, name: 'ada' })
    })
    expect(await sharedNames(domain)).toEqual(['ada'])
    const both = [await authenticate(domain, secret), await authenticate(domain, twin.secret)]
    expect(both.map((one) => one?.id)).toEqual([token.id, twin.token.id])
    await revokeToken(domain, twin.token.id, controlPlane)
    expect(await sharedNames(domain)).toEqual([])
  })

  test.each([
    ['a name that OpenID or certificates give', { name: 'oidc:ada@example.com' }],
    ['the name of the control plane itself', { name: 'control plane' }],
    ['the name of those who make releases that nobody asked for', { name: 'midflight' }],
    ['metrics of a part', { role: 'metrics' }],
    ['an unknown role', { role: 'root' }],
    ['a prefix that is no name', { prefix: '../shop' }],
    ['a prefix with a slash at its end', { prefix: 'shop/' }],
    ['an end in the past', { expiresAt: '2020-01-01T00:00:00Z' }],
    ['an end that is no time', { expiresAt: 'tomorrow' }],
    ['no name', { name: '' }],
  ])('refused: %s', async (_what, over) => {
    const domain = domainOf({ store: await open() })
    const error = await refusal(createToken(domain, { ...publisher, ...over } as typeof publisher, controlPlane))
    expect(error.code).toBe('invalid')
    expect(await domain.store.read((read) => read.tokens(undefined, 10))).toEqual([])
  })
})
