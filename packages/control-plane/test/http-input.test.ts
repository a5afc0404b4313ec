/** faults.md, "HTTP": what a user may throw at the API, and what must come of it. */
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { wire } from '../../../test/rig/wire.ts'
import { at, rig, type Answer, type Rig } from './http-rig.ts'

let here: Rig
const name = 'shop/gateway/prod'

beforeAll(async () => {
  here = await rig({ limits: { content: { maxContentBytes: 64 * 1024 } } })
  await here.ask('/v1/configs', { method: 'POST', body: { name } })
  await here.ask(at(name, '/content'), { method: 'PUT', body: { a: 1 }, headers: { 'if-none-match': '*' } })
})
afterAll(async () => await here.close())

async function put(body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return await here.ask(at(name, '/content'), { method: 'PUT', body, headers: { 'if-match': '*', ...headers } })
}

function expectProblem(answer: Answer, status: number, code: string): void {
  expect([answer.status, answer.text]).toEqual([status, expect.stringContaining(`"code":"${code}"`)])
  expect(answer.headers['content-type']).toBe('application/problem+json')
  const problem = answer.json()
  expect(problem).toMatchObject({ type: `urn:midflight:problem:${code}`, status, code })
  expect(problem.requestId).toBe(answer.headers['x-request-id'])
  expect(problem.detail).not.toBe('')
}

async function expectUnchanged(): Promise<void> {
  expect((await here.ask(at(name))).json().head.number).toBe(1)
}

describe('content types and bodies', () => {
  test.each([
    ['text/plain', '{}'],
    ['application/x-www-form-urlencoded', 'a=1'],
    ['multipart/form-data; boundary=x', '--x--'],
    ['application/json; charset=utf-16', '{}'],
    ['application/jsonp', '{}'],
  ])('%s → 415', async (type, body) => {
    expectProblem(await put(body, { 'content-type': type }), 415, 'unsupported-media-type')
  })

  test('a body too large → 413, by its length and by its chunks, and the connection ends', async () => {
    const large = JSON.stringify({ a: 'x'.repeat(70 * 1024) })
    expectProblem(await put(large), 413, 'too-large')
    await expectUnchanged()
  })

  test('endless chunks → 413 as soon as it is too much', async () => {
    const head = `PUT ${at(name, '/content')} HTTP/1.1\r\nHost: ${new URL(here.url).host}\r\nAuthorization: Bearer ${here.admin}\r\nContent-Type: application/json\r\nIf-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n`
    const line = wire(here.url, head)
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
    const drip = setInterval(() => line.socket.write(chunk), 1)
    await line.until(/HTTP\/1\.1 413[^]*too-large/).finally(() => clearInterval(drip))
    await line.closed
  })

  test('compressed → 415 by default: nothing is inflated', async () => {
    const answer = await put(gzipSync('{"a":2}'), { 'content-encoding': 'gzip' })
    expectProblem(answer, 415, 'unsupported-media-type')
    expect(answer.headers['accept-encoding']).toBe('identity')
  })

  test('with gzip taken, a bomb → 413, and what is honest is published', async () => {
    const other = await rig({ limits: { body: { gzip: true }, content: { maxContentBytes: 64 * 1024 } } })
    try {
      await other.ask('/v1/configs', { method: 'POST', body: { name } })
      const send = async (body: Buffer) =>
        await other.ask(at(name, '/content'), {
          method: 'PUT',
          body,
          headers: { 'if-none-match': '*', 'content-encoding': 'gzip' },
        })
      const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, ' '))
      expect(bomb.length).toBeLessThan(64 * 1024)
      expectProblem(await send(bomb), 413, 'too-large')
      expectProblem(await send(Buffer.from('{}')), 400, 'bad-request')
      expect((await send(gzipSync('{"a":2}'))).status).toBe(201)
    } finally {
      await other.close()
    }
  })

  test.each([
    ['a trailing comma', '{"a":1,}', /line 1, column 8/],
    ['cut off', '{"a":', /line 1/],
    ['empty', '', /empty|missing|nothing/],
    ['NaN', '{"a":NaN}', /column 6/],
    ['a key twice', '{"a":1,"a":2}', /twice/],
    ['a number too large', '{"a":1e400}', /larger/],
    ['digits that would be lost', '{"a":12345678901234567890}', /number/],
    ['__proto__', '{"__proto__":{"x":1}}', /__proto__/],
    ['too deep', `${'['.repeat(50_000)}`, /deep|levels|100/],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /UTF-8/],
    ['UTF-16', Buffer.from('\ufeff{"a":1}', 'utf16le'), /UTF-16|UTF-8|found/],
    ['a lone surrogate', '{"a":"\\ud800"}', /surrogate/],
  ])('%s → 400 with the place', async (_what, body, words) => {
    const answer = await put(body)
    expect([400, 422]).toContain(answer.status)
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(answer.json().detail).toMatch(words)
    await expectUnchanged()
  })

  test.each([['null'], ['[]'], ['1'], ['""']])(
    'I11: %s is no content, and never means "delete everything"',
    async (body) => {
      const answer = await put(body)
      expect([400, 422]).toContain(answer.status)
      await expectUnchanged()
    },
  )

  test('a content as deep as is taken is taken by every door, and one deeper by none', async () => {
    const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`
    const post = async (body: string) => await here.ask('/v1/publish', { method: 'POST', body })
    expect((await put(deep(101))).status).toBe(422)
    const other = at('shop/deep')
    await here.ask('/v1/configs', { method: 'POST', body: { name: 'shop/deep' } })
    const first = await here.ask(`${other}/content`, {
      method: 'PUT',
      body: deep(100),
      headers: { 'if-none-match': '*' },
    })
    expect(first.status, first.text).toBe(201)
    const change = (content: string) => `{"changes":[{"config":"shop/deep","ifMatch":1,"content":${content}}]}`
    expect((await post(change(deep(101)))).status).toBe(422)
    expect((await post(change(deep(99)))).status).toBe(201)
    await expectUnchanged()
  })

  test('an unknown field is told, not passed over', async () => {
    const answer = await here.ask('/v1/configs', { method: 'POST', body: { name: 'x', shcema: {} } })
    expectProblem(answer, 400, 'bad-request')
    expect(answer.json().detail).toContain('shcema is not known; want one of name, schema, rules, reviewers')
  })

  test('a body where there should be none → 400', async () => {
    expectProblem(await here.ask('/v1/audit/verify', { method: 'POST', body: {} }), 400, 'bad-request')
  })
})

describe('preconditions', () => {
  test.each([
    [{}, 428, 'precondition-required'],
    [{ 'if-match': '"sha256:0"' }, 412, 'conflict'],
    [{ 'if-match': 'W/"x"' }, 412, 'conflict'],
    [{ 'if-match': 'unquoted' }, 400, 'bad-request'],
    [{ 'if-none-match': '*' }, 412, 'conflict'],
    [{ 'if-none-match': '"x"' }, 400, 'bad-request'],
    [{ 'if-match': '*', 'if-none-match': '*' }, 400, 'bad-request'],
    [{ 'if-match': '*', 'idempotency-key': 'a b' }, 400, 'bad-request'],
    [{ 'if-match': '*', 'idempotency-key': 'x'.repeat(256) }, 400, 'bad-request'],
  ])('%j → %i %s', async (headers, status, code) => {
    const answer = await here.ask(at(name, '/content'), { method: 'PUT', body: { a: 2 }, headers: headers as never })
    expectProblem(answer, status, code)
    if (code === 'conflict') expect(answer.json().head).toMatchObject({ config: name, number: 1 })
    await expectUnchanged()
  })

  test('If-Match: * where there is no release → 412', async () => {
    await here.ask('/v1/configs', { method: 'POST', body: { name: 'shop/none' } })
    const answer = await here.ask(at('shop/none', '/content'), {
      method: 'PUT',
      body: {},
      headers: { 'if-match': '*' },
    })
    expectProblem(answer, 412, 'conflict')
  })
})

describe('paths, methods, queries', () => {
  test.each([
    '/v1/configs/..%2f..%2fetc',
    '/v1/configs/shop%2f..%2fgateway',
    '/v1/configs/%2e%2e',
    '/v1/configs/../tokens',
    '/v1/configs/shop%252fgateway',
    '/v1/configs/shop%5cgateway',
    '/v1/configs/shop%00',
    '/v1/configs/%zz',
    '/v1/configs/%ff',
    '/v1/configs/Shop',
    '/v1/configs/a%2f%2fb',
    `/v1/configs/${'a%2f'.repeat(8)}a`,
  ])('%s → 400', async (path) => {
    const answer = await here.ask(path)
    expect([answer.status, answer.json().code]).toEqual([400, expect.stringMatching(/^bad-/)])
  })

  test.each([
    ['GET', at(name, '/plan'), 'POST'],
    ['DELETE', at(name), 'GET'],
    ['POST', at(name, '/content'), 'GET, PATCH, PUT'],
    ['PUT', '/v1/publish', 'POST'],
    ['OPTIONS', '/v1/configs', 'GET, POST'],
    ['TRACE', '/-/healthy', 'GET'],
  ])('%s %s → 405 with Allow', async (method, path, allow) => {
    const answer = await here.ask(path, { method })
    expect([answer.status, answer.headers['allow']]).toEqual([405, allow])
  })

  test('what is nowhere → 404, and a name that is empty → 400', async () => {
    expectProblem(await here.ask('/v2/configs'), 404, 'not-found')
    const slashes = await here.ask(`/v1/configs/${name}`)
    expectProblem(slashes, 404, 'not-found')
    expect(slashes.json().detail).toContain('slashes are %2F')
    expectProblem(await here.ask('/v1/configs/'), 400, 'bad-request')
    expectProblem(await here.ask(at('shop/nothing')), 404, 'not-found')
    // That a question changed nothing goes without saying; of a change that was refused it is said.
    expect((await here.ask(at('shop/nothing'))).json().holds).toBeUndefined()
    const change = { method: 'PUT', body: {}, headers: { 'if-match': '*' } }
    expect((await here.ask(at('shop/nothing', '/content'), change)).json().holds).toBe('nothing was changed')
  })

  test.each([
    'limit=0',
    'limit=1001',
    'limit=-1',
    'limit=1e2',
    'limit=',
    'limit=1&limit=2',
    'limit=0x10',
    'limits=3',
    'after=NOPE',
  ])('?%s → 400, not coerced', async (query) =>
    expectProblem(await here.ask(`/v1/configs?${query}`), 400, 'bad-request'),
  )
})

describe('who may come from where', () => {
  test.each([['evil.example'], ['127.0.0.1'], ['127.0.0.1:1'], ['localhost.evil.example'], ['']])(
    'Host %j → 403',
    async (host) => {
      const line = wire(here.url, `GET /-/healthy HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      await line.closed
      expect(line.text()).toMatch(/^HTTP\/1\.1 403 [^]*foreign-host/)
    },
  )

  test.each(['null', 'http://evil.example', 'https://127.0.0.1', 'http://127.0.0.1:1'])(
    'Origin %s → 403',
    async (origin) => {
      expectProblem(await here.ask('/-/healthy', { headers: { origin } }), 403, 'foreign-origin')
    },
  )

  test('its own names and its own origin are taken', async () => {
    const { port } = new URL(here.url)
    for (const host of [`localhost:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`, `127.0.0.1:${port}`]) {
      expect((await here.ask('/-/healthy', { headers: { host } })).status).toBe(200)
    }
    expect((await here.ask('/-/healthy', { headers: { origin: here.url } })).status).toBe(200)
  })

  test('an upgrade is looked at like a request', async () => {
    const upgrade = (path: string, extra: string): string =>
      `GET ${path} HTTP/1.1\r\nHost: ${new URL(here.url).host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: midflight.v1\r\n${extra}\r\n`
    const cases: [string, string, RegExp][] = [
      ['/v1/agent/connect', '', /^HTTP\/1\.1 401/],
      ['/v1/agent/connect', `Authorization: Bearer ${here.admin}\r\nOrigin: null\r\n`, /^HTTP\/1\.1 403/],
      ['/v1/events', `Authorization: Bearer ${here.admin}\r\n`, /^HTTP\/1\.1 404/],
    ]
    for (const [path, extra, wanted] of cases) {
      const line = wire(here.url, upgrade(path, extra))
      await line.closed
      expect(line.text()).toMatch(wanted)
    }
    const good = wire(here.url, upgrade('/v1/agent/connect', `Authorization: Bearer ${here.admin}\r\n`))
    await good.until(/^HTTP\/1\.1 101 [^]*\r\n\r\n/)
    good.socket.destroy()
  })

  test('what is no HTTP → 400; headers without end → 431', async () => {
    const noise = wire(here.url, 'hello\r\n\r\n')
    await noise.closed
    expect(noise.text()).toMatch(/^HTTP\/1\.1 400 [^]*bad-request/)
    const long = wire(here.url, `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)
    await long.closed
    expect(long.text()).toMatch(/^HTTP\/1\.1 431 [^]*headers-too-large/)
  })
})

describe('request ids and limits', () => {
  test('a sane id is kept, in the answer and the log; others are replaced', async () => {
    expect((await here.ask('/-/healthy', { headers: { 'x-request-id': 'from-me.1' } })).headers['x-request-id']).toBe(
      'from-me.1',
    )
    expect(here.log()).toContain('"requestId":"from-me.1"')
    for (const bad of ['', 'a b', 'x'.repeat(129), '{"a":1}', '-x']) {
      const { headers } = await here.ask('/-/healthy', { headers: { 'x-request-id': bad } })
      expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
    }
  })

  test('too many requests → 429 with Retry-After, by token and by address', async () => {
    const other = await rig({
      limits: { http: { perToken: { perSecond: 0.01, burst: 5 }, perAddress: { perSecond: 0.01, burst: 10 } } },
    })
    try {
      const statuses: number[] = []
      for (let i = 0; i < 7; i++) statuses.push((await other.ask('/v1/configs')).status)
      expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429])
      const answer = await other.ask('/v1/configs')
      expectProblem(answer, 429, 'rate-limited')
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      for (let i = 0; i < 2; i++) expect((await other.ask('/-/healthy')).status).toBe(200)
      expect((await other.ask('/-/healthy')).status).toBe(429)
    } finally {
      await other.close()
    }
  })

  test('slow ones that drip in headers, an upgrade, a body, or nothing at all are cut, and others are served meanwhile', async () => {
    const other = await rig({ limits: { http: { headersTimeoutMs: 300, requestTimeoutMs: 600 } } })
    try {
      const { host } = new URL(other.url)
      const begins = {
        nothing: '',
        'half a line': 'GET /v1/con',
        headers: `GET /-/healthy HTTP/1.1\r\nHost: ${host}\r\nX-A: `,
        upgrade: `GET /v1/agent/connect HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: `,
        body: `PUT /v1/configs/a/content HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${other.admin}\r\nContent-Type: application/json\r\nIf-Match: *\r\nContent-Length: 100000\r\n\r\n{"a":"`,
      }
      const lines = Object.values(begins).flatMap((begin) => Array.from({ length: 10 }, () => wire(other.url, begin)))
      let left = lines.length
      for (const line of lines) void line.closed.then(() => left--)
      const drip = setInterval(() => {
        for (const [i, { socket }] of lines.entries()) if (i >= 10 && !socket.destroyed) socket.write('a')
      }, 20)
      let served = 0
      while (left > 0) {
        expect((await other.ask('/v1/configs')).status).toBe(200)
        served++
      }
      clearInterval(drip)
      expect(served).toBeGreaterThan(0)
      for (const line of lines.slice(20)) expect(line.text()).toMatch(/^HTTP\/1\.1 40[148] /)
    } finally {
      await other.close()
    }
  })

  test('more connections than allowed are turned away, and a request that drips in is ended', async () => {
    const other = await rig({ limits: { http: { connections: 1, headersTimeoutMs: 200, requestTimeoutMs: 300 } } })
    try {
      const first = wire(other.url, 'GET /-/healthy HTTP/1.1\r\n')
      const second = wire(other.url, `GET /-/healthy HTTP/1.1\r\nHost: ${new URL(other.url).host}\r\n\r\n`)
      await second.closed
      expect(second.text()).toBe('')
      await first.closed
      expect(first.text()).toMatch(/^HTTP\/1\.1 408 [^]*timeout/)
    } finally {
      await other.close()
    }
  })
})
