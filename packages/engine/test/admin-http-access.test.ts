import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Outcome } from '../src/outcome.ts'
import { adminHttp, type AdminHttpOptions } from '../src/triggers/admin-http.ts'
import { closers, committed, handMade } from './hand-made-lifecycle.ts'
import { wire } from '../../../test/rig/wire.ts'
import { ask } from './http-by-hand.ts'

const opened = closers()
afterEach(() => opened.close())

async function door(options: Partial<AdminHttpOptions> = {}) {
  const engine = await handMade()
  const where = options.socket === undefined ? { port: 0 } : {}
  const endpoint = await adminHttp({ ...where, lifecycle: true, ...options }).open(engine)
  let closed: Promise<void> | undefined
  const close = () => (closed ??= endpoint.close())
  opened.later(close)
  const url = endpoint.address.split(', ')[0] ?? ''
  return { engine, url, port: Number(url.split(':').at(-1)), address: endpoint.address, close }
}

async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'midflight-admin-'))
  opened.later(() => rm(path, { recursive: true }))
  return path
}

describe('Host and Origin', () => {
  test('a foreign Host is 403 on every path, so that a rebound name reads nothing', async () => {
    const { engine, url, port } = await door()
    const foreign = [
      'evil.example',
      `evil.example:${port}`,
      'localhost',
      '127.0.0.1:1',
      `localhost.:${port}`,
      `127.0.0.1.evil.example:${port}`,
    ]
    for (const host of foreign) {
      for (const path of ['/config', '/-/healthy', '/metrics', '/nowhere']) {
        const answer = await ask(url, path, { headers: { host } })
        expect([host, path, answer.status]).toEqual([host, path, 403])
      }
      expect((await ask(url, '/-/reload', { method: 'POST', headers: { host } })).status).toBe(403)
    }
    expect(engine.requests).toEqual([])
    for (const host of [`localhost:${port}`, `LOCALHOST:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
      expect([host, (await ask(url, '/-/healthy', { headers: { host } })).status]).toEqual([host, 200])
    }
  })

  test('no Host, two Hosts, and a whole URL in the request line are refused', async () => {
    const { engine, url, port } = await door()
    for (const [request, status] of [
      ['POST /-/reload HTTP/1.1\r\n\r\n', 400],
      ['POST /-/reload HTTP/1.0\r\n\r\n', 403],
      ['POST /-/reload HTTP/1.1\r\nHost:\r\n\r\n', 403],
      [`POST /-/reload HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nHost: evil.example\r\n\r\n`, 403],
      [`POST http://evil.example/-/reload HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, 400],
      [`OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`, 400],
    ] as const) {
      const { socket, until } = wire(url, request)
      expect(await until(/\r\n\r\n/)).toContain(`HTTP/1.1 ${status} `)
      socket.destroy()
    }
    expect(engine.requests).toEqual([])
  })

  test('an Origin that is not this door is 403, also `null`', async () => {
    const { engine, url, port } = await door({ allowedHosts: ['admin.example.com'] })
    const foreign = [
      'null',
      'http://evil.example',
      `https://127.0.0.1:${port}`,
      'http://127.0.0.1',
      `http://127.0.0.1:${port}.evil.example`,
      '',
    ]
    for (const origin of foreign) {
      expect([origin, (await ask(url, '/-/reload', { method: 'POST', headers: { origin } })).status]).toEqual([
        origin,
        403,
      ])
      expect([origin, (await ask(url, '/config', { headers: { origin } })).status]).toEqual([origin, 403])
    }
    expect(engine.requests).toEqual([])
    for (const origin of [`http://127.0.0.1:${port}`, `http://localhost:${port}`, 'https://admin.example.com']) {
      expect([origin, (await ask(url, '/-/reload', { method: 'POST', headers: { origin } })).status]).toEqual([
        origin,
        200,
      ])
    }
  })

  test('further names must be allowed one by one', async () => {
    const { url, port } = await door({ allowedHosts: ['admin.example.com', 'pod-7:8443'] })
    const status = async (host: string) => (await ask(url, '/-/healthy', { headers: { host } })).status
    expect(await status('admin.example.com')).toBe(200)
    expect(await status(`admin.example.com:${port}`)).toBe(200)
    expect(await status('admin.example.com:1')).toBe(403)
    expect(await status('pod-7:8443')).toBe(200)
    expect(await status('pod-7')).toBe(403)
    expect(await status('x.admin.example.com')).toBe(403)
  })
})

describe('token', () => {
  const token = 'correct-horse-battery'

  test('is needed for everything but healthy and ready, and a wrong one looks like none', async () => {
    const { engine, url } = await door({ token })
    const bodies = new Set<string>()
    const wrong = [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      `Basic ${token}`,
      token,
      `Bearer ${token}x`,
      `Bearer ${token.slice(1)}`,
      `Bearer ${token} ${token}`,
    ]
    for (const authorization of wrong) {
      for (const path of ['/status', '/config', '/metrics', '/events', '/', '/nowhere', '/-/reload']) {
        const answer = await ask(url, path, {
          method: path === '/-/reload' ? 'POST' : 'GET',
          headers: authorization === undefined ? {} : { authorization },
        })
        expect([authorization, path, answer.status, answer.headers['www-authenticate']]).toEqual([
          authorization,
          path,
          401,
          'Bearer',
        ])
        bodies.add(answer.text)
      }
    }
    expect(bodies.size).toBe(1)
    expect((await ask(url, '/-/healthy')).status).toBe(200)
    expect((await ask(url, '/-/ready')).status).toBe(200)
    expect(engine.requests).toEqual([])
    expect(
      (await ask(url, '/-/reload', { method: 'POST', headers: { authorization: `Bearer ${token}` } })).status,
    ).toBe(200)
    expect((await ask(url, '/status', { headers: { authorization: `bearer   ${token}` } })).status).toBe(200)
  })

  test('line breaks and odd bytes in it end in 400 or 401, and add no header to the answer', async () => {
    const { url, port } = await door({ token })
    const odd = [
      'Bearer x\r\nX-Injected: 1',
      'Bearer x\rX: 1',
      'Bearer x\n',
      'Bearer \u0000',
      'Bearer \u00e9\u00fc',
      `Bearer ${'a'.repeat(8000)}`,
    ]
    for (const value of odd) {
      const { socket, until } = wire(
        url,
        `GET /config HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: ${value}\r\n\r\n`,
      )
      const text = await until(/\r\n\r\n/)
      expect(text).toMatch(/^HTTP\/1\.1 40[01] /)
      expect(text).not.toContain('X-Injected')
      socket.destroy()
    }
  })

  test('one that could not be sent is refused at the call: empty most often means an unset variable', () => {
    expect(() => adminHttp({ port: 0, token: '' })).toThrow('adminHttp: the token is empty')
    for (const bad of ['two words', 'line\nbreak', 'ü'])
      expect(() => adminHttp({ port: 0, token: bad })).toThrow(TypeError)
  })
})

describe('listening', () => {
  test('a public bind without a token is refused, with one it works under its address', async () => {
    const engine = await handMade()
    for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
      await expect(adminHttp({ port: 0, host }).open(engine)).rejects.toThrow(
        /refuses to listen on .* without a token, because other machines can reach it; pass \{ token \} and put TLS before it/,
      )
    }
    const { url, port } = await door({ host: '0.0.0.0', token: 'secret-token' })
    expect(url).toBe(`http://0.0.0.0:${port}`)
    expect((await ask(`http://127.0.0.1:${port}`, '/config')).status).toBe(401)
    const own = Object.values(networkInterfaces())
      .flat()
      .find((entry) => entry?.family === 'IPv4' && !entry.internal)
    if (own) expect((await ask(`http://${own.address}:${port}`, '/-/healthy')).status).toBe(200)
  })

  test('an address that is taken is an error that names it', async () => {
    const { port } = await door()
    const engine = await handMade()
    await expect(adminHttp({ port }).open(engine)).rejects.toThrow(
      `admin HTTP: cannot listen on 127.0.0.1:${port}: something else listens there already (EADDRINUSE)`,
    )
  })

  test('options that make no sense are refused at the call', () => {
    expect(() => adminHttp({})).toThrow('adminHttp: want a port, a socket or both')
    for (const port of [-1, 70_000, 1.5, NaN]) expect(() => adminHttp({ port })).toThrow(RangeError)
    expect(() => adminHttp({ port: 0, host: '' })).toThrow(TypeError)
  })

  test('a unix socket is for its owner only, and goes with the door', async () => {
    const at = await folder()
    const socket = join(at, 'admin.sock')
    const { address, close } = await door({ socket })
    expect(address).toBe(`unix:${socket}`)
    expect((await stat(socket)).mode & 0o777).toBe(0o600)
    expect(await readdir(at)).toEqual(['admin.sock'])
    expect((await ask(socket, '/-/reload', { method: 'POST' })).status).toBe(200)
    expect((await ask(socket, '/-/healthy', { headers: { host: 'evil.example' } })).status).toBe(403)
    await close()
    expect(await readdir(at)).toEqual([])
  })

  test('a port and a socket together', async () => {
    const socket = join(await folder(), 'both.sock')
    const { url, address } = await door({ port: 0, socket })
    expect(address).toBe(`${url}, unix:${socket}`)
    expect((await ask(url, '/-/healthy')).status).toBe(200)
    expect((await ask(socket, '/-/healthy')).status).toBe(200)
  })

  test('a socket file that a killed process left is replaced; one that answers is not, nor is a file', async () => {
    const at = await folder()
    const socket = join(at, 'left.sock')
    const child = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(socket)}, () => console.log('up'))`,
    ])
    await once(child.stdout, 'data')
    const engine = await handMade()
    await expect(adminHttp({ socket }).open(engine)).rejects.toThrow(
      `cannot listen on ${socket}: something else listens there already`,
    )
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect((await stat(socket)).isSocket()).toBe(true)
    await door({ socket })
    expect((await ask(socket, '/-/healthy')).status).toBe(200)

    const file = join(at, 'file')
    await writeFile(file, 'mine')
    await expect(adminHttp({ socket: file }).open(engine)).rejects.toThrow('is there already and is not a socket')
    await expect(adminHttp({ socket: join(at, 'no', 'such') }).open(engine)).rejects.toThrow(
      /cannot listen on .*no\/such/,
    )
    await expect(adminHttp({ socket: join(at, 'x'.repeat(120)) }).open(engine)).rejects.toThrow(
      'is too long for a unix socket',
    )
  })

  test('where one of two addresses is taken, the other is given back', async () => {
    const at = await folder()
    const socket = join(at, 'file')
    await writeFile(socket, 'mine')
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const { port } = free.address() as { port: number }
    free.close()
    await once(free, 'close')
    await expect(adminHttp({ port, socket }).open(await handMade())).rejects.toThrow('is not a socket')
    await door({ port })
  })
})

describe('closing', () => {
  test('waits for a running reload, answers it, and keeps its connection no longer', async () => {
    const { engine, url, port, close } = await door({ closeDeadlineMs: 60_000 })
    let settle = (_: Outcome) => {}
    engine.outcome = new Promise((resolve) => (settle = resolve))
    const asked = wire(url, `POST /-/reload HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 0\r\n\r\n`)
    while (engine.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
    const closed = close()
    await expect(ask(url, '/status')).rejects.toThrow(/ECONNREFUSED|ECONNRESET/)
    settle(committed)
    const text = await asked.until(/committed/)
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(text.toLowerCase()).toContain('\r\nconnection: close\r\n')
    await closed
  })

  test('ends idle keep-alive connections and event streams at once', async () => {
    const { url, port, close } = await door({ closeDeadlineMs: 60_000 })
    const idle = wire(url, `GET /-/healthy HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
    await idle.until(/healthy\n/)
    const stream = wire(url, `GET /events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\n\r\n`)
    await stream.until(/retry/)
    await close()
    await Promise.all([idle.closed, stream.closed])
  })

  test('cuts what is still running at the deadline', async () => {
    const { engine, url, close } = await door({ closeDeadlineMs: 50 })
    engine.outcome = new Promise(() => {})
    const asked = ask(url, '/-/reload', { method: 'POST' })
    const refused = expect(asked).rejects.toThrow(/socket hang up|ECONNRESET/)
    while (engine.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
    await close()
    await refused
  })
})
