/** What a token is good for, tried by somebody who means harm. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ask, at, hello, rig, type Rig } from './http-rig.ts'

let plane: Rig
const mine = 'mallory/app'
const theirs = 'shop/gateway'

beforeAll(async () => {
  plane = await rig()
  for (const name of [mine, theirs]) {
    await plane.ask('/v1/configs', { method: 'POST', body: { name } })
    const headers = { 'if-none-match': '*' }
    await plane.ask(at(name, '/content'), { method: 'PUT', headers, body: { of: name } })
  }
})

afterAll(async () => await plane.close())

/** The status of the answer to an upgrade request; 101: it was taken. */
async function upgrade(protocols: string[], headers: Record<string, string> = {}): Promise<[number, string]> {
  const socket = new WebSocket(`${plane.url.replace('http', 'ws')}/v1/agent/connect`, protocols, { headers })
  return await new Promise((resolve) => {
    socket.on('open', () => {
      resolve([101, socket.protocol])
      socket.terminate()
    })
    socket.on('unexpected-response', (request, response) => {
      resolve([response.statusCode ?? 0, ''])
      request.destroy()
    })
    socket.on('error', () => {})
  })
}

function bearer(token: string): string {
  return `bearer.${Buffer.from(token).toString('base64url')}`
}

test('where a client cannot set headers the token comes as a second subprotocol, and is never the one chosen', async () => {
  const agent = await plane.token('agent', 'shop')
  expect(await upgrade(['midflight.v1', bearer(agent)])).toEqual([101, 'midflight.v1'])
  expect(await upgrade([bearer(agent), 'midflight.v1'])).toEqual([101, 'midflight.v1'])
  expect(await upgrade([bearer(agent)])).toEqual([400, ''])
})

test('a token as a subprotocol that is not good, is two, or is spelled otherwise is refused as any other', async () => {
  const agent = await plane.token('agent', 'shop')
  const wrong = [
    ['midflight.v1', bearer(`${agent}x`)],
    ['midflight.v1', bearer('')],
    ['midflight.v1', bearer(agent), bearer(`${agent}x`)],
    ['midflight.v1', `bearer.${agent}`],
    ['midflight.v1', bearer(`${agent}\r\nx: y`)],
  ]
  for (const protocols of wrong) expect(await upgrade(protocols), protocols.join()).toEqual([401, ''])
  // A header that is there counts, whatever else is said.
  expect(await upgrade(['midflight.v1', bearer(agent)], { authorization: 'Bearer mfs_wrong' })).toEqual([401, ''])
  expect(plane.log()).not.toContain(Buffer.from(agent).toString('base64url'))
})

test('a token as a subprotocol is good for upgrades only', async () => {
  const headers = { 'sec-websocket-protocol': `midflight.v1, ${bearer(plane.admin)}` }
  expect((await ask(plane.url, '/v1/configs', { token: null, headers })).status).toBe(401)
})

test('an agent cannot take over a node of a config that is not its own, by HTTP or by WebSocket', async () => {
  const uid = '00000000-0000-4000-8000-0000000000a1'
  const theirAgent = await plane.token('agent', 'shop', 'their-agent')
  const myAgent = await plane.token('agent', 'mallory', 'my-agent')
  const beat = (config: string, token: string) => {
    const body = hello(uid, config, null)
    return plane.ask(`/v1/agent/${encodeURIComponent(config)}/heartbeat`, { method: 'POST', body, token })
  }
  expect((await beat(theirs, theirAgent)).status).toBe(200)
  expect((await beat(mine, myAgent)).status).toBe(409)
  const socket = new WebSocket(`${plane.url.replace('http', 'ws')}/v1/agent/connect`, ['midflight.v1', bearer(myAgent)])
  const said = await new Promise<string>((resolve) => {
    socket.on('open', () => socket.send(JSON.stringify(hello(uid, mine, null))))
    socket.on('message', (data: Buffer) => resolve(data.toString()))
  })
  socket.terminate()
  expect(JSON.parse(said)).toMatchObject({ type: 'error', code: 'duplicate-node' })
  const { node } = (await plane.ask(`/v1/nodes/${uid}`)).json()
  expect(node.config).toBe(theirs)
  // Who may connect to both may move it.
  expect((await beat(mine, plane.admin)).status).toBe(200)
})

test('what a node tried of another config before it moved is not shown with it', async () => {
  const uid = '00000000-0000-4000-8000-0000000000a2'
  const say = (config: string, what: string, body: object) =>
    plane.ask(`/v1/agent/${encodeURIComponent(config)}/${what}`, { method: 'POST', body })
  const { digest } = (await plane.ask(at(theirs, '/releases/1'))).json()
  await say(theirs, 'heartbeat', hello(uid, theirs, null))
  const time = { attempt: 1, at: '2026-11-20T09:30:00.000Z' }
  const report = { type: 'report', number: 1, digest, status: 'FAILED', detail: 'of theirs', ...time }
  expect((await say(theirs, `report?uid=${uid}`, report)).status).toBe(204)
  expect((await plane.ask(`/v1/nodes/${uid}`)).text).toContain('of theirs')
  await say(mine, 'heartbeat', hello(uid, mine, null))
  const viewer = await plane.token('viewer', 'mallory')
  const answer = await plane.ask(`/v1/nodes/${uid}`, { token: viewer })
  expect(answer.status).toBe(200)
  expect(answer.text).not.toContain('of theirs')
})
