/** faults.md, "Tokens", and who may do what: every role × every kind of request. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { wire } from '../../../test/rig/wire.ts'
import { ask, at, hello, rig, type Answer, type Rig } from './http-rig.ts'

const generous = { http: { failures: { perSecond: 100, burst: 1000 } } }
const shop = 'shop/gateway'
const bank = 'bank/gateway'

function bare(answer: Answer): object {
  const { requestId: _, ...body } = answer.json()
  return body
}

describe('tokens', () => {
  let here: Rig
  beforeAll(async () => {
    here = await rig({ limits: generous })
    for (const name of [shop, bank]) await here.ask('/v1/configs', { method: 'POST', body: { name } })
  })
  afterAll(async () => await here.close())

  test('empty, unknown, malformed, another scheme, CR LF: 401 with one generic body', async () => {
    const secret = await here.token('viewer')
    const headers = [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      'Bearer nonsense',
      `Bearer ${secret.slice(0, -1)}`,
      `Bearer ${secret}x`,
      `Bearer ${secret} ${secret}`,
      `Basic ${Buffer.from(`admin:${secret}`).toString('base64')}`,
      secret,
      'Bearer a.b.c',
      'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.',
      `Bearer ${'x'.repeat(9000)}`,
    ]
    const bodies = new Set<string>()
    for (const authorization of headers) {
      const answer = await here.ask('/v1/configs', {
        token: null,
        headers: authorization === undefined ? {} : { authorization },
      })
      expect(answer.status, authorization).toBe(401)
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="midflight"')
      bodies.add(JSON.stringify(bare(answer)))
    }
    expect(bodies.size).toBe(1)
    const split = wire(
      here.url,
      `GET /v1/configs HTTP/1.1\r\nHost: ${new URL(here.url).host}\r\nAuthorization: Bearer a\r\n b\r\nConnection: close\r\n\r\n`,
    )
    await split.closed
    expect(split.text()).toMatch(/^HTTP\/1\.1 40[01] /)
  })

  test('expired and revoked look like unknown', async () => {
    const expiresAt = new Date(Date.now() + 300).toISOString()
    const made = await here.ask('/v1/tokens', {
      method: 'POST',
      body: { name: 'brief', role: 'viewer', prefix: '', expiresAt },
    })
    const { secret, token } = made.json()
    expect(made.headers['cache-control']).toBe('no-store')
    expect((await here.ask('/v1/configs', { token: secret })).status).toBe(200)
    while (Date.now() <= Date.parse(token.expiresAt)) await new Promise((resolve) => setTimeout(resolve, 20))
    const expired = await here.ask('/v1/configs', { token: secret })
    expect(expired.status).toBe(401)

    const other = (
      await here.ask('/v1/tokens', { method: 'POST', body: { name: 'x', role: 'viewer', prefix: '', expiresAt: null } })
    ).json()
    const revoked = await here.ask(`/v1/tokens/${other.token.id}`, { method: 'DELETE' })
    expect(revoked.json().revokedAt).not.toBeNull()
    const after = await here.ask('/v1/configs', { token: other.secret })
    expect([after.status, bare(after)]).toEqual([401, bare(expired)])
  })

  test('a secret is in one answer only: not in lists, the audit log, the log or on disk', async () => {
    const secret = await here.token('viewer', 'shop', 'seen once')
    const texts = [(await here.ask('/v1/tokens')).text, (await here.ask('/v1/audit?limit=1000')).text, here.log()]
    for (const file of await readdir(here.dataDir, { recursive: true, withFileTypes: true })) {
      if (file.isFile()) texts.push(await readFile(join(file.parentPath, file.name), 'latin1'))
    }
    expect(texts.length).toBeGreaterThan(4)
    for (const text of texts) expect(text).not.toContain(secret)
    expect((await here.ask('/v1/tokens')).text).not.toContain('hash')
  })

  test('nobody hands out more than they have', async () => {
    const admin = await here.token('admin', 'shop', 'shop admin')
    const give = async (role: string, prefix: string): Promise<number> =>
      (
        await here.ask('/v1/tokens', {
          method: 'POST',
          token: admin,
          body: { name: `x for ${role} ${prefix}`, role, prefix, expiresAt: null },
        })
      ).status
    expect(await give('publisher', 'shop/gateway')).toBe(201)
    expect(await give('viewer', '')).toBe(403)
    expect(await give('viewer', 'bank')).toBe(403)
    const publisher = await here.token('publisher')
    expect((await here.ask('/v1/tokens', { token: publisher })).status).toBe(403)
    const listed = (await here.ask('/v1/tokens', { token: admin })).json().items
    expect(listed.every(({ prefix }: { prefix: string }) => prefix.startsWith('shop'))).toBe(true)
  })

  test('a second token of one name: 409; each token has its own idempotency keys', async () => {
    const body = { name: 'deploy', role: 'publisher', prefix: '', expiresAt: null }
    const first = (await here.ask('/v1/tokens', { method: 'POST', body })).json()
    const again = await here.ask('/v1/tokens', { method: 'POST', body })
    expect([again.status, again.json().code]).toEqual([409, 'exists'])
    const put = (token: string, content: object): Promise<Answer> => {
      const headers = { 'if-match': '*', 'idempotency-key': 'k' }
      return here.ask(at('keys', '/content?force=true'), {
        method: 'PATCH',
        token,
        body: content,
        headers: { ...headers, 'content-type': 'application/merge-patch+json' },
      })
    }
    await here.ask('/v1/configs', { method: 'POST', body: { name: 'keys' } })
    await here.ask(at('keys', '/content'), { method: 'PUT', body: {}, headers: { 'if-none-match': '*' } })
    expect((await put(first.secret, { a: 1 })).json().replayed).toBe(false)
    expect((await put(first.secret, { a: 1 })).json().replayed).toBe(true)
    await here.ask(`/v1/tokens/${first.token.id}`, { method: 'DELETE' })
    const second = (await here.ask('/v1/tokens', { method: 'POST', body })).json()
    // Another's request under the same name and key is neither answered with the first one's nor refused for it.
    expect((await put(second.secret, { a: 2 })).json()).toMatchObject({
      replayed: false,
      release: { author: 'deploy' },
    })
  })

  test('guesses from one address are slowed down, by request and by upgrade; a good token always comes through', async () => {
    const other = await rig({ limits: { http: { failures: { perSecond: 0.01, burst: 3 } } } })
    try {
      const statuses: number[] = []
      for (let i = 0; i < 5; i++) statuses.push((await other.ask('/v1/configs', { token: `guess${i}` })).status)
      expect(statuses).toEqual([401, 401, 401, 429, 429])
      const host = new URL(other.url).host
      const line = wire(
        other.url,
        `GET /v1/agent/connect HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer guess\r\n\r\n`,
      )
      await line.closed
      expect(line.text()).toMatch(/^HTTP\/1\.1 429 /)
      expect((await other.ask('/v1/configs')).status).toBe(200)
    } finally {
      await other.close()
    }
  })
})

describe('roles × prefix', () => {
  let here: Rig
  const tokens: Record<string, string> = {}
  beforeAll(async () => {
    here = await rig({ limits: generous })
    for (const name of [shop, bank]) {
      await here.ask('/v1/configs', { method: 'POST', body: { name } })
      await here.ask(at(name, '/content'), { method: 'PUT', body: { a: 1 }, headers: { 'if-none-match': '*' } })
    }
    for (const role of ['viewer', 'publisher', 'approver', 'agent', 'admin'])
      tokens[role] = await here.token(role, 'shop')
  })
  afterAll(async () => await here.close())

  const uid = '00000000-0000-4000-8000-000000000001'
  const requests: [string, string, (config: string) => [string, string, unknown?, Record<string, string>?]][] = [
    ['read', 'viewer publisher approver admin', (config) => ['GET', at(config, '/content')]],
    ['history', 'viewer publisher approver admin', (config) => ['GET', at(config, '/releases')]],
    ['nodes', 'viewer publisher approver admin', (config) => ['GET', at(config, '/nodes')]],
    ['plan', 'viewer publisher approver admin', (config) => ['POST', at(config, '/plan'), { content: {} }]],
    ['publish', 'publisher admin', (config) => ['PUT', at(config, '/content'), { a: 1 }, { 'if-match': '*' }]],
    ['rollback', 'publisher admin', (config) => ['POST', at(config, '/rollback'), { to: 1 }]],
    ['draft', 'publisher approver admin', (config) => ['POST', at(config, '/drafts'), { content: { a: 2 } }]],
    ['configure', 'admin', (config) => ['PUT', at(config, '/schema'), { reviewers: 0 }]],
    [
      'break glass',
      'admin',
      (config) => ['PUT', at(config, '/content?breakGlass=fire'), { a: 1 }, { 'if-match': '*' }],
    ],
    [
      'atomic publish',
      'publisher admin',
      (config) => ['POST', '/v1/publish', { changes: [{ config, ifMatch: 1, content: { a: 1 } }] }],
    ],
    ['poll', 'agent admin', (config) => ['GET', `/v1/agent/${encodeURIComponent(config)}/poll`]],
    [
      'heartbeat',
      'agent admin',
      (config) => ['POST', `/v1/agent/${encodeURIComponent(config)}/heartbeat`, hello(uid, config, null)],
    ],
  ]

  test.each(requests)('%s: %s, and nobody else', async (_what, allowed, request) => {
    for (const [role, token] of Object.entries(tokens)) {
      const [method, path, body, headers = {}] = request(shop)
      const { status } = await here.ask(path, { method, body, headers, token })
      const isRefused = status === 403 || status === 404
      expect([role, isRefused]).toEqual([role, !allowed.split(' ').includes(role)])
    }
  })

  test.each(requests)('%s: what one may not see looks like what is not there', async (_what, _allowed, request) => {
    for (const token of Object.values(tokens)) {
      const answers: unknown[] = []
      for (const config of [bank, 'bank/missing']) {
        const [method, path, body, headers = {}] = request(config)
        const answer = await here.ask(path, { method, body, headers, token })
        answers.push(
          JSON.parse(JSON.stringify(bare(answer)).replaceAll(config, 'X').replaceAll(encodeURIComponent(config), 'X')),
        )
        expect(answer.status).toBe(404)
        expect(answer.headers.etag).toBeUndefined()
      }
      expect(answers[0]).toEqual(answers[1])
    }
  })

  test('lists, drafts, nodes and tokens show nothing of others', async () => {
    const draft = (await here.ask(at(bank, '/drafts'), { method: 'POST', body: { content: { a: 3 } } })).json()
    const bankUid = '00000000-0000-4000-8000-0000000000ff'
    await here.ask(`/v1/agent/${encodeURIComponent(bank)}/heartbeat`, {
      method: 'POST',
      body: hello(bankUid, bank, null),
    })
    for (const [role, token] of Object.entries(tokens)) {
      const configs = await here.ask('/v1/configs', { token })
      expect(configs.json().items.map(({ name }: { name: string }) => name)).toEqual(role === 'agent' ? [] : [shop])
      expect((await here.ask('/v1/configs?prefix=bank', { token })).json().items).toEqual([])
      for (const path of [`/v1/drafts/${draft.id}`, `/v1/drafts/${draft.id}/content`, `/v1/nodes/${bankUid}`]) {
        expect((await here.ask(path, { token })).status).toBe(404)
      }
      for (const path of ['/v1/audit', '/metrics']) expect((await here.ask(path, { token })).status).toBe(403)
    }
    expect((await here.ask(`/v1/nodes/${bankUid}`)).json().node.config).toBe(bank)
  })

  test('metrics: a token that reads the figures, and nothing else that there is', async () => {
    const metrics = await here.token('metrics')
    expect((await here.ask('/metrics', { token: metrics })).text).toContain('midflight_nodes')
    expect((await here.ask('/v1/configs', { token: metrics })).json()).toEqual({ items: [] })
    const paths = [at(shop), at(shop, '/content'), at(shop, '/nodes'), '/v1/audit', '/v1/tokens', '/v1/events']
    for (const path of paths) {
      const { status } = await here.ask(path, { token: metrics })
      expect([path, status === 403 || status === 404]).toEqual([path, true])
    }
    const poll = await here.ask(`/v1/agent/${encodeURIComponent(shop)}/poll`, { token: metrics })
    expect(poll.status).toBe(404)
  })

  test('a prefix is whole segments', async () => {
    await here.ask('/v1/configs', { method: 'POST', body: { name: 'shopping' } })
    expect((await here.ask(at('shopping'), { token: tokens['viewer'] as string })).status).toBe(404)
  })

  test('a body is not read from those who may not publish', async () => {
    const line = wire(
      here.url,
      `PUT ${at(shop, '/content')} HTTP/1.1\r\nHost: ${new URL(here.url).host}\r\nAuthorization: Bearer ${tokens['viewer']}\r\nContent-Type: application/json\r\nIf-Match: *\r\nContent-Length: 1000000\r\n\r\n`,
    )
    await line.until(/^HTTP\/1\.1 403/)
    line.socket.destroy()
  })
})

describe('OpenID', () => {
  const issuer = 'https://id.example'
  let privateKey: CryptoKey
  let jwk: JWK
  let provider: Server
  let here: Rig

  beforeAll(async () => {
    const pair = await generateKeyPair('ES256')
    privateKey = pair.privateKey
    jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'ES256' }
    provider = createServer((_request, response) => response.end(JSON.stringify({ keys: [jwk] })))
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
    const grants = [
      { claim: 'groups', value: 'sre', role: 'admin', prefix: '' },
      { claim: 'team', value: 'shop', role: 'publisher', prefix: 'shop' },
    ] as const
    const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/keys`
    here = await rig({
      limits: generous,
      oidc: { issuer, audience: 'midflight', keys: { url }, grants, nameClaim: 'email' },
    })
    await here.ask('/v1/configs', { method: 'POST', body: { name: shop } })
  })
  afterAll(async () => {
    await here.close()
    await new Promise((resolve) => provider.close(resolve))
  })

  function signed(
    claims: object,
    change: { iss?: string; aud?: string; exp?: number; nbf?: number; key?: CryptoKey } = {},
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000)
    return new SignJWT({ email: 'ada@example.com', ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setIssuer(change.iss ?? issuer)
      .setAudience(change.aud ?? 'midflight')
      .setExpirationTime(change.exp ?? now + 60)
      .setNotBefore(change.nbf ?? now - 10)
      .sign(change.key ?? privateKey)
  }

  test('claims give the role and the prefix, and the audit log has the name', async () => {
    const token = await signed({ team: 'shop' })
    const published = await here.ask(at(shop, '/content'), {
      method: 'PUT',
      body: { a: 1 },
      headers: { 'if-none-match': '*' },
      token,
    })
    expect(published.status, published.text).toBe(201)
    expect(published.json().release.author).toBe('oidc:ada@example.com')
    expect((await here.ask('/metrics', { token })).status).toBe(403)
    expect((await here.ask('/metrics', { token: await signed({ groups: ['dev', 'sre'] }) })).status).toBe(200)
  })

  test('expired, not yet valid, wrong audience, wrong issuer, wrong key, no expiry, alg none, no grant: 401 with one body', async () => {
    const now = Math.floor(Date.now() / 1000)
    const stranger = (await generateKeyPair('ES256')).privateKey
    const claims = { groups: ['sre'] }
    const bad = [
      await signed(claims, { exp: now - 60 }),
      await signed(claims, { nbf: now + 600 }),
      await signed(claims, { aud: 'other' }),
      await signed(claims, { iss: 'https://evil.example' }),
      await signed(claims, { key: stranger }),
      await new SignJWT({ email: 'a', ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(issuer)
        .setAudience('midflight')
        .sign(privateKey),
      new UnsecuredJWT({ email: 'a', ...claims })
        .setIssuer(issuer)
        .setAudience('midflight')
        .setExpirationTime('1h')
        .encode(),
      await new SignJWT({ email: 'a', ...claims })
        .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
        .setIssuer(issuer)
        .setAudience('midflight')
        .setExpirationTime('1h')
        .sign(Buffer.from(JSON.stringify(jwk))),
      await signed({}),
      await signed({ groups: 'sre2' }),
    ]
    const bodies = new Set<string>()
    for (const token of bad) {
      const answer = await here.ask('/v1/configs', { token })
      expect(answer.status).toBe(401)
      bodies.add(JSON.stringify(bare(answer)))
    }
    expect(bodies.size).toBe(1)
  })

  test('keys may stand in the options, and a claim may be a text', async () => {
    const grants = [{ claim: 'team', value: 'shop', role: 'viewer', prefix: '' }] as const
    const other = await rig({ oidc: { issuer, audience: 'midflight', keys: { jwks: { keys: [jwk] } }, grants } })
    try {
      expect((await other.ask('/v1/configs', { token: await signed({ sub: 'x', team: 'shop' }) })).status).toBe(200)
      // Without the claim that names somebody there is nobody to write into the audit log.
      expect((await other.ask('/v1/configs', { token: await signed({ team: 'shop' }) })).status).toBe(401)
    } finally {
      await other.close()
    }
  })

  test('a flood of tokens by unknown keys asks the provider for its keys once, and those that are good still come through', async () => {
    let asked = 0
    const counting = createServer((_request, response) => {
      asked++
      response.end(JSON.stringify({ keys: [jwk] }))
    })
    await new Promise<void>((resolve) => counting.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(counting.address() as AddressInfo).port}/keys`
    const grants = [{ claim: 'team', value: 'shop', role: 'viewer', prefix: '' }] as const
    const options = { issuer, audience: 'midflight', keys: { url }, grants, nameClaim: 'email' }
    const other = await rig({ limits: generous, oidc: options })
    try {
      const stranger = (await generateKeyPair('ES256')).privateKey
      const flood = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const token = await new SignJWT({ team: 'shop', email: 'eve' })
            .setProtectedHeader({ alg: 'ES256', kid: `unknown-${i}` })
            .setIssuer(issuer)
            .setAudience('midflight')
            .setExpirationTime('1m')
            .sign(stranger)
          return (await other.ask('/v1/configs', { token })).status
        }),
      )
      expect(new Set(flood)).toEqual(new Set([401]))
      expect((await other.ask('/v1/configs', { token: await signed({ team: 'shop' }) })).status).toBe(200)
      expect(asked).toBe(1)
    } finally {
      await other.close()
      await new Promise((resolve) => counting.close(resolve))
    }
  })

  test('a key that is rotated: the old stays good for as long as the provider names it, and the new is found', async () => {
    const next = await generateKeyPair('ES256')
    const nextJwk = { ...(await exportJWK(next.publicKey)), kid: 'k2', alg: 'ES256' }
    const grants = [{ claim: 'team', value: 'shop', role: 'viewer', prefix: '' }] as const
    const withKeys = (keys: JWK[]) => ({
      oidc: { issuer, audience: 'midflight', keys: { jwks: { keys } }, grants, nameClaim: 'email' },
    })
    const byNext = await new SignJWT({ team: 'shop', email: 'ada' })
      .setProtectedHeader({ alg: 'ES256', kid: 'k2' })
      .setIssuer(issuer)
      .setAudience('midflight')
      .setExpirationTime('1m')
      .sign(next.privateKey)
    const byOld = await signed({ team: 'shop' })
    for (const [keys, old, fresh] of [
      [[jwk], 200, 401],
      [[jwk, nextJwk], 200, 200],
      [[nextJwk], 401, 200],
    ] as const) {
      const other = await rig(withKeys([...keys]))
      const statuses = [byOld, byNext].map(async (token) => (await other.ask('/v1/configs', { token })).status)
      expect(await Promise.all(statuses)).toEqual([old, fresh])
      await other.close()
    }
  })

  test('a token that is huge, or whose header names keys of its own, is refused like any other', async () => {
    const eve = await generateKeyPair('ES256')
    const own = { ...(await exportJWK(eve.publicKey)), alg: 'ES256' }
    const claims = { groups: ['sre'], email: 'eve' }
    const sealed = (header: object) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', ...header })
        .setIssuer(issuer)
        .setAudience('midflight')
        .setExpirationTime('1m')
        .sign(eve.privateKey)
    const bad = [
      await signed({ groups: ['sre'], more: 'x'.repeat(8192) }),
      await sealed({ kid: 'k1', jwk: own }),
      await sealed({ kid: '../../k1' }),
      await sealed({ jku: 'http://127.0.0.1:1/keys' }),
      `${(await signed({ groups: ['sre'] })).split('.').slice(0, 2).join('.')}.`,
      `${await signed({ groups: ['sre'] })}.x`,
      await signed({ groups: ['sre'], email: 'x'.repeat(201) }),
      await signed({ groups: ['sre'], email: { name: 'admin' } }),
    ]
    for (const token of bad) expect((await here.ask('/v1/configs', { token })).status).toBe(401)
    // Headers of more than 16 KiB do not even get that far.
    const large = await signed({ groups: ['sre'], more: 'x'.repeat(20_000) })
    expect((await here.ask('/v1/configs', { token: large })).status).toBe(431)
  })

  test('F31, F32: the clock of the server says what has expired, and what is not yet', async () => {
    const clock = { at: Date.now() }
    const grants = [{ claim: 'team', value: 'shop', role: 'viewer', prefix: '' }] as const
    const options = { issuer, audience: 'midflight', keys: { jwks: { keys: [jwk] } }, grants, nameClaim: 'email' }
    const other = await rig({ oidc: options, now: () => new Date(clock.at) })
    try {
      const real = clock.at
      const token = await signed({ team: 'shop' })
      const own = { name: 'brief', role: 'viewer', prefix: '', expiresAt: new Date(real + 3_600_000).toISOString() }
      const { secret } = (await other.ask('/v1/tokens', { method: 'POST', body: own })).json()
      const statuses = async () => [
        (await other.ask('/v1/configs', { token })).status,
        (await other.ask('/v1/configs', { token: secret })).status,
        (await other.ask('/v1/configs')).status,
      ]
      expect(await statuses()).toEqual([200, 200, 200])
      clock.at = real + 400 * 86_400_000
      expect(await statuses()).toEqual([401, 401, 200])
      clock.at = real - 3_600_000
      expect(await statuses()).toEqual([401, 200, 200])
      // Set right again, everything is as it was: nothing was thrown away meanwhile.
      clock.at = real
      expect(await statuses()).toEqual([200, 200, 200])
    } finally {
      await other.close()
    }
  })

  test('keys that cannot be had: 503, and tokens of the control plane are good all the same', async () => {
    // One answers with an error, one with something else, one never.
    const answers = [
      (response: ServerResponse) => response.writeHead(500).end('down'),
      (response: ServerResponse) => response.end('<html>'),
      (response: ServerResponse) => response.end('{"keys": 7}'),
      () => undefined,
    ]
    for (const answer of answers) await away(answer)
  })

  async function away(answer: (response: ServerResponse) => unknown): Promise<void> {
    const down = createServer((_request, response) => void answer(response))
    await new Promise<void>((resolve) => down.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(down.address() as AddressInfo).port}/keys`
    const other = await rig({ oidc: { issuer, audience: 'midflight', keys: { url }, grants: [] } })
    try {
      const answer = await other.ask('/v1/configs', { token: await signed({}) })
      expect([answer.status, answer.json().code]).toEqual([503, 'unavailable'])
      expect((await other.ask('/v1/configs')).status).toBe(200)
    } finally {
      await other.close()
      down.closeAllConnections()
      await new Promise((resolve) => down.close(resolve))
    }
  }

  test('options that would let too many in are refused at the start', async () => {
    const options = { issuer, audience: 'midflight', keys: { jwks: { keys: [jwk] } }, grants: [] }
    await expect(rig({ oidc: { ...options, algorithms: ['HS256'] } })).rejects.toThrow('HS256')
    await expect(rig({ oidc: { ...options, algorithms: ['none'] } })).rejects.toThrow('none')
    await expect(rig({ oidc: { ...options, audience: '' } })).rejects.toThrow('audience')
  })
})

describe('client certificates', () => {
  let folder: string
  const read = async (name: string): Promise<string> => await readFile(join(folder, name), 'utf8')

  function openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  }

  async function issued(name: string, san: string, ca = 'ca', days = '2', subject = `/CN=${name}`): Promise<void> {
    await writeFile(join(folder, `${name}.ext`), `subjectAltName=${san}\n`)
    openssl(
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      subject,
    )
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      `${ca}.pem`,
      '-CAkey',
      `${ca}.key`,
      '-CAcreateserial',
      '-days',
      days,
      '-out',
      `${name}.pem`,
      '-extfile',
      `${name}.ext`,
    )
  }

  function authority(name: string): void {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-subj',
      `/CN=${name}`,
    )
  }

  let here: Rig
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'midflight-tls-'))
    authority('ca')
    authority('stranger')
    await issued('server', 'IP:127.0.0.1,DNS:localhost')
    await issued('node1', 'URI:urn:midflight:agent:shop')
    await issued('plain', 'DNS:node1')
    await issued('forged', 'URI:urn:midflight:agent:shop', 'stranger')
    await issued('expired', 'URI:urn:midflight:agent:shop', 'ca', '0')
    await issued('named', 'DNS:node2', 'ca', '2', '/CN=urn:midflight:agent:shop')
    await issued('quoted', '@names\n[names]\nDNS.1 = "x, URI:urn:midflight:agent:shop"')
    await issued('above', 'URI:urn:midflight:agent:')
    await issued('twice', 'URI:urn:midflight:agent:shop,URI:urn:midflight:agent:bank')
    here = await rig({
      limits: generous,
      tls: { cert: await read('server.pem'), key: await read('server.key'), clientCa: await read('ca.pem') },
    })
  })
  afterAll(async () => {
    await here.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function as(name: string | undefined, path: string, question: object = {}): Promise<Answer> {
    const own = name === undefined ? {} : { cert: await read(`${name}.pem`), key: await read(`${name}.key`) }
    return await ask(here.url, path, { ...question, tls: { ca: await read('ca.pem'), ...own } })
  }

  test('a certificate that names a config is an agent for it and those below, and for no other', async () => {
    for (const name of [shop, bank]) {
      const made = await as(undefined, '/v1/configs', { method: 'POST', body: { name }, token: here.admin })
      expect(made.status, made.text).toBe(201)
    }
    const poll = (config: string): string => `/v1/agent/${encodeURIComponent(config)}/poll`
    expect((await as('node1', poll(shop))).status).toBe(304)
    expect((await as('node1', poll(bank))).status).toBe(404)
    expect((await as('node1', at(shop, '/content'))).status).toBe(404)
  })

  test('none, one without such a name, with two, of another authority, expired, with the name where it does not count: 401', async () => {
    for (const name of [undefined, 'plain', 'twice', 'forged', 'expired', 'named', 'quoted', 'above']) {
      expect([name, (await as(name, `/v1/agent/${encodeURIComponent(shop)}/poll`)).status]).toEqual([name, 401])
    }
  })

  test('a certificate is enough for a WebSocket', async () => {
    const connected = async (name: string): Promise<string> => {
      const { host, port } = new URL(here.url)
      const [ca, cert, key] = [await read('ca.pem'), await read(`${name}.pem`), await read(`${name}.key`)]
      const socket = connectTls({ host: '127.0.0.1', port: Number(port), ca, cert, key })
      socket.write(
        `GET /v1/agent/connect HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: midflight.v1\r\n\r\n`,
      )
      const [chunk] = (await once(socket, 'data')) as [Buffer]
      socket.destroy()
      return chunk.toString().slice(0, 12)
    }
    expect(await connected('node1')).toBe('HTTP/1.1 101')
    expect(await connected('plain')).toBe('HTTP/1.1 401')
    expect(await connected('forged')).toBe('HTTP/1.1 401')
  })

  test('a certificate that was taken back, or whose authority was, is nobody from the next connection on', async () => {
    await issued('node3', 'URI:urn:midflight:agent:shop')
    await writeFile(join(folder, 'index.txt'), '')
    await writeFile(join(folder, 'crl.cnf'), '[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ndefault_md=sha256\n')
    const ca = ['-config', 'crl.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key']
    openssl('ca', ...ca, '-revoke', 'node3.pem')
    openssl('ca', ...ca, '-gencrl', '-crldays', '2', '-out', 'crl.pem')
    const own = { cert: await read('server.pem'), key: await read('server.key'), clientCa: await read('ca.pem') }
    const other = await rig({ limits: generous, tls: own })
    const poll = `/v1/agent/${encodeURIComponent(shop)}/poll`
    const statuses = async (): Promise<number[]> => {
      const asked: number[] = []
      for (const name of ['node1', 'node3']) {
        const tls = { ca: own.clientCa, cert: await read(`${name}.pem`), key: await read(`${name}.key`) }
        asked.push((await ask(other.url, poll, { tls })).status)
      }
      return asked
    }
    const config = { method: 'POST', body: { name: shop }, token: other.admin, tls: { ca: own.clientCa } }
    expect((await ask(other.url, '/v1/configs', config)).status).toBe(201)
    expect(await statuses()).toEqual([304, 304])
    other.plane.useCertificate({ ...own, clientCrl: await read('crl.pem') })
    expect(await statuses()).toEqual([304, 401])
    other.plane.useCertificate({ ...own, clientCa: await read('stranger.pem') })
    expect(await statuses()).toEqual([401, 401])
    await other.close()
  })

  test('a TLS handshake that never comes to its end is cut', async () => {
    const other = await rig({
      limits: { http: { headersTimeoutMs: 200 } },
      tls: { cert: await read('server.pem'), key: await read('server.key') },
    })
    const silent = wire(other.url, '')
    const half = wire(other.url, String.fromCharCode(22, 3, 1))
    const plain = wire(other.url, 'GET /-/healthy HTTP/1.1\r\n\r\n')
    await Promise.all([silent.closed, half.closed, plain.closed])
    expect((await ask(other.url, '/-/healthy', { tls: { ca: await read('ca.pem') } })).status).toBe(200)
    await other.close()
  })

  test('F30: a renewed certificate is taken without a restart', async () => {
    await issued('renewed', 'IP:127.0.0.1,DNS:localhost')
    here.plane.useCertificate({
      cert: await read('renewed.pem'),
      key: await read('renewed.key'),
      clientCa: await read('ca.pem'),
    })
    const { port } = new URL(here.url)
    const socket = connectTls({ host: '127.0.0.1', port: Number(port), ca: await read('ca.pem') })
    const name = await new Promise((resolve, reject) => {
      socket.once('secureConnect', () => resolve(socket.getPeerCertificate().subject.CN))
      socket.once('error', reject)
    })
    socket.destroy()
    expect(name).toBe('renewed')
  })
})
