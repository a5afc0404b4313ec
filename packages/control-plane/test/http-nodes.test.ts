/** What is shown of nodes comes out of memory: as it is now, and whatever the disk says. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { subprotocol } from 'midflight/protocol'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { StoreError, type StoreTx } from '../src/store.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { at, hello, rig, type Rig } from './http-rig.ts'
import { eventually } from './push-rig.ts'

const name = 'shop/gateway'

async function released(here: Rig): Promise<{ number: number; digest: string }> {
  await here.ask('/v1/configs', { method: 'POST', body: { name } })
  const headers = { 'if-none-match': '*' }
  const answer = await here.ask(at(name, '/content'), { method: 'PUT', body: { limit: 1 }, headers })
  expect(answer.status, answer.text).toBe(201)
  return answer.json().release
}

test('F10: with a full disk the nodes are shown as they are, with what they tried; nothing need be written for it', async () => {
  const real = memoryStore()
  let isFull = false
  const store = {
    ...real,
    transaction: async <T>(work: (tx: StoreTx) => T): Promise<T> => {
      if (isFull) throw new StoreError('full', 'disk', 'is full', 'make room')
      return await real.transaction(work)
    },
  }
  const here = await rig({ store, limits: { hub: { recordMs: 1 } } })
  onTestFinished(async () => {
    isFull = false
    await here.close()
  })
  const { number, digest } = await released(here)
  isFull = true
  const uid = randomUUID()
  const path = `/v1/agent/${encodeURIComponent(name)}`
  await here.ask(`${path}/heartbeat`, { method: 'POST', body: hello(uid, name, null) })
  const tell = async (status: string, attempt: number): Promise<void> => {
    const body = { type: 'report', number, digest, status, attempt, at: new Date().toISOString() }
    const told = await here.ask(`${path}/report?uid=${uid}`, { method: 'POST', body })
    expect(told.status, told.text).toBe(204)
  }
  await tell('FAILED', 1)
  await tell('APPLYING', 2)
  // It was tried, and could not be.
  await eventually(() => here.log().includes('is full'))
  const one = await here.ask(`/v1/nodes/${uid}`)
  expect([one.status, one.text]).toEqual([200, expect.stringContaining('"why":"trying"')])
  expect(one.json().attempts).toMatchObject([
    { status: 'APPLYING', attempt: 2 },
    { status: 'FAILED', attempt: 1 },
  ])
  for (const query of ['', '?status=APPLYING', '?notOn=1']) {
    const all = await here.ask(at(name, `/nodes${query}`))
    expect([all.status, all.json().items.length], query).toEqual([200, 1])
  }
  isFull = false
  await eventually(async () => (await store.read((read) => read.attempts(uid, 9))).length === 1)
  await tell('APPLIED', 2)
  const after = (await here.ask(`/v1/nodes/${uid}`)).json()
  expect(after.attempts.map(({ status }: { status: string }) => status)).toEqual(['APPLIED', 'FAILED'])
})

test('what a node holds ready and how well it is are shown as it said them', async () => {
  const here = await rig()
  onTestFinished(async () => await here.close())
  const runs = await released(here)
  const uid = randomUUID()
  const prepared = { number: 2, digest: `sha256:${'2'.repeat(64)}`, epoch: 1 }
  const health = { ok: false, release: 1, detail: 'no database' }
  const body = { ...hello(uid, name, runs), prepared, health }
  const path = `/v1/agent/${encodeURIComponent(name)}/heartbeat`
  expect((await here.ask(path, { method: 'POST', body })).status).toBe(200)
  expect((await here.ask(`/v1/nodes/${uid}`)).json().node).toMatchObject({ prepared, health })
  expect((await here.ask(at(name, '/nodes'))).json().items).toMatchObject([{ prepared, health }])
})

test('a node that was killed is shown as not connected, long before its lease ends', async () => {
  const here = await rig()
  onTestFinished(async () => await here.close())
  const runs = await released(here)
  const uid = randomUUID()
  const agent = await here.token('agent')
  const ws = new WebSocket(`${here.url.replace('http', 'ws')}/v1/agent/connect`, subprotocol, {
    headers: { authorization: `Bearer ${agent}` },
  })
  await once(ws, 'open')
  ws.send(JSON.stringify(hello(uid, name, { number: runs.number, digest: runs.digest })))
  await once(ws, 'message')
  const shown = async (): Promise<unknown> => {
    const { here: isHere, connected, status } = (await here.ask(`/v1/nodes/${uid}`)).json().node
    return [isHere, connected, status]
  }
  expect(await shown()).toEqual([true, true, 'APPLIED'])
  ws.terminate()
  await eventually(() => !here.plane.hub.isConnected(uid))
  expect(await shown()).toEqual([true, false, 'APPLIED'])
})
