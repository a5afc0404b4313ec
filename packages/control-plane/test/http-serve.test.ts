/** Starting, starting again, refusing to start, and closing in order. */
import { execFileSync, spawn } from 'node:child_process'
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memoryStore, serve, StoreError } from '../src/index.ts'
import type { StoreTx } from '../src/store.ts'
import { wire } from '../../../test/rig/wire.ts'
import { ask, at, hello, rig } from './http-rig.ts'

let folder: string
let folders = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-serve-'))
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))
const fresh = (): string => join(folder, `d${++folders}`)

describe('the first start', () => {
  test('makes a folder for its owner only, a signing key, and an admin token that is shown once and stored hashed', async () => {
    const dataDir = fresh()
    const shown: string[] = []
    const first = await rig({ dataDir, onAdminToken: (secret) => shown.push(secret) })
    expect(shown).toHaveLength(1)
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
    for (const name of await readdir(dataDir))
      expect([name, (await stat(join(dataDir, name))).mode & 0o077]).toEqual([name, 0])
    const admin = shown[0] as string
    const name = 'shop/gateway'
    await first.ask('/v1/configs', { method: 'POST', body: { name }, token: admin })
    const headers = { 'if-none-match': '*' }
    const released = (
      await first.ask(at(name, '/content'), { method: 'PUT', body: { a: 1 }, headers, token: admin })
    ).json()
    expect(first.log()).not.toContain(admin)
    await first.close()

    const second = await rig({ dataDir, onAdminToken: (secret) => shown.push(secret) })
    expect(shown).toHaveLength(1)
    const found = await second.ask(at(name, '/releases/1'), { token: admin })
    expect(found.json()).toEqual(released.release)
    await second.close()
    const third = await rig({ dataDir, newAdminToken: true, onAdminToken: (secret) => shown.push(secret) })
    expect(shown).toHaveLength(2)
    expect((await third.ask('/v1/configs', { token: shown[1] as string })).status).toBe(200)
    await third.close()
  })

  test('a folder that others may read is refused, with the way out', async () => {
    const dataDir = await mkdtemp(join(folder, 'open-'))
    await chmod(dataDir, 0o755)
    await expect(rig({ dataDir })).rejects.toThrow(/mode 0755; want 0700.*chmod 700/)
  })

  test('what is not a store is refused, and nothing is made of it', async () => {
    const dataDir = await mkdtemp(join(folder, 'junk-'))
    const first = await rig({ dataDir })
    await first.close()
    const [database] = (await readdir(dataDir)).filter((name) => name.endsWith('.db'))
    await writeFile(join(dataDir, database as string), 'this is no database')
    await expect(rig({ dataDir })).rejects.toThrow(/is not an SQLite database.*restore a backup/)
  })
})

describe('where it may listen', () => {
  const common = { onAdminToken: () => {}, port: 0, store: memoryStore() }
  test.each([
    [{ host: '0.0.0.0' }, /refuses to listen on 0\.0\.0\.0 without TLS/],
    [{ host: '::' }, /without TLS/],
    [{ host: '10.1.2.3' }, /without TLS/],
    [{ host: 'config.example.com' }, /without TLS/],
    [{ host: '0.0.0.0', authentication: 'none' as const, tlsElsewhere: true }, /without authentication/],
    [{ host: '0.0.0.0', tlsElsewhere: true }, /must be told its names/],
    [{ port: 70_000 }, /port is 70000; want an integer from 0 \(any free one\) to 65535/],
    [{ port: 1.5 }, /port is 1\.5/],
  ])('%j is refused', async (options, message) => {
    const dataDir = fresh()
    await expect(serve({ ...common, dataDir, ...options })).rejects.toThrow(message)
    await expect(stat(dataDir)).rejects.toThrow('ENOENT')
  })

  test('behind a proxy that speaks TLS a public bind is taken, under the names it was told', async () => {
    const here = await rig({ host: '0.0.0.0', tlsElsewhere: true, allowedHosts: ['config.example.com'] })
    const { port } = new URL(here.url)
    const url = `http://127.0.0.1:${port}`
    expect((await ask(url, '/-/healthy', { headers: { host: 'config.example.com' } })).status).toBe(200)
    expect((await ask(url, '/-/healthy', { headers: { host: '0.0.0.0' } })).status).toBe(403)
    await here.close()
  })

  test('on loopback it may do without authentication; a bad token is refused all the same', async () => {
    const here = await rig({ authentication: 'none' })
    expect((await here.ask('/v1/configs', { token: null })).status).toBe(200)
    expect((await here.ask('/v1/configs', { token: 'bad' })).status).toBe(401)
    await here.close()
  })

  test('a port that is taken is named', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    await expect(rig({ port })).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: something else listens there already`,
    )
    await new Promise((resolve) => other.close(resolve))
  })
})

describe('closing', () => {
  test('waiting polls are answered, readers end, a request under way is finished, and the store is closed last', async () => {
    const here = await rig()
    const name = 'shop/gateway'
    await here.ask('/v1/configs', { method: 'POST', body: { name } })
    const poll = here.ask(`/v1/agent/${encodeURIComponent(name)}/poll?index=0&wait=60s`)
    const host = new URL(here.url).host
    const reader = wire(
      here.url,
      `GET /v1/events HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${here.admin}\r\n\r\n`,
    )
    await reader.until(/: at /)
    const body = '{"a":1}'
    const slow = wire(
      here.url,
      `PUT ${at(name, '/content')} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${here.admin}\r\nContent-Type: application/json\r\nIf-None-Match: *\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
    )
    await slow.until(/100 Continue/)
    const closing = here.plane.close()
    slow.socket.write(`${body}GET /v1/configs HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${here.admin}\r\n\r\n`)
    expect(await slow.until(/HTTP\/1\.1 201 /)).toMatch(/"number":1/)
    await Promise.all([closing, reader.closed])
    expect(slow.text()).toMatch(/HTTP\/1\.1 503 [^]*application\/problem\+json[^]*it is closing/)
    expect((await poll).status).toBe(304)
    await expect(here.plane.store.read((read) => read.auditHead())).rejects.toThrow('is closed')
    await expect(here.ask('/-/healthy')).rejects.toThrow('ECONNREFUSED')
    await here.close()
  })

  test('a request that never comes to its end does not hold it up', async () => {
    const here = await rig({ closeMs: 200 })
    const line = wire(here.url, `GET /-/healthy HTTP/1.1\r\nHost: `)
    await new Promise((resolve) => line.socket.once('connect', resolve))
    await here.ask('/-/healthy')
    await here.close()
    await line.closed
  })
})

describe('a store that fails', () => {
  test.each([
    ['full', 507, 'full', /nothing was changed/],
    ['io', 503, 'unknown', /the same request with the same Idempotency-Key tells/],
    ['read-only', 503, 'unavailable', /nothing was changed/],
    ['damaged', 500, 'store-damaged', /its log says where/],
  ] as const)('F10, F11: %s → %i, the answer names no row, and the log does', async (code, status, said, words) => {
    const real = memoryStore()
    let fails = false
    const store = {
      ...real,
      transaction: async <T>(work: (tx: StoreTx) => T): Promise<T> => {
        if (fails) throw new StoreError(code, 'release shop #1', 'is gone', 'restore a backup')
        return await real.transaction(work)
      },
    }
    const here = await rig({ store })
    await here.ask('/v1/configs', { method: 'POST', body: { name: 'shop' } })
    fails = true
    const answer = await here.ask(at('shop', '/content'), {
      method: 'PUT',
      body: {},
      headers: { 'if-none-match': '*' },
    })
    fails = false
    expect([answer.status, answer.json().code]).toEqual([status, said])
    expect(answer.text).toMatch(words)
    expect(answer.text).not.toContain('#1')
    expect(here.log()).toContain('release shop #1')
    expect((await here.ask('/-/ready')).status).toBe(200)
    await here.close()
  })
})

describe('F1', () => {
  test('SIGKILL right after the answer to a publish: the release is there (I3)', { timeout: 120_000 }, async () => {
    const dataDir = fresh()
    const program = fileURLToPath(new URL('./programs/http-server.ts', import.meta.url))
    const start = async () => {
      const child = spawn(process.execPath, ['--conditions=midflight-source', program, dataDir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const line = await new Promise<string>((resolve, reject) => {
        let text = ''
        child.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString()
          if (text.includes('\n')) resolve(text)
        })
        child.on('exit', (code) => reject(new Error(`exit ${code}`)))
      })
      return { child, ...(JSON.parse(line) as { url: string; secret: string | null }) }
    }
    let secret = ''
    const name = 'shop/gateway'
    for (let round = 0; round < 3; round++) {
      const { child, url, secret: shown } = await start()
      if (shown !== null) {
        secret = shown
        await ask(url, '/v1/configs', { method: 'POST', body: { name }, token: secret })
      }
      const head = (await ask(url, at(name), { token: secret })).json().head
      expect(head?.number ?? 0).toBe(round)
      const headers: Record<string, string> = round === 0 ? { 'if-none-match': '*' } : { 'if-match': '*' }
      const answer = await ask(url, at(name, '/content'), { method: 'PUT', body: { round }, headers, token: secret })
      expect(answer.status, answer.text).toBe(201)
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await gone
    }
  })
})

test('behind a proxy that it knows, addresses are those that the proxy names', async () => {
  const here = await rig({ proxies: ['127.0.0.1'] })
  await here.ask('/-/healthy', { headers: { 'x-forwarded-for': '203.0.113.7', 'x-request-id': 'proxied' } })
  await here.close()
  const other = await rig()
  await other.ask('/-/healthy', { headers: { 'x-forwarded-for': '203.0.113.7', 'x-request-id': 'direct' } })
  await other.close()
  expect(here.log()).toContain('"address":"203.0.113.7"')
  expect(other.log()).not.toContain('203.0.113.7')
})

test('what is old goes by itself, and never the content of a head or of what a node runs', async () => {
  const here = await rig({ retention: { keepNewest: 1, keepDays: 0, everyMs: 100 } })
  const name = 'shop'
  await here.ask('/v1/configs', { method: 'POST', body: { name } })
  for (let n = 1; n <= 3; n++) {
    const headers: Record<string, string> = n === 1 ? { 'if-none-match': '*' } : { 'if-match': '*' }
    await here.ask(at(name, '/content'), { method: 'PUT', body: { n }, headers })
    if (n > 1) continue
    const { digest } = (await here.ask(at(name))).json().head
    const body = hello('00000000-0000-4000-8000-000000000001', name, { number: 1, digest })
    await here.ask(`/v1/agent/${name}/heartbeat`, { method: 'POST', body })
  }
  let status = 200
  while (status === 200) status = (await here.ask(at(name, '/content?release=2'))).status
  expect(status).toBe(404)
  expect((await here.ask(at(name, '/content?release=1'))).json()).toEqual({ n: 1 })
  expect((await here.ask(at(name, '/content'))).json()).toEqual({ n: 3 })
  expect((await here.ask(at(name, '/releases/2'))).json().number).toBe(2)
  await here.close()
})

test('logs are lines of JSON with the request id, and say who, what and how long', async () => {
  const here = await rig()
  await here.ask('/v1/configs', { headers: { 'x-request-id': 'find-me' } })
  await here.close()
  const lines = here
    .log()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.find(({ requestId }) => requestId === 'find-me')).toMatchObject({
    msg: 'answered',
    method: 'GET',
    route: '/v1/configs',
    status: 200,
    by: 'admin',
  })
})

test('metrics are one registry per server, valid, and say what was published and to whom', async () => {
  const [here, other] = [await rig(), await rig()]
  await here.ask('/v1/configs', { method: 'POST', body: { name: 'shop' } })
  await here.ask(at('shop', '/content'), { method: 'PUT', body: {}, headers: { 'if-none-match': '*' } })
  await here.ask(at('shop', '/content'), { method: 'PUT', body: {}, headers: { 'if-none-match': '*' } })
  const text = (await here.ask('/metrics')).text
  for (const line of [
    'midflight_publishes_total{kind="publish",result="released"} 1',
    'midflight_publishes_total{kind="publish",result="refused"} 1',
    'midflight_http_requests_total{method="PUT",route="/v1/configs/:name/content",status="201"} 1',
    'midflight_delivery_connected 0',
    'midflight_delivery_queued 0',
  ]) {
    expect(text).toContain(line)
  }
  expect((await other.ask('/metrics')).text).not.toContain('result="released"')
  const tool = hasPromtool()
  if (tool) execFileSync('promtool', ['check', 'metrics'], { input: text, stdio: ['pipe', 'pipe', 'pipe'] })
  await Promise.all([here.close(), other.close()])
})

function hasPromtool(): boolean {
  try {
    execFileSync('promtool', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test('a connection that never said anything does not hold up the end', async () => {
  const plane = await serve({ dataDir: fresh(), port: 0, store: memoryStore(), onAdminToken: () => {} })
  const silent = connect(Number(new URL(plane.url).port), '127.0.0.1')
  await once(silent, 'connect')
  await fetch(`${plane.url}/-/healthy`).then((answer) => answer.text())
  const gone = once(silent, 'close')
  const from = performance.now()
  await plane.close()
  await gone
  expect(performance.now() - from).toBeLessThan(5_000)
})

test('a data directory that cannot be made is said to be so, and is not tried for ever', async () => {
  await expect(serve({ dataDir: '/proc/nope/data', port: 0 })).rejects.toThrow(/ENOENT.*\/proc\/nope/)
})
