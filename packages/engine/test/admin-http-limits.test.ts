import { afterEach, expect, test } from 'vitest'
import { adminHttp, type AdminHttpOptions } from '../src/triggers/admin-http.ts'
import { closers, handMade } from './hand-made-lifecycle.ts'
import { wire } from '../../../test/rig/wire.ts'
import { ask } from './http-by-hand.ts'

const opened = closers()
afterEach(() => opened.close())

async function door(options: Partial<AdminHttpOptions> = {}) {
  const engine = await handMade()
  const { address: url, close } = await adminHttp({ port: 0, lifecycle: true, closeDeadlineMs: 500, ...options }).open(
    engine,
  )
  opened.later(close)
  const head = (line: string, ...headers: string[]) =>
    [line, `Host: ${new URL(url).host}`, ...headers, '', ''].join('\r\n')
  return { engine, url, head }
}

const warning = (message: string) => ({ kind: 'warning', about: 'test', message }) as const

test('a body that says it is too large is 413 before it is read', async () => {
  const { engine, url, head } = await door()
  const { until, closed } = wire(url, head('POST /-/reload HTTP/1.1', 'Content-Length: 9999999999'))
  expect(await until(/too-large/)).toMatch(/^HTTP\/1\.1 413 /)
  await closed
  expect(engine.requests).toEqual([])
})

test('endless chunks are 413 after 64 KiB, and the connection is closed', async () => {
  const { engine, url, head } = await door()
  const { socket, until, closed } = wire(url, head('POST /-/reload HTTP/1.1', 'Transfer-Encoding: chunked'))
  const chunk = `1000\r\n${'x'.repeat(4096)}\r\n`
  const flood = setInterval(() => socket.write(chunk), 1)
  expect(await until(/too-large/)).toMatch(/^HTTP\/1\.1 413 /)
  await closed
  clearInterval(flood)
  expect(engine.requests).toEqual([])
})

test('a small body is ignored, whatever it is', async () => {
  const { url } = await door()
  const answer = await ask(url, '/-/reload', {
    method: 'POST',
    body: 'x'.repeat(60_000),
    headers: { 'content-type': 'text/plain', 'content-encoding': 'gzip' },
  })
  expect(answer.status).toBe(200)
})

test('a body that breaks off asks for nothing', async () => {
  const { engine, url, head } = await door()
  const { socket } = wire(url, head('POST /-/reload HTTP/1.1', 'Content-Length: 10') + 'abc')
  await new Promise((resolve) => setTimeout(resolve, 30))
  socket.destroy()
  expect((await ask(url, '/-/healthy')).status).toBe(200)
  expect(engine.requests).toEqual([])
})

test('a URL over 2 KiB is 414, headers over 16 KiB are 431', async () => {
  const { url, head } = await door()
  const long = await ask(url, `/${'a'.repeat(2048)}`)
  expect([long.status, long.json().code]).toEqual([414, 'uri-too-long'])
  expect((await ask(url, `/${'a'.repeat(2047)}`)).status).toBe(404)
  const { until, closed } = wire(url, head('GET / HTTP/1.1', `X: ${'a'.repeat(20_000)}`))
  expect(await until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 431 /)
  await closed
})

test('dots and encoded slashes lead nowhere', async () => {
  const { engine, url, head } = await door()
  for (const path of [
    '/x/..%2f-/reload',
    '/x/../-/reload',
    '/%2d/reload',
    '/-%2freload',
    '/.%2e/-/reload',
    '/-/reload%00',
    '/-/reload;x',
    '/-/reload\\',
  ]) {
    const { socket, until } = wire(url, head(`POST ${path} HTTP/1.1`, 'Content-Length: 0'))
    expect([path, await until(/\r\n\r\n/)]).toEqual([path, expect.stringMatching(/^HTTP\/1\.1 404 /)])
    socket.destroy()
  }
  expect(engine.requests).toEqual([])
})

test('what is not HTTP is 400, and the door stays open', async () => {
  const { url } = await door()
  for (const bytes of [
    '\u0000\u0001\u0002\r\n\r\n',
    'GET\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\u0016\u0003\u0001',
  ]) {
    const { closed, text } = wire(url, `${bytes}\r\n\r\n`)
    await closed
    expect(text()).toMatch(/^HTTP\/1\.1 400 /)
  }
  expect((await ask(url, '/-/healthy')).status).toBe(200)
})

test('headers and bodies that drip are cut off', async () => {
  const { url, head } = await door({ limits: { headersTimeoutMs: 200, requestTimeoutMs: 400 } })
  const headers = wire(url, 'GET / HTTP/1.1\r\nHost: x\r\n')
  const body = wire(url, head('POST /-/reload HTTP/1.1', 'Content-Length: 1000') + 'a')
  await Promise.all([headers.closed, body.closed])
  expect(headers.text()).toMatch(/^HTTP\/1\.1 408 /)
})

test('connections beyond the limit are not taken, and are taken again when others leave', async () => {
  const { url, head } = await door({ limits: { connections: 2 } })
  const first = wire(url, head('GET /-/healthy HTTP/1.1'))
  const second = wire(url, head('GET /-/healthy HTTP/1.1'))
  await Promise.all([first.until(/healthy\n/), second.until(/healthy\n/)])
  const third = wire(url, head('GET /-/healthy HTTP/1.1'))
  await third.closed
  expect(third.text()).toBe('')
  first.socket.destroy()
  second.socket.destroy()
  await Promise.all([first.closed, second.closed])
  await expect
    .poll(() =>
      ask(url, '/-/healthy').then(
        (answer) => answer.status,
        () => 0,
      ),
    )
    .toBe(200)
})

test('an event stream tells what happens, and resumes after Last-Event-ID without a gap', async () => {
  const { engine, url, head } = await door()
  engine.events.append(warning('before'))
  const ask = head('GET /events HTTP/1.1', 'Accept: text/event-stream')
  const first = wire(url, ask)
  expect(await first.until(/retry: 1000/)).toContain('content-type: text/event-stream')
  engine.events.append(warning('live'))
  await first.until(/id: 2\nevent: warning\ndata: .*"message":"live"/)
  expect(first.text()).not.toContain('"before"')
  first.socket.destroy()
  for (let i = 3; i <= 50; i++) engine.events.append(warning(`n${i}`))

  const resumed = wire(url, head('GET /events HTTP/1.1', 'Accept: text/event-stream', 'Last-Event-ID: 2'))
  await resumed.until(/id: 50\n/)
  engine.events.append(warning('n51'))
  const text = await resumed.until(/id: 51\n/)
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
  expect(ids).toEqual(Array.from({ length: 49 }, (_, i) => i + 3))
  resumed.socket.destroy()
})

test('a resume after more than the record holds says how much is missing', async () => {
  const { engine, url, head } = await door()
  for (let i = 1; i <= 1500; i++) engine.events.append(warning(`n${i}`))
  const { socket, until } = wire(url, head('GET /events?after=100 HTTP/1.1', 'Accept: text/event-stream'))
  const text = await until(/id: 1500\n/)
  expect(text).toContain('event: gap\ndata: {"missed":400}\n\n')
  socket.destroy()
})

test('a Last-Event-ID that is no number is 400', async () => {
  const { url } = await door()
  for (const id of ['abc', '-1', '1e9', '99999999999999999999']) {
    expect((await ask(url, '/events', { headers: { accept: 'text/event-stream', 'last-event-id': id } })).status).toBe(
      400,
    )
  }
})

test('F25: a reader of events that takes nothing is dropped, and costs no memory meanwhile', async () => {
  const { engine, url, head } = await door({ limits: { requestTimeoutMs: 3000, eventStreams: 1 } })
  const slow = wire(url, head('GET /events HTTP/1.1', 'Accept: text/event-stream'))
  await slow.until(/retry/)
  slow.socket.pause()
  const used = () => process.memoryUsage().heapUsed + process.memoryUsage().external
  const before = used()
  // 400 MB as frames; the record itself holds one string for all of them.
  const message = 'x'.repeat(200_000)
  for (let i = 0; i < 2000; i++) {
    engine.events.append(warning(message))
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(used() - before).toBeLessThan(100e6)

  // There is room for one reader, so another one gets in once the slow one is out.
  let next = wire(url, '')
  await expect
    .poll(
      async () => {
        next.socket.destroy()
        next = wire(url, head('GET /events?after=1999 HTTP/1.1', 'Accept: text/event-stream'))
        return next.until(/^HTTP[^]*\r\n\r\n/).then((text) => text.slice(9, 12))
      },
      { timeout: 20_000, interval: 50 },
    )
    .toBe('200')
  await next.until(/id: 2000\n/)
  next.socket.destroy()
  slow.socket.resume()
  await slow.closed
  expect(slow.text()).not.toContain('id: 2000\n')
}, 60_000)

test('F25: a reader that takes nothing of a large answer gives its connection back', async () => {
  const { engine, url, head } = await door({ limits: { requestTimeoutMs: 300, connections: 1 } })
  const message = 'x'.repeat(200_000)
  for (let i = 0; i < 200; i++) engine.events.append(warning(message))
  const slow = wire(url, head('GET /events HTTP/1.1'))
  slow.socket.pause()
  await expect
    .poll(
      () =>
        ask(url, '/-/healthy').then(
          ({ status }) => status,
          () => 0,
        ),
      { timeout: 20_000 },
    )
    .toBe(200)
  slow.socket.resume()
  await slow.closed
  expect(slow.text().length).toBeLessThan(40e6)
})

test('readers of events beyond the limit get 503 and when to come back', async () => {
  const { url, head } = await door({ limits: { eventStreams: 1 } })
  const first = wire(url, head('GET /events HTTP/1.1', 'Accept: text/event-stream'))
  await first.until(/retry/)
  const second = await ask(url, '/events', { headers: { accept: 'text/event-stream' } })
  expect([second.status, second.headers['retry-after']]).toEqual([503, '5'])
  first.socket.destroy()
})

test('an idle stream is kept open by comments', async () => {
  const { url, head } = await door({ limits: { heartbeatMs: 20 } })
  const { socket, until } = wire(url, head('GET /events HTTP/1.1', 'Accept: text/event-stream'))
  await until(/: still here\n\n[^]*: still here/)
  socket.destroy()
})
