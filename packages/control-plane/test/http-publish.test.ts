import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { at, hello, rig, type Answer, type Rig } from './http-rig.ts'

let here: Rig

beforeAll(async () => {
  here = await rig()
})
afterAll(async () => await here.close())

const schema = {
  type: 'object',
  properties: {
    rules: {
      type: 'array',
      'x-midflight-key': 'id',
      items: {
        type: 'object',
        properties: { id: { type: 'string' }, limit: { type: 'integer', minimum: 1 } },
        required: ['id', 'limit'],
        additionalProperties: false,
      },
    },
  },
  required: ['rules'],
  additionalProperties: false,
}
const r1 = (limit: number) => ({ id: 'r1', limit })
const r2 = { id: 'r2', limit: 200 }

let names = 0
async function config(demands: object = { schema }): Promise<string> {
  const name = `shop/gateway/p${++names}`
  const made = await here.ask('/v1/configs', { method: 'POST', body: { name, ...demands } })
  expect(made.status, made.text).toBe(201)
  return name
}

async function put(name: string, content: unknown, headers: Record<string, string>, query = ''): Promise<Answer> {
  return await here.ask(at(name, `/content${query}`), { method: 'PUT', body: content, headers })
}

async function first(name: string, content: unknown = { rules: [r1(1000), r2] }): Promise<Answer> {
  const answer = await put(name, content, { 'if-none-match': '*' })
  expect(answer.status, answer.text).toBe(201)
  return answer
}

/** A node that runs what it is given. */
async function converge(name: string, uid: string): Promise<{ number: number; digest: string }> {
  const path = `/v1/agent/${encodeURIComponent(name)}`
  const poll = await here.ask(`${path}/poll?uid=${uid}&index=0`)
  expect(poll.status, poll.text).toBe(200)
  const { number, digest } = poll.json().release
  await here.ask(`${path}/heartbeat`, { method: 'POST', body: hello(uid, name, null) })
  const report = { type: 'report', number, digest, status: 'APPLIED', attempt: 1, at: new Date().toISOString() }
  const told = await here.ask(`${path}/report?uid=${uid}`, { method: 'POST', body: report })
  expect(told.status, told.text).toBe(204)
  return { number, digest }
}

describe('publish', () => {
  test('the first release, the content with its ETag, and 304 for who has it', async () => {
    const name = await config()
    const published = await first(name)
    expect(published.json()).toMatchObject({
      created: true,
      replayed: false,
      release: { number: 1, parent: null, kind: 'publish', author: 'admin' },
    })
    expect(published.json().release.signature.alg).toBe('Ed25519')
    const content = await here.ask(at(name, '/content'))
    expect(content.json()).toEqual({ rules: [r1(1000), r2] })
    expect(content.headers.etag).toBe(published.headers.etag)
    const etag = content.headers.etag as string
    const again = await here.ask(at(name, '/content'), { headers: { 'if-none-match': etag } })
    expect([again.status, again.text]).toEqual([304, ''])
    const head = await here.ask(at(name), { headers: { 'if-none-match': `"x", W/${etag}` } })
    expect(head.status).toBe(304)
    expect((await here.ask(at(name))).json()).toMatchObject({ name, head: { number: 1 }, hasSchema: true })
  })

  test('without a precondition it is refused with 428, and says which head to name', async () => {
    const name = await config()
    await first(name)
    const answer = await put(name, { rules: [] }, {})
    expect(answer.status).toBe(428)
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(answer.json()).toMatchObject({
      code: 'precondition-required',
      head: { number: 1 },
      holds: 'nothing was changed',
    })
  })

  test('F65: of two who publish against one head, one gets it, and the other 412 with the new head', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const both = await Promise.all([400, 500].map((limit) => put(name, { rules: [r1(limit)] }, { 'if-match': etag })))
    expect(both.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 412])
    const lost = both.find(({ status }) => status === 412) as Answer
    expect(lost.json()).toMatchObject({ code: 'conflict', head: { config: name, number: 2 } })
    expect(lost.headers.etag).toBe((await here.ask(at(name))).headers.etag)
    const anew = await put(name, { rules: [r1(600)] }, { 'if-match': lost.headers.etag as string })
    expect(anew.json().release.number).toBe(3)
  })

  test('R3: a limit of 0 is refused with its place, and the head stays', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const answer = await put(name, { rules: [r1(0)] }, { 'if-match': etag })
    expect(answer.status).toBe(422)
    expect(answer.json()).toMatchObject({ code: 'invalid', holds: 'nothing was changed' })
    expect(answer.json().issues[0].pointer).toMatch(/limit$/)
    expect((await here.ask(at(name))).json().head.number).toBe(1)
  })

  test('identical content makes no release, unless it is forced', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const same = await put(name, { rules: [r1(1000), r2] }, { 'if-match': etag })
    expect([same.status, same.json().created, same.json().release.number]).toEqual([200, false, 1])
    const forced = await put(name, { rules: [r1(1000), r2] }, { 'if-match': etag }, '?force=true')
    expect([forced.status, forced.json().release.number]).toEqual([201, 2])
  })

  test('JSON Patch and merge patch, by content type', async () => {
    const name = await config({})
    const etag = (await first(name, { a: 1, b: { c: 2 } })).headers.etag as string
    const patched = await here.ask(at(name, '/content?message=why'), {
      method: 'PATCH',
      body: [{ op: 'replace', path: '/a', value: 3 }],
      headers: { 'if-match': etag, 'content-type': 'application/json-patch+json' },
    })
    expect(patched.json()).toMatchObject({ created: true, release: { number: 2, message: 'why' } })
    const merged = await here.ask(at(name, '/content'), {
      method: 'PATCH',
      body: { b: null },
      headers: { 'if-match': patched.headers.etag as string, 'content-type': 'application/merge-patch+json' },
    })
    expect(merged.status, merged.text).toBe(201)
    expect((await here.ask(at(name, '/content'))).json()).toEqual({ a: 3 })
    const plain = await here.ask(at(name, '/content'), { method: 'PATCH', body: {}, headers: { 'if-match': '*' } })
    expect(plain.status).toBe(415)
    expect(plain.headers['accept-patch']).toBe('application/json-patch+json, application/merge-patch+json')
    const misfit = await here.ask(at(name, '/content'), {
      method: 'PATCH',
      body: [{ op: 'remove', path: '/none' }],
      headers: { 'if-match': '*', 'content-type': 'application/json-patch+json' },
    })
    expect([misfit.status, misfit.json().code]).toEqual([422, 'invalid'])
  })

  test('I4: the same idempotency key gives the one true answer, also when the head has moved since', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const key = randomUUID()
    const headers = { 'if-match': etag, 'idempotency-key': key }
    const one = await put(name, { rules: [r1(500)] }, headers)
    await put(name, { rules: [r1(501)] }, { 'if-match': one.headers.etag as string })
    const two = await put(name, { rules: [r1(500)] }, headers)
    expect(two.json()).toEqual({ ...one.json(), replayed: true })
    expect((await here.ask(at(name))).json().head.number).toBe(3)
    const other = await put(name, { rules: [r1(502)] }, headers)
    expect([other.status, other.json().code]).toEqual([422, 'idempotency'])
  })

  test('several configs at once: all or none', async () => {
    const [a, b] = [await config(), await config()]
    await first(a)
    const body = (limit: number) => ({
      changes: [
        { config: a, ifMatch: 1, content: { rules: [r1(limit)] } },
        { config: b, ifMatch: null, content: { rules: [r2] }, message: 'both' },
      ],
    })
    const refused = await here.ask('/v1/publish', { method: 'POST', body: body(0) })
    expect(refused.status).toBe(422)
    expect((await here.ask(at(b))).json().head).toBeNull()
    const done = await here.ask('/v1/publish', { method: 'POST', body: body(7) })
    expect(done.status, done.text).toBe(201)
    expect(done.json().published.map((one: { release: { number: number } }) => one.release.number)).toEqual([2, 1])
    const stale = await here.ask('/v1/publish', { method: 'POST', body: body(8) })
    expect([stale.status, stale.json().head.number]).toEqual([412, 2])
  })

  test('a plan shows what would change and why it would be refused, and stores nothing', async () => {
    const name = await config()
    await first(name)
    const plan = await here.ask(at(name, '/plan'), { method: 'POST', body: { content: { rules: [r1(0), r2] } } })
    expect(plan.json().issues).toHaveLength(1)
    const good = await here.ask(at(name, '/plan'), { method: 'POST', body: { content: { rules: [r1(500), r2] } } })
    expect(good.json()).toMatchObject({ same: false, issues: [], head: { number: 1 } })
    expect(good.json().changes).toEqual([{ kind: 'changed', path: 'rules.r1.limit', before: 1000, after: 500 }])
    expect((await here.ask(at(name))).json().head.number).toBe(1)
  })
})

describe('history', () => {
  test('releases newest first in pages, one release, a diff, blame', async () => {
    const name = await config()
    let etag = (await first(name)).headers.etag as string
    for (const limit of [2, 3, 4, 5]) {
      etag = (await put(name, { rules: [r1(limit), r2] }, { 'if-match': etag }, `?message=to%20${limit}`)).headers
        .etag as string
    }
    const numbers: number[] = []
    let after = ''
    for (let page; page === undefined || page.next !== undefined;) {
      page = (await here.ask(at(name, `/releases?limit=2${after}`))).json()
      numbers.push(...page.items.map((release: { number: number }) => release.number))
      after = `&after=${page.next}`
    }
    expect(numbers).toEqual([5, 4, 3, 2, 1])
    expect((await here.ask(at(name, '/releases/3'))).json()).toMatchObject({ number: 3, message: 'to 3' })
    expect((await here.ask(at(name, '/releases/9'))).status).toBe(404)
    expect((await here.ask(at(name, '/releases/1/diff/5'))).json().changes).toEqual([
      { kind: 'changed', path: 'rules.r1.limit', before: 1000, after: 5 },
    ])
    expect((await here.ask(at(name, '/blame?path=rules.r1.limit'))).json()).toMatchObject({
      release: { number: 5 },
      kind: 'changed',
    })
    expect((await here.ask(at(name, '/blame?path=rules.r2'))).json()).toMatchObject({
      release: { number: 1 },
      kind: 'added',
    })
    expect((await here.ask(at(name, '/content?release=2'))).json()).toEqual({ rules: [r1(2), r2] })
  })

  test('rollback is a new release with the content of an older one that a node has run (I5)', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const early = await here.ask(at(name, '/rollback'), { method: 'POST', body: { to: 1 } })
    expect([early.status, early.json().code]).toEqual([409, 'not-applied'])
    await converge(name, randomUUID())
    await put(name, { rules: [r1(5)] }, { 'if-match': etag })
    const back = await here.ask(at(name, '/rollback'), { method: 'POST', body: { to: 1, message: 'slow' } })
    expect(back.status, back.text).toBe(201)
    expect(back.json().release).toMatchObject({ number: 3, kind: 'rollback', rollbackOf: 1, message: 'slow' })
    expect((await here.ask(at(name, '/content'))).json()).toEqual({ rules: [r1(1000), r2] })
  })
})

describe('nodes', () => {
  test('R1: who runs what; and who does not run a release, and why', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const uids = [randomUUID(), randomUUID(), randomUUID()].sort()
    for (const uid of uids) await converge(name, uid)
    expect((await here.ask(at(name, '/nodes/summary'))).json()).toMatchObject({
      release: 1,
      nodes: 3,
      applied: 3,
      byStatus: { APPLIED: 3 },
    })
    await put(name, { rules: [r1(500), r2] }, { 'if-match': etag })
    await converge(name, uids[0] as string)
    const behind = (await here.ask(at(name, '/nodes?notOn=2'))).json().items
    expect(behind.map((node: { uid: string; why: string }) => [node.uid, node.why])).toEqual(
      uids.slice(1).map((uid) => [uid, 'not-delivered']),
    )
    const one = (await here.ask(`/v1/nodes/${uids[0]}`)).json()
    expect(one).toMatchObject({
      node: { runs: { number: 2 }, here: true, labels: { zone: 'a' } },
      attempts: [{ number: 2 }, { number: 1 }],
    })
    const pages = (await here.ask(at(name, '/nodes?limit=2'))).json()
    expect([pages.items.length, pages.next]).toEqual([2, uids[1]])
    expect((await here.ask(`/v1/nodes/${uids[2]}`, { method: 'DELETE' })).status).toBe(204)
    expect((await here.ask(`/v1/nodes/${uids[2]}`)).status).toBe(404)
  })

  test('a long poll is answered by the publish it waits for', async () => {
    const name = await config()
    const etag = (await first(name)).headers.etag as string
    const waiting = here.ask(`/v1/agent/${encodeURIComponent(name)}/poll?uid=${randomUUID()}&index=1&wait=30s`)
    await put(name, { rules: [r1(500), r2] }, { 'if-match': etag })
    const answer = await waiting
    expect(answer.status, answer.text).toBe(200)
    expect(answer.headers['x-midflight-index']).toBe('2')
    expect(answer.json()).toMatchObject({ type: 'release', release: { number: 2 } })
  })
})
