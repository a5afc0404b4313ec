import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, Server as HttpServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect, createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { NotificationError, Notifier } from '../src/notify.ts'
import { refusal } from '../src/webhook-target.ts'
import { webhook, type WebhookOptions } from '../src/webhook.ts'
import { reloadEvent } from './outcomes.ts'

const servers: Server[] = []

async function listening(server: Server): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    if (server instanceof HttpServer) server.closeAllConnections()
    server.close()
  }
})

const receiver = (answer: RequestListener): Promise<number> => listening(createServer(answer))
const answering = (status: number, headers = {}): Promise<number> =>
  receiver((_, response) => response.writeHead(status, headers).end('no matter what'))
const never = new AbortController().signal

/** Sends one event; how that failed, if it did. */
async function sent(
  options: Partial<WebhookOptions> & { url: string },
  event = reloadEvent('committed'),
): Promise<NotificationError | undefined> {
  try {
    await webhook({ allowHosts: ['127.0.0.1', 'localhost'], ...options }).send(event, never)
    return undefined
  } catch (error) {
    if (error instanceof NotificationError) return error
    throw error
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return body
}

describe('what is sent', () => {
  test('a POST of the event as JSON, with the headers that were asked for', async () => {
    let got: unknown
    const port = await receiver(async (request, response) => {
      const { method, url, headers } = request
      got = { method, url, headers, body: JSON.parse(await bodyOf(request)) }
      response.writeHead(204).end()
    })
    const event = reloadEvent('restart-required', {}, 42)
    const headers = { authorization: 'Bearer t', 'user-agent': 'mine' }
    expect(await sent({ url: `http://127.0.0.1:${port}/hook?a=b`, headers }, event)).toBeUndefined()
    expect(got).toMatchObject({
      method: 'POST',
      url: '/hook?a=b',
      headers: { ...headers, 'content-type': 'application/json', host: `127.0.0.1:${port}`, connection: 'close' },
      body: event,
    })
  })

  test('an event of megabytes goes without its values', async () => {
    let body = ''
    const port = await receiver(async (request, response) => {
      body = await bodyOf(request)
      response.end()
    })
    const plan = { components: [], unread: [{ kind: 'added', path: 'a', after: 'x'.repeat(2 ** 20) }], changeCount: 1 }
    await sent({ url: `http://127.0.0.1:${port}` }, reloadEvent('rolled-back', { plan }))
    expect(JSON.parse(body)).toMatchObject({
      shortened: true,
      outcome: { kind: 'rolled-back', plan: { unread: [{ path: 'a' }] } },
    })
    expect(body.length).toBeLessThan(1000)
  })

  test('an https receiver whose certificate nobody vouches for gets nothing (F30)', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'midflight-tls-'))
    try {
      const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
      const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=x']
      execFileSync('openssl', ['req', ...kind, '-keyout', key, '-out', cert, '-days', '1'], { stdio: 'ignore' })
      let requests = 0
      const tls = { key: readFileSync(key), cert: readFileSync(cert) }
      const port = await listening(createTlsServer(tls, (_, response) => (requests++, response.end())))
      expect(await sent({ url: `https://127.0.0.1:${port}` })).toMatchObject({ message: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
      expect(requests).toBe(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('the answer', () => {
  test.each([200, 201, 204, 299])('%s is success', async (status) => {
    expect(await sent({ url: `http://127.0.0.1:${await answering(status)}` })).toBeUndefined()
  })

  test.each([500, 502, 503, 429, 408])('%s is worth another try', async (status) => {
    const failed = await sent({ url: `http://127.0.0.1:${await answering(status)}` })
    expect(failed).toMatchObject({ message: `answered ${status}`, transient: true, retryAfterMs: undefined })
  })

  test.each([400, 401, 404, 410, 422])('%s is not', async (status) => {
    const failed = await sent({ url: `http://127.0.0.1:${await answering(status, { 'retry-after': '1' })}` })
    expect(failed).toMatchObject({ transient: false, retryAfterMs: undefined })
  })

  test.each([301, 302, 303, 304, 307, 308])('%s is not followed, and a failure', async (status) => {
    const paths: (string | undefined)[] = []
    const port = await receiver((request, response) => {
      paths.push(request.url)
      response.writeHead(status, { location: '/other' }).end()
    })
    const failed = await sent({ url: `http://127.0.0.1:${port}/first` })
    expect(failed).toMatchObject({ message: `answered ${status}; redirects are not followed`, transient: false })
    expect(paths).toEqual(['/first'])
  })

  test.each<[string, number | undefined]>([
    ['2', 2000],
    ['0', undefined],
    ['-1', undefined],
    ['soon', undefined],
  ])('Retry-After: %s', async (header, ms) => {
    const failed = await sent({ url: `http://127.0.0.1:${await answering(503, { 'retry-after': header })}` })
    expect(failed?.retryAfterMs).toBe(ms)
  })

  test('Retry-After as a date', async () => {
    const date = new Date(Date.now() + 60_000).toUTCString()
    const failed = await sent({ url: `http://127.0.0.1:${await answering(503, { 'retry-after': date })}` })
    expect(failed?.retryAfterMs).toBeGreaterThan(40_000)
    expect(failed?.retryAfterMs).toBeLessThan(61_000)
  })

  test('a response without end is cut off, and its status counts', async () => {
    let closed = false
    const port = await receiver((_, response) => {
      response.on('close', () => (closed = true))
      const drip = (): void => {
        if (!closed) response.write('x'.repeat(10_000), drip)
      }
      drip()
    })
    expect(await sent({ url: `http://127.0.0.1:${port}`, timeoutMs: 30_000 })).toBeUndefined()
    await expect.poll(() => closed).toBe(true)
  })

  test('a response that drips is over with the time limit (F43)', async () => {
    const port = await receiver((_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 5)
      response.on('close', () => clearInterval(timer))
    })
    expect(await sent({ url: `http://127.0.0.1:${port}`, timeoutMs: 500 })).toBeUndefined()
  })

  test('no answer at all is over with the time limit, and worth another try (F22)', async () => {
    const failed = await sent({ url: `http://127.0.0.1:${await receiver(() => {})}`, timeoutMs: 30 })
    expect(failed).toMatchObject({ message: 'no answer within 30 ms', transient: true })
  })

  test('a connection that is refused, reset, or talks something else is worth another try (F26)', async () => {
    const gone = await listening(createTcpServer())
    await new Promise((resolve) => servers.pop()!.close(resolve))
    expect(await sent({ url: `http://127.0.0.1:${gone}` })).toMatchObject({ message: 'ECONNREFUSED', transient: true })
    const resets = await listening(createTcpServer((socket) => socket.resetAndDestroy()))
    expect(await sent({ url: `http://127.0.0.1:${resets}` })).toMatchObject({ transient: true })
    const talks = await listening(createTcpServer((socket) => socket.end('SSH-2.0-s3cr3t\r\n')))
    const failed = await sent({ url: `http://127.0.0.1:${talks}` })
    expect(failed).toMatchObject({ message: 'HPE_INVALID_CONSTANT', transient: true })
  })

  test('a name that does not resolve is worth another try (F29)', async () => {
    const failed = await sent({ url: 'http://nowhere.invalid/' })
    expect(failed).toMatchObject({ transient: true, message: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/) })
  })

  test('an abort ends the request', async () => {
    const port = await receiver(() => {})
    const stop = new AbortController()
    const hook = webhook({ url: `http://127.0.0.1:${port}`, allowHosts: ['127.0.0.1'] })
    const sending = hook.send(reloadEvent('committed'), stop.signal)
    stop.abort()
    await expect(sending).rejects.toThrow('ABORT_ERR')
  })

  test('503, 503, then 200 is three requests and no warning', async () => {
    let requests = 0
    const port = await receiver((_, response) => response.writeHead(++requests < 3 ? 503 : 200).end())
    const warnings: string[] = []
    const hook = webhook({ url: `http://127.0.0.1:${port}/ok`, allowHosts: [`127.0.0.1:${port}`] })
    const notifier = new Notifier([hook], (message) => warnings.push(message), { backOffMs: 2 })
    notifier.reload(reloadEvent('rejected'))
    await expect.poll(() => requests, { timeout: 5000 }).toBe(3)
    await notifier.close(5000)
    expect([requests, warnings]).toEqual([3, []])
  })

  test('404 is one request, and a warning without what is secret in the URL', async () => {
    const port = await answering(404)
    const warnings: string[] = []
    const hook = webhook({ url: `http://127.0.0.1:${port}/T0K3N?key=QU3RY#FR4G`, allowHosts: [`127.0.0.1:${port}`] })
    const notifier = new Notifier([hook], (message) => warnings.push(message))
    notifier.reload(reloadEvent('rejected'))
    await notifier.close(5000)
    expect(warnings).toEqual([
      `notification webhook http://127.0.0.1:${port}: event 1 (rejected) was not delivered: answered 404`,
    ])
  })
})

describe('where it may go', () => {
  const loopback = `127.0.0.1 127.1 127.0.0.1. 0x7f000001 2130706433 017700000001 0x7f.0.0.1 ①②⑦.0.0.1 [::1]
    [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::]`
  const unspecified = '0 0.0.0.0 [::] [::ffff:0:0]'
  const metadata = '169.254.169.254 [fd00:ec2::254] [::ffff:169.254.169.254] 0xa9fea9fe [fe80::1] [febf::1]'
  const inside = `10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 [fc00::1] [fdff::1]
    [fec0::1]`
  const nobody = '224.0.0.1 239.255.255.255 [ff02::1] 255.255.255.255 198.18.0.1 [2001:db8::1] [2001::1]'
  const hosts = [loopback, unspecified, metadata, inside, nobody].flatMap((list) => list.split(/\s+/))

  test.each(hosts)('%s is refused at the call', (host) => {
    for (const scheme of ['http', 'https']) {
      expect(() => webhook({ url: `${scheme}://${host}/` })).toThrow(/^webhook url leads to .* add it to allowHosts$/)
    }
  })

  const outside = `8.8.8.8 172.15.0.1 172.32.0.1 100.63.255.255 100.128.0.1 192.169.0.1 169.253.0.1 [2606:4700::1111]
    [2002:808:808::] [64:ff9b::808:808] hooks.example.com`

  test.each(outside.split(/\s+/))('%s is taken', (host) => {
    expect(webhook({ url: `https://${host}/x?y` }).name).toBe(`webhook https://${host}`)
  })

  const others = [
    'file:///etc/passwd',
    'ftp://a.com/',
    'javascript:alert(1)',
    'data:,x',
    'unix:/run/x',
    '',
    '/a',
    'a.com',
  ]
  test.each(others)('the URL %j is refused', (url) => {
    expect(() => webhook({ url })).toThrow(TypeError)
  })

  const withUser = ['http://s3cr3t@example.com/', 'http://u:s3cr3t@127.0.0.1/', 'http://127.0.0.1:s3cr3t@example.com/']
  test.each(withUser)('the user or the password in %j is refused, allowed or not, and not quoted', (url) => {
    const allowHosts = ['127.0.0.1', 'example.com']
    expect(() => webhook({ url, allowHosts })).toThrow(/^(?!.*s3cr3t).*a user or a password/)
  })

  test('a name is judged by what it resolves to when it is sent, and no connection is made', async () => {
    let connections = 0
    const server = createServer().on('connection', () => connections++)
    const port = await listening(server)
    const failed = await sent({ url: `http://localhost:${port}/`, allowHosts: [] })
    expect(failed?.transient).toBe(false)
    expect(failed?.message).toMatch(/^localhost resolves to (127\.0\.0\.1|::1), which is loopback/)
    // The port can be reached: it was the rule that held.
    const probe = connect(port, '127.0.0.1')
    await once(probe, 'connect')
    probe.destroy()
    await expect.poll(() => connections).toBe(1)
  })

  test('allowHosts allows a name or an address, on any port or on one', async () => {
    const port = await answering(200)
    for (const entry of ['localhost', `localhost:${port}`, 'LOCALHOST']) {
      expect(await sent({ url: `http://localhost:${port}/`, allowHosts: [entry] })).toBeUndefined()
    }
    for (const entry of ['127.0.0.1', `127.0.0.1:${port}`]) {
      expect(await sent({ url: `http://0x7f000001:${port}/`, allowHosts: [entry] })).toBeUndefined()
    }
  })

  test.each([
    ['http://[::1]:81', '::1', true],
    ['http://[::1]:81', '[::1]', true],
    ['http://[::1]:81', '[::1]:81', true],
    ['http://[::1]:81', '[::1]:82', false],
    ['http://127.0.0.1:81', '127.0.0.1:82', false],
    ['http://127.0.0.1:81', '127.0.0.2', false],
    ['http://127.0.0.1:81', 'localhost', false],
    ['http://127.0.0.1:81', '27.0.0.1', false],
    ['https://10.0.0.1', '10.0.0.1:443', true],
    ['http://10.0.0.1', '10.0.0.1:80', true],
    ['http://10.0.0.1', '10.0.0.1:443', false],
  ])('%s with %s in allowHosts: %s', (url, entry, taken) => {
    const made = (): string => webhook({ url, allowHosts: [entry] }).name
    if (taken) expect(made()).toBe(`webhook ${url}`)
    else expect(made).toThrow(TypeError)
  })

  test('an entry of allowHosts that is not a host is refused', () => {
    expect(() => webhook({ url: 'http://example.com/', allowHosts: ['not a host'] })).toThrow('want host or host:port')
  })

  test.each([
    ['a header with a line break', { headers: { x: 's3cr3t\r\nhost: b' } }],
    ['a header name with a space', { headers: { 'a b': 'c' } }],
    ['a Host of one’s own', { headers: { Host: 'internal' } }],
    ['a length of one’s own', { headers: { 'Content-Length': '1' } }],
    ['no time', { timeoutMs: 0 }],
    ['endless time', { timeoutMs: Number.POSITIVE_INFINITY }],
  ])('%s is refused', (_, more) => {
    expect(() => webhook({ url: 'http://example.com', ...more })).toThrow(/^(?!.*s3cr3t)/)
  })

  test('addresses in forms that a resolver may give', () => {
    expect(refusal('fe80::1%eth0')).toBe('link-local')
    expect(refusal('::ffff:10.1.2.3')).toBe('private')
    expect(refusal('1.1.1.1')).toBeUndefined()
    expect(refusal('not an address')).toBe('not an address')
  })
})

const mayMount = spawnSync('unshare', ['-m', 'true'], { stdio: 'ignore' }).status === 0

test.skipIf(!mayMount)('a name is refused if any of its addresses is (skipped: mounts are not allowed here)', () => {
  const pairs = ['127.0.0.1', '10.0.0.7', '224.0.0.1', '240.0.0.1']
  const folder = mkdtempSync(join(tmpdir(), 'midflight-hosts-'))
  try {
    writeFileSync(
      join(folder, 'hosts'),
      pairs.map((address, i) => `1.1.1.1 both${i}.test\n${address} both${i}.test\n`).join(''),
    )
    // The system sorts them: loopback comes first, and what it cannot route to last.
    // The hosts file is changed in a mount namespace of its own, which ends with the process.
    const script = `
      import { execFileSync } from 'node:child_process'
      import { webhook } from ${JSON.stringify(new URL('../src/webhook.ts', import.meta.url).href)}
      execFileSync('mount', ['--bind', process.argv.at(-1) + '/hosts', '/etc/hosts'])
      for (let i = 0; i < ${pairs.length}; i++) {
        const hook = webhook({ url: 'http://both' + i + '.test:9/', timeoutMs: 500 })
        await hook.send(${JSON.stringify(reloadEvent('committed'))}, new AbortController().signal).catch((error) => console.log(error.message))
      }`
    const node = [
      process.execPath,
      '--conditions=midflight-source',
      '--input-type=module-typescript',
      '-e',
      script,
      folder,
    ]
    const said = execFileSync('unshare', ['-m', ...node], { encoding: 'utf8' })
    pairs.forEach((address, i) => expect(said).toContain(`both${i}.test resolves to ${address}, which is `))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
