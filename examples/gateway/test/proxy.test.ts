/** The proxy: streams, hides what belongs to one connection, says what failed, and survives changes of its upstreams. */
import { once } from 'node:events'
import { request as send } from 'node:http'
import { expect, test } from 'vitest'
import { config, latch, running, upstream } from './running.ts'

test('an answer is passed on piece by piece', async () => {
  const more = latch()
  const url = await upstream((_request, response) => {
    response.write('first,')
    void more.promise.then(() => response.end('last'))
  })
  const { get } = await running(config(url))
  const reader = (await get('/api/users')).body!.pipeThrough(new TextDecoderStream()).getReader()
  expect((await reader.read()).value).toBe('first,')
  more.resolve()
  expect((await reader.read()).value).toBe('last')
})

test('a request body is passed on piece by piece', async () => {
  const seen = latch<string>()
  const url = await upstream((request, response) => {
    request.setEncoding('utf8')
    request.once('data', seen.resolve)
    request.on('end', () => response.end('thanks'))
  })
  const { address } = await running(config(url))
  const request = send(`${address}/api/users`, { method: 'POST' })
  request.write('first')
  expect(await seen.promise).toBe('first')
  request.end('last')
  const [response] = await once(request, 'response')
  expect(response.statusCode).toBe(200)
  response.resume()
})

test('hop-by-hop headers end here, and the upstream learns who called', async () => {
  const { address } = await running(config(await upstream()))
  const request = send(`${address}/api/users?page=2`, {
    headers: {
      connection: 'x-private',
      'x-private': 'no',
      te: 'trailers',
      'proxy-authorization': 'no',
      'x-kept': 'yes',
      'x-forwarded-for': '10.0.0.1',
    },
  })
  request.end()
  const [response] = await once(request, 'response')
  const { url, headers } = JSON.parse((await response.setEncoding('utf8').toArray()).join(''))
  expect(url).toBe('/api/users?page=2')
  expect(headers).toMatchObject({
    'x-kept': 'yes',
    'x-forwarded-for': '10.0.0.1, 127.0.0.1',
    'x-forwarded-host': new URL(address).host,
  })
  for (const name of ['x-private', 'te', 'proxy-authorization']) expect(headers).not.toHaveProperty(name)
})

test('no route is 404, an upstream that refuses is 502, one that is silent is 504, and the next request works', async () => {
  const given = config(await upstream())
  given.upstreams['gone'] = { url: 'http://127.0.0.1:1' }
  given.upstreams['silent'] = { url: await upstream(() => {}), timeoutMs: 100 }
  given.routes.push({ path: '/gone', upstream: 'gone' }, { path: '/silent', upstream: 'silent' })
  const { statuses } = await running(given)
  expect(await statuses('/nowhere', 1)).toEqual([404])
  expect(await statuses('/gone', 1)).toEqual([502])
  expect(await statuses('/silent', 1)).toEqual([504])
  expect(await statuses('/api/users', 1)).toEqual([200])
})

test('an upstream that breaks off in the middle breaks the answer off too', async () => {
  const url = await upstream((_request, response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('half', () => response.destroy())
  })
  const { get, logged } = await running(config(url))
  const response = await get('/api/users')
  await expect(response.text()).rejects.toThrow('terminated')
  await expect.poll(() => logged()).toContain('upstream users failed')
})

test('a client that goes away takes its request to the upstream with it', async () => {
  const [arrived, gone] = [latch(), latch()]
  const url = await upstream((_request, response) => {
    arrived.resolve()
    response.on('close', gone.resolve)
  })
  const given = config(url)
  given.upstreams['users'] = { url, timeoutMs: 600_000 }
  const { get } = await running(given)
  const client = new AbortController()
  const answer = get('/api/users', { signal: client.signal })
  await arrived.promise
  client.abort()
  await expect(answer).rejects.toThrow('aborted')
  await gone.promise
})

test('the longest path decides, and only at a slash', async () => {
  const given = config(await upstream((_request, response) => void response.end('users')))
  given.upstreams['admin'] = { url: await upstream((_request, response) => void response.end('admin')) }
  given.upstreams['rest'] = { url: await upstream((_request, response) => void response.end('rest')) }
  given.routes.push({ path: '/api/users/admin', upstream: 'admin' }, { path: '/', upstream: 'rest' })
  const { get } = await running(given)
  const of = async (path: string) => (await get(path)).text()
  expect(await of('/api/users')).toBe('users')
  expect(await of('/api/users/7')).toBe('users')
  expect(await of('/api/users/admin/7')).toBe('admin')
  expect(await of('/api/usersettings')).toBe('rest')
  expect(await of('/')).toBe('rest')
})

test('a request in a replaced upstream ends there, and the reload does not wait for it', async () => {
  const [arrived, finish] = [latch(), latch()]
  const old = await upstream((_request, response) => {
    arrived.resolve()
    void finish.promise.then(() => response.end('old'))
  })
  const given = config(old)
  const { edit, get, gateway } = await running(given)
  const slow = get('/api/users')
  await arrived.promise

  given.upstreams['users'] = { url: await upstream((_request, response) => void response.end('new')) }
  expect(await edit(given)).toMatchObject({ kind: 'committed', warnings: [] })
  expect(await (await get('/api/users')).text()).toBe('new')

  const closing = gateway.close()
  finish.resolve()
  expect(await (await slow).text()).toBe('old')
  await closing
})

test('a changed authorization is sent with the next request, over the same connections', async () => {
  const given = config(await upstream())
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: 'Bearer one' }
  const { edit, get } = await running(given)
  const sent = async () => ((await (await get('/api/users')).json()) as { headers: object }).headers
  expect(await sent()).toMatchObject({ authorization: 'Bearer one' })
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: 'Bearer two' }
  expect(await edit(given)).toMatchObject({ kind: 'committed' })
  expect(await sent()).toMatchObject({ authorization: 'Bearer two' })
})

test('K2: plug-ins take other options while they run', async () => {
  const given = config(await upstream())
  given.plugins = {
    'request-id': { enabled: true },
    'response-header': { enabled: true, header: 'x-served-by', value: 'one' },
  }
  const { edit, get } = await running(given)
  const before = await get('/api/users', { headers: { 'x-request-id': 'mine' } })
  expect(before.headers.get('x-served-by')).toBe('one')
  expect(before.headers.get('x-request-id')).toBe('mine')
  given.plugins['response-header'] = { enabled: true, header: 'x-served-by', value: 'two' }
  given.plugins['request-id'] = { enabled: true, header: 'x-correlation-id' }
  expect(await edit(given)).toMatchObject({ kind: 'committed' })
  const after = await get('/api/users')
  expect(after.headers.get('x-served-by')).toBe('two')
  expect(after.headers.get('x-correlation-id')).toMatch(/^[0-9a-f-]{36}$/)
})
