/** Health gates: what may be asked, by whom, and that everything but a clear yes is a no (I12). */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { parseBound } from '../src/gates/bound.ts'
import { gateOf, type Gate, type GateResult, type GateSpec } from '../src/gates/gate.ts'
import { filledQuery, queryProblem } from '../src/gates/query.ts'
import { gateSources, type GateSourceOptions } from '../src/gates/sources.ts'
import { checkGates } from '../src/gates/spec.ts'

const servers = new Map<Server, Set<Socket>>()
const never = new AbortController().signal
const context = { config: 'shop/gateway/prod', release: 41, step: 2, nodes: ['n1', 'n2'] }

async function listening(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  servers.set(server, sockets)
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const answering = (answer: RequestListener): Promise<string> => listening(createServer(answer))

afterEach(() => {
  for (const [server, sockets] of servers) {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  servers.clear()
})

const promql: GateSpec = { kind: 'promql', name: 'errors', query: 'error_ratio', want: '< 0.05' }
const webhook: GateSpec = { kind: 'webhook', name: 'smoke', hook: 'checks' }
const specs = { promql, webhook }

/** The gate of this kind, asking at `url`. */
function gateAt(url: string, kind: GateSpec['kind'], timeoutMs = 20_000): Gate {
  const prometheus = { url, timeoutMs }
  const checks = { url: `${url}/s3cr3t?key=s3cr3t`, timeoutMs, allowHosts: ['127.0.0.1'] }
  return gateSources({ prometheus, webhooks: { checks } }).gate(specs[kind])
}

const yes = {
  promql: JSON.stringify({ status: 'success', data: { resultType: 'scalar', result: [1, '0.01'] } }),
  webhook: JSON.stringify({ healthy: true }),
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return body
}

describe.each(['promql', 'webhook'] as const)('I12: a %s gate', (kind) => {
  const found = async (answer: RequestListener, timeoutMs?: number): Promise<GateResult> =>
    gateAt(await answering(answer), kind, timeoutMs).check(context, never)
  const drip = (response: ServerResponse, text: string): void => {
    const timer = setInterval(() => response.write(text), 5)
    response.on('close', () => clearInterval(timer))
  }

  test('passes for a clear yes, also one with another 2xx', async () => {
    expect(await found((_, response) => response.writeHead(203).end(yes[kind]))).toMatchObject({ ok: true })
  })

  test.each([500, 503, 404, 401, 429, 301, 302, 307, 308])('fails for a %i, whatever its body says', async (status) => {
    const paths: (string | undefined)[] = []
    const result = await found((request, response) => {
      paths.push(request.url)
      response.writeHead(status, { location: '/api/v1/other' }).end(yes[kind])
    })
    expect(result).toEqual({ ok: false, noData: true, found: expect.stringContaining(`answers ${status}`) })
    expect(paths).toHaveLength(1)
  })

  test.each(['', 'true', 'null', '[]', '{}', '{', '<html>', `${'['.repeat(50_000)}`, '\ufeff{}', '"healthy"'])(
    'fails for an answer that says something else: %.20j',
    async (text) => {
      expect(await found((_, response) => response.end(text))).toMatchObject({ ok: false, noData: true })
    },
  )

  test('fails for an answer that does not come, drips, or has no end (F22, F43)', async () => {
    expect(await found(() => {}, 50)).toEqual({
      ok: false,
      noData: true,
      found: expect.stringMatching(/no answer within 50 ms/),
    })
    const dripping = found((_, response) => drip(response.writeHead(200), ' '), 200)
    expect(await dripping).toMatchObject({
      ok: false,
      noData: true,
      found: expect.stringMatching(/no answer within 200 ms/),
    })
    // Its beginning is a yes.
    let closed = false
    const endless = await found((_, response) => {
      response.on('close', () => (closed = true))
      const more = (): void => {
        if (!closed) response.write(' '.repeat(100_000), more)
      }
      response.write(yes[kind], more)
    })
    expect(endless).toMatchObject({
      ok: false,
      noData: true,
      found: expect.stringContaining('larger than 1048576 bytes'),
    })
    await expect.poll(() => closed).toBe(true)
  })

  test('fails for an answer that is cut off after a whole yes, is reset, or is not HTTP', async () => {
    const text = yes[kind]
    const cutOff = await found((request, response) => {
      response.writeHead(200, { 'content-length': text.length + 1 })
      response.write(text, () => request.socket.destroy())
    })
    expect(cutOff).toMatchObject({ ok: false, noData: true })
    const reset = await listening(createTcpServer((socket) => socket.resetAndDestroy()))
    expect(await gateAt(reset, kind).check(context, never)).toMatchObject({ ok: false, noData: true })
    const other = await listening(createTcpServer((socket) => socket.end('SSH-2.0-s3cr3t\r\n')))
    const result = await gateAt(other, kind).check(context, never)
    expect(result).toEqual({
      ok: false,
      noData: true,
      found: expect.stringMatching(/^(?!.*s3cr3t).*HPE_INVALID_CONSTANT/),
    })
  })

  test('F61: fails for a server that is dead, and says nothing that is secret', async () => {
    const server = createTcpServer()
    const url = await listening(server)
    await new Promise((resolve) => server.close(resolve))
    const result = await gateAt(url, kind).check(context, never)
    expect(result).toEqual({ ok: false, noData: true, found: `${specs[kind].name}: cannot be asked: ECONNREFUSED` })
  })

  test('fails when it is stopped, before or in the middle, and leaves no connection', async () => {
    let closed = false
    const stop = new AbortController()
    const url = await answering((request, response) => {
      response.on('close', () => (closed = true))
      stop.abort()
      request.resume()
    })
    const stopped = { ok: false, noData: true, found: `${specs[kind].name}: was stopped before there was an answer` }
    expect(await gateAt(url, kind).check(context, stop.signal)).toEqual(stopped)
    await expect.poll(() => closed).toBe(true)
    expect(await gateAt(url, kind).check(context, stop.signal)).toEqual(stopped)
  })

  test('fails, and says so, when its source is not configured any more', async () => {
    const result = await gateSources({}).gate(specs[kind]).check(context, never)
    expect(result).toMatchObject({
      ok: false,
      noData: true,
      found: expect.stringContaining('configured on the control plane'),
    })
  })
})

test('I12: whatever a source of health throws is a failure in words, of bounded length and in one line', async () => {
  const throwing = (thrown: unknown): Promise<GateResult> =>
    gateOf('odd', 1000, () => {
      throw thrown
    }).check(context, never)
  expect(await throwing(new Error(`a\nb\u001b[2J${'x'.repeat(2000)}`))).toEqual({
    ok: false,
    noData: true,
    found: expect.stringMatching(/^odd: a b \[2Jx{400,}…$/),
  })
  expect(await throwing(undefined)).toEqual({ ok: false, noData: true, found: 'odd: undefined' })
  const truthy = gateOf('odd', 1000, async () => ({ ok: 'false', found: '' }) as unknown as GateResult)
  expect(await truthy.check(context, never)).toEqual({ ok: false, found: '' })
  const silent = gateOf('odd', 1000, async () => undefined as unknown as GateResult)
  expect(await silent.check(context, never)).toMatchObject({ ok: false, noData: true })
  const torn = gateOf('odd', 1000, async () => ({ ok: true, noData: true, found: '' }))
  expect(await torn.check(context, never)).toMatchObject({ ok: false })
  expect(await gateOf('odd', 10, () => new Promise(() => {})).check(context, never)).toMatchObject({
    ok: false,
    noData: true,
  })
})

describe('what Prometheus answers', () => {
  const vector = (...values: unknown[]): unknown => ({
    resultType: 'vector',
    result: values.map((value, i) => ({ metric: { __name__: 'x', node: `n${i}` }, value: [1, value] })),
  })
  const judged = async (data: unknown, more: object = {}): Promise<GateResult> => {
    const url = await answering((_, response) => response.end(JSON.stringify({ status: 'success', data, ...more })))
    return gateAt(url, 'promql').check(context, never)
  }

  test('one series, or all of many, within the bound is a yes', async () => {
    expect(await judged(vector('0.01'))).toEqual({ ok: true, found: 'errors{node="n0"} = 0.01; want < 0.05' })
    expect(await judged(vector('0.03', '0', '-1e-3'))).toEqual({
      ok: true,
      found: 'errors = -0.001 to 0.03 of 3 series; want < 0.05',
    })
  })

  test('one of many outside it is a no, and is named', async () => {
    expect(await judged(vector('0.01', '0.31', '0.02'))).toEqual({
      ok: false,
      found: 'errors{node="n1"} = 0.31; want < 0.05 (1 of 3 series)',
    })
    // What is measured counts before what is missing.
    expect(await judged(vector('NaN', '0.31'))).toEqual({
      ok: false,
      found: 'errors{node="n1"} = 0.31; want < 0.05 (2 of 2 series)',
    })
  })

  test.each(['NaN', '+Inf', '-Inf', '', ' ', 'x', '0x', 0.01, null, undefined])('%j is no value', async (value) => {
    expect(await judged(vector('0.01', value))).toMatchObject({ ok: false, noData: true })
    expect(await judged({ resultType: 'scalar', result: [1, value] })).toMatchObject({ ok: false, noData: true })
  })

  test.each<[unknown, RegExp]>([
    [vector(), /^errors: no data; want < 0.05$/],
    [{ resultType: 'matrix', result: [{ metric: {}, values: [[1, '0']] }] }, /is a matrix/],
    [{ resultType: 'string', result: [1, '0'] }, /is a string/],
    [{ resultType: 'vector', result: [{ metric: {}, histogram: [1, { count: '0' }] }] }, /has no number/],
    [{ resultType: 'vector', result: {} }, /want a query for an instant vector/],
    [{ result: [1, '0'] }, /thing without a type/],
    [{ resultType: 'scalar' }, /the scalar has no value/],
    [{ resultType: 'vector', result: [null] }, /has no number/],
    [undefined, /thing without a type/],
  ])('%j is a no', async (data, why) => {
    expect(await judged(data)).toEqual({ ok: false, noData: true, found: expect.stringMatching(why) })
  })

  test('an answer from a part of the data is a no, and so is an error with 200', async () => {
    expect(await judged(vector('0'), { warnings: ['store s1 is unavailable'] })).toEqual({
      ok: false,
      noData: true,
      found: 'errors: Prometheus warns: store s1 is unavailable; want < 0.05',
    })
    expect(await judged(vector('0'), { warnings: [] })).toMatchObject({ ok: true })
    expect(await judged(vector('0'), { status: 'error', error: 'too many' })).toMatchObject({
      ok: false,
      noData: true,
      found: expect.stringContaining('too many'),
    })
  })

  test('it is asked below its path, with the token and the headers of the server, and the filled query', async () => {
    const got: unknown[] = []
    const url = await answering(async (request, response) => {
      const { method, url: path, headers } = request
      got.push({ method, path, headers, form: Object.fromEntries(new URLSearchParams(await bodyOf(request))) })
      response.end(yes.promql)
    })
    let asked = 0
    const prometheus = {
      url: `${url}/tenant/?x=1`,
      token: async () => `t${++asked}`,
      headers: { 'x-scope-orgid': 'shop' },
      timeoutMs: 7000,
    }
    const gate = gateSources({ prometheus }).gate({ ...promql, query: 'up{config=$config, node=~$nodes}' } as GateSpec)
    expect(await gate.check(context, never)).toMatchObject({ ok: true })
    await gate.check(context, never)
    expect(got).toMatchObject([
      {
        method: 'POST',
        path: '/tenant/api/v1/query',
        headers: { authorization: 'Bearer t1', 'x-scope-orgid': 'shop', connection: 'close' },
        form: { query: 'up{config="shop/gateway/prod", node=~"n1|n2"}', timeout: '7000ms' },
      },
      { headers: { authorization: 'Bearer t2' } },
    ])
  })
})

describe('what a webhook is told and answers', () => {
  test('the rollout as JSON; its reason is shown, in one line', async () => {
    let got: unknown
    const url = await answering(async (request, response) => {
      got = { path: request.url, type: request.headers['content-type'], body: JSON.parse(await bodyOf(request)) }
      response.end(JSON.stringify({ healthy: false, reason: 'checkout is\nslow' }))
    })
    const result = await gateAt(url, 'webhook').check({ ...context, more: 's3cr3t' } as typeof context, never)
    expect(result).toEqual({ ok: false, found: 'smoke: not healthy: checkout is slow' })
    expect(got).toEqual({
      path: '/s3cr3t?key=s3cr3t',
      type: 'application/json',
      body: { gate: 'smoke', ...context },
    })
  })

  test.each(['"true"', '1', 'null', '[true]', '{}'])('healthy: %s is a no', async (healthy) => {
    const url = await answering((_, response) => response.end(`{"healthy":${healthy},"reason":7}`))
    expect(await gateAt(url, 'webhook').check(context, never)).toEqual({
      ok: false,
      noData: true,
      found: 'smoke: checks answers something else; want {"healthy": true or false}',
    })
  })

  test('it goes to public addresses only, unless its host is allowed', async () => {
    for (const url of ['http://127.0.0.1:9', 'http://169.254.169.254/', 'http://[::1]/', 'http://10.0.0.1/']) {
      expect(() => gateSources({ webhooks: { checks: { url } } })).toThrow(/add it to allowHosts/)
    }
    let requests = 0
    const url = await answering((_, response) => (requests++, response.end(yes.webhook)))
    const named = url.replace('127.0.0.1', 'localhost')
    const ask = (allowHosts: string[]): Promise<GateResult> =>
      gateSources({ webhooks: { checks: { url: named, allowHosts } } })
        .gate(webhook)
        .check(context, never)
    expect(await ask([])).toEqual({ ok: false, noData: true, found: expect.stringContaining('which is loopback') })
    expect(requests).toBe(0)
    expect(await ask(['localhost'])).toMatchObject({ ok: true })
  })
})

describe('what the operator configures', () => {
  test.each<[GateSourceOptions, RegExp]>([
    [{ prometheus: { url: 'prometheus:9090' } }, /want http:/],
    [{ prometheus: { url: '' } }, /want http:/],
    [{ prometheus: { url: 'http://u:s3cr3t@prometheus' } }, /^(?!.*s3cr3t).*a user or a password/],
    [{ prometheus: { url: 'http://p', token: 's3cr3t\r\nx: y' } }, /^(?!.*s3cr3t)/],
    [{ prometheus: { url: 'http://p', token: '' } }, /token is empty/],
    [{ prometheus: { url: 'http://p', headers: { 'x-a': 's3cr3t\r\n' } } }, /^(?!.*s3cr3t)/],
    [{ prometheus: { url: 'http://p', headers: { Host: 'x' } } }, /cannot be set/],
    [{ prometheus: { url: 'http://p', timeoutMs: 0 } }, /want 1 to/],
    [{ prometheus: { url: 'http://p', timeoutMs: Number.NaN } }, /want 1 to/],
    [{ webhooks: { a: { url: 'https://example.com', timeoutMs: 1e9 } } }, /webhook a timeoutMs/],
    [{ webhooks: { a: { url: 'file:///etc/passwd' } } }, /scheme/],
  ])('%j is refused at the start', (options, why) => {
    expect(() => gateSources(options)).toThrow(why)
    expect(() => gateSources(options)).toThrow(TypeError)
  })

  test('a gate that it cannot answer is refused before it is used', () => {
    const sources = gateSources({ webhooks: { load: { url: 'https://example.com/' } } })
    expect(sources.problems([promql, webhook])).toEqual([
      { code: 'schema', path: [0, 'kind'], message: expect.stringMatching(/no Prometheus is configured/) },
      { code: 'schema', path: [1, 'hook'], message: expect.stringMatching(/there are load$/) },
    ])
    expect(sources.problems([{ ...webhook, hook: 'load' }])).toEqual([])
  })
})

describe('what those who publish may write', () => {
  const messages = (given: unknown): string[] =>
    checkGates(given).map(({ path, message }) => `${path.join('.')} ${message}`)

  test('the documented forms are taken', () => {
    expect(checkGates([promql, webhook])).toEqual([])
    expect(checkGates([])).toEqual([])
  })

  test.each<[unknown, RegExp]>([
    [undefined, /no list of gates/],
    [{}, /no list of gates/],
    [new Array(17).fill(promql), /has 17 gates/],
    [[null], /^0 is no gate/],
    [['promql'], /^0 is no gate/],
    [[{}], /^0.kind is missing/],
    [[{ ...promql, kind: 'constructor' }], /^0.kind is "constructor"/],
    [[{ ...promql, url: 'http://169.254.169.254/' }], /^0.url is no part of a gate "promql"/],
    [[{ ...webhook, url: 'http://169.254.169.254/' }], /^0.url is no part of a gate "webhook"/],
    [[{ ...promql, name: 'a b' }], /^0.name is "a b"; want/],
    [[{ ...promql, name: 'x'.repeat(65) }], /^0.name is "x{63}…; want/],
    [[{ ...promql, query: 7 }], /^0.query is 7; want text/],
    [[{ ...promql, query: ' ' }], /^0.query is empty/],
    [[{ ...promql, query: 'x'.repeat(4097) }], /^0.query has 4097 characters/],
    [[{ ...promql, query: 'up{a=$secret}' }], /^0.query has \$secret; want one of \$config/],
    [[{ ...promql, want: '0.05' }], /^0.want is "0.05"; want <, <=/],
    [[{ ...webhook, hook: 'http://127.0.0.1' }], /^0.hook is "http:/],
    [[promql, { ...webhook, name: 'errors' }], /^1.name is "errors", as that of another/],
    [[Object.create(promql)], /^0.name is missing/],
  ])('%.80j is refused, with where and why', (given, why) => {
    expect(messages(given)[0]).toMatch(why)
  })
})

describe('a bound', () => {
  test.each<[string, number, number]>([
    ['< 0.05', 0.049, 0.05],
    ['<=0.05', 0.05, 0.051],
    ['> -1', 0, -1],
    ['>= .99', 0.99, 0.98],
    ['==0', 0, 1e-300],
    ['!= 1e3', 999, 1000],
    ['  <  +5.  ', 4, 5],
  ])('%j holds for %d and not for %d', (text, inside, outside) => {
    const bound = parseBound(text)
    if (typeof bound === 'string') throw new Error(bound)
    expect([inside, outside].map(bound.holds)).toEqual([true, false])
    for (const none of [Number.NaN, Infinity, -Infinity]) expect(bound.holds(none)).toBe(false)
  })

  const not = [
    '',
    '<',
    '0.05',
    '< x',
    '= 5',
    '=< 5',
    '< 5 6',
    '< 5%',
    '< Infinity',
    '< NaN',
    '< 1e999',
    '< 0x10',
    '<>5',
  ]
  test.each([...not, `< ${'1'.repeat(100)}`])('%j is none', (text) => {
    expect(parseBound(text)).toMatch(/^want </)
  })
})

describe('placeholders', () => {
  test('each stands for a quoted text, wherever it is outside of quotes and comments', () => {
    const query = `a{c=$config,r=$release}/b{s=$step,n=~$nodes} # $config it's "\n + c{x=~'a$',y="\\"$",z=\`b\\\`,r=$release}`
    expect(filledQuery(query, context)).toBe(
      `a{c="shop/gateway/prod",r="41"}/b{s="2",n=~"n1|n2"} # $config it's "\n + c{x=~'a$',y="\\"$",z=\`b\\\`,r="41"}`,
    )
    expect(queryProblem(query)).toBeUndefined()
  })

  test('what is filled in cannot leave its quotes, nor mean anything in a pattern', () => {
    const hostile = { ...context, config: 'x"} or vector(0) #\n\\', nodes: ['a.b|c', 'd$(e)'] }
    expect(filledQuery('a{c=$config,n=~$nodes}', hostile)).toBe(
      String.raw`a{c="x\"} or vector(0) #\n\\",n=~"a\\.b\\|c|d\\$\\(e\\)"}`,
    )
  })

  test('in quotes they would be taken as they stand, so they are refused there', () => {
    for (const query of ['up{c="$config"}', "up{c='$config'}", 'up{c=~`x-$release`}', 'up{c="$config']) {
      expect(queryProblem(query)).toMatch(/^has \$(config|release) inside quotes/)
    }
    expect(queryProblem('up{c=~"foo$", d="$configuration"} + $')).toMatch(/^has \$; want one of/)
  })

  test('I12: no nodes is nothing to ask about, and not everything that has no node', async () => {
    const url = await answering((_, response) => response.end(yes.promql))
    const gate = gateSources({ prometheus: { url } }).gate({ ...promql, query: 'up{node=~$nodes}' } as GateSpec)
    expect(await gate.check({ ...context, nodes: [] }, never)).toEqual({
      ok: false,
      noData: true,
      found: 'errors: $nodes is empty: there is nothing to ask about',
    })
  })
})
