import type { IncomingMessage, ServerResponse } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { http, type HttpOptions } from '../src/sources/http.ts'
import { WebServer } from './source-http-rig.ts'

const quick = { pollMs: 60_000, timeoutMs: 2_000, retry: { firstMs: 20, maxMs: 100 } } as const
const soon = () => AbortSignal.timeout(10_000)

async function serving(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  options: HttpOptions = {},
) {
  const web = await WebServer.listen()
  web.answering = answer
  const source = http(web.url('doc'), { ...quick, ...options })
  onTestFinished(async () => {
    await source.close()
    await web.close()
  })
  return { web, source }
}

const json = (response: ServerResponse, text: string, headers: Record<string, string> = {}) =>
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(text)

test('a login page with 200 is refused, and a document after it is taken', async () => {
  let isIn = false
  const { source } = await serving((_, response) =>
    isIn ? json(response, '{"a":1}') : response.writeHead(200, { 'content-type': 'text/html' }).end('<form>'),
  )
  await expect(source.load(soon())).rejects.toThrow('/doc is "text/html"; want application/json or application/yaml')
  isIn = true
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('another content under the same strong ETag is refused for as long as it has that ETag', async () => {
  let [text, etag] = ['{"a":1}', '"1"']
  const { source } = await serving((_, response) => json(response, text, { etag }))
  await source.load(soon())
  text = '{"a":2}'
  await expect(source.load(soon())).rejects.toThrow('has another content under the same ETag "1"')
  await expect(source.load(soon())).rejects.toThrow('has another content under the same ETag "1"')
  etag = '"2"'
  expect((await source.load(soon())).config).toEqual({ a: 2 })
})

test('the token does not follow a redirect to another origin', async () => {
  const other = await serving((_, response) => json(response, '{"a":1}'))
  const { source } = await serving((_, response) => response.writeHead(302, { location: other.web.url('doc') }).end(), {
    token: 'secret',
  })
  await expect(source.load(soon())).rejects.toThrow(/redirects to http:.*; want the same origin/)
  expect(other.web.requests).toEqual([])
})

test('a redirect within the origin is followed, a ring of them is refused', async () => {
  let isRing = false
  const { source } = await serving((request, response) =>
    request.url === '/doc' || isRing
      ? response.writeHead(302, { location: '/elsewhere' }).end()
      : json(response, '{"a":1}'),
  )
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  isRing = true
  await source.load(soon())
  expect(source.following()).toMatchObject({ state: 'lost', error: expect.stringContaining('redirects more than 5') })
})

test('what did not change is not sent again, and the token is asked for each time', async () => {
  let asked = 0
  const { web, source } = await serving((request, response) => web.answer(request, response), {
    token: () => `token-${++asked}`,
  })
  web.put('doc', Buffer.from('{"a":1}'))
  const first = await source.load(soon())
  expect(await source.load(soon())).toBe(first)
  expect(web.requests.map(({ headers }) => [headers.authorization, headers['if-none-match'] !== undefined])).toEqual([
    ['Bearer token-1', false],
    ['Bearer token-2', true],
  ])
})
