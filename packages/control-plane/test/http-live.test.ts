/** Drafts, live events, the audit log, and that no secret leaves by any door. */
import { randomUUID } from 'node:crypto'
import { request, type ClientRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { wire } from '../../../test/rig/wire.ts'
import { at, hello, rig, type Rig } from './http-rig.ts'

interface Seen {
  readonly id: string
  readonly event: string
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  readonly data: any
}

/** A reader of /v1/events, as a browser's EventSource would be. */
class Reader {
  readonly seen: Seen[] = []
  text = ''
  closed = false
  private wake = (): void => {}
  private readonly request: ClientRequest
  readonly opened: Promise<void>

  constructor(url: string, token: string, path = '/v1/events', headers: Record<string, string> = {}) {
    this.request = request(new URL(path, url), {
      agent: false,
      headers: { authorization: `Bearer ${token}`, ...headers },
    })
    this.opened = new Promise((resolve, reject) => {
      this.request.on('error', reject)
      this.request.on('response', (response) => {
        if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`))
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => this.take(chunk, resolve))
        response.on('error', () => {})
        response.on('close', () => {
          this.closed = true
          this.wake()
        })
      })
    })
    this.request.end()
  }

  private rest = ''
  private take(chunk: string, opened: () => void): void {
    this.text += chunk
    const frames = (this.rest + chunk).split('\n\n')
    this.rest = frames.pop() ?? ''
    for (const frame of frames) {
      const fields = Object.fromEntries(
        frame.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      if (fields['event'] !== undefined)
        this.seen.push({
          id: fields['id'] as string,
          event: fields['event'],
          data: JSON.parse(fields['data'] as string),
        })
    }
    opened()
    this.wake()
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`closed, after ${this.text.slice(-300)}`)
      await new Promise<void>((resolve) => (this.wake = resolve))
    }
  }

  close(): void {
    this.request.destroy()
  }
}

let here: Rig
beforeAll(async () => {
  here = await rig({ limits: { events: { beatMs: 50 } } })
})
afterAll(async () => await here.close())

let names = 0
async function config(demands: object = {}, prefix = 'shop'): Promise<string> {
  const name = `${prefix}/c${++names}`
  const made = await here.ask('/v1/configs', { method: 'POST', body: { name, ...demands } })
  expect(made.status, made.text).toBe(201)
  return name
}

async function publish(
  name: string,
  content: object,
  headers: Record<string, string> = { 'if-match': '*' },
): Promise<number> {
  const answer = await here.ask(at(name, '/content'), { method: 'PUT', body: content, headers })
  expect(answer.status, answer.text).toBe(201)
  return answer.json().release.number
}
const first = { 'if-none-match': '*' }

describe('drafts', () => {
  test('an approval covers the plan that was looked at: an edit voids it, and the author does not approve', async () => {
    const name = await config({ reviewers: 1 })
    const author = await here.token('publisher', 'shop', 'ada')
    const reviewer = await here.token('approver', 'shop', 'grace')
    const direct = await here.ask(at(name, '/content'), {
      method: 'PUT',
      body: { a: 1 },
      headers: first,
      token: author,
    })
    expect([direct.status, direct.json().code]).toEqual([409, 'review'])

    const made = await here.ask(at(name, '/drafts'), {
      method: 'POST',
      body: { content: { a: 1 }, message: 'first' },
      token: author,
    })
    expect(made.status, made.text).toBe(201)
    const { id, plan } = made.json()
    const path = `/v1/drafts/${id}`
    expect(made.headers.location).toBe(path)
    const approve = async (digest: string, token: string) =>
      await here.ask(`${path}/approve`, { method: 'POST', body: { digest }, token })
    expect((await approve(plan, author)).status).toBe(403)
    expect((await approve(plan, reviewer)).json()).toMatchObject({ approvedBy: ['grace'], missing: 0 })

    const edited = await here.ask(path, { method: 'PATCH', body: { mergePatch: { a: 2 } }, token: author })
    expect(edited.json()).toMatchObject({ approvedBy: [], missing: 1 })
    expect((await here.ask(`${path}/publish`, { method: 'POST', body: {}, token: author })).json().code).toBe('review')
    expect((await approve(plan, reviewer)).json().code).toBe('review')
    await approve(edited.json().plan, reviewer)
    expect((await here.ask(`${path}/content`, { token: reviewer })).json()).toEqual({ a: 2 })
    const released = await here.ask(`${path}/publish`, {
      method: 'POST',
      body: { digest: edited.json().plan },
      token: author,
    })
    expect(released.json()).toMatchObject({ created: true, release: { number: 1, author: 'ada', message: 'first' } })
    expect((await here.ask(path)).json().status).toBe('published')
    expect((await here.ask(at(name, '/drafts'))).json().items).toHaveLength(1)
  })

  test('breaking the glass needs the permission and a reason, and is in the audit log', async () => {
    const name = await config({ reviewers: 1 })
    const publisher = await here.token('publisher', 'shop', 'bob')
    const url = at(name, '/content?breakGlass=fire')
    expect((await here.ask(url, { method: 'PUT', body: { a: 1 }, headers: first, token: publisher })).status).toBe(403)
    expect((await here.ask(url, { method: 'PUT', body: { a: 1 }, headers: first })).status).toBe(201)
    const log = (await here.ask('/v1/audit?limit=1000')).json().items
    expect(
      log.filter(
        (entry: { action: string; config: string }) => entry.action === 'break-glass' && entry.config === name,
      ),
    ).toMatchObject([{ actor: 'admin', detail: { number: 1, reason: 'fire' } }])
  })

  test('a withdrawn draft is no longer approved or published', async () => {
    const name = await config()
    const { id, plan } = (await here.ask(at(name, '/drafts'), { method: 'POST', body: { content: { a: 1 } } })).json()
    expect((await here.ask(`/v1/drafts/${id}`, { method: 'DELETE' })).json().status).toBe('withdrawn')
    expect((await here.ask(`/v1/drafts/${id}/publish`, { method: 'POST', body: { digest: plan } })).status).toBe(404)
  })
})

describe('audit', () => {
  test('every change is in it, in pages, and every link holds', async () => {
    const name = await config()
    await publish(name, { a: 1 }, first)
    const entries: { number: number; action: string; config: string | null }[] = []
    for (let next: number | undefined = 0; next !== undefined;) {
      const page = (await here.ask(`/v1/audit?limit=3&after=${next}`)).json() as {
        items: typeof entries
        next?: number
      }
      entries.push(...page.items)
      next = page.next
    }
    expect(entries.map(({ number }) => number)).toEqual(entries.map((_, i) => i + 1))
    expect(entries.filter((entry) => entry.config === name).map(({ action }) => action)).toEqual([
      'config-created',
      'publish',
    ])
    expect((await here.ask('/v1/audit/verify', { method: 'POST' })).json()).toMatchObject({
      kind: 'whole',
      entries: entries.length,
    })
  })
})

describe('events', () => {
  test('releases, drafts and nodes are told as they happen, to those who may see them', async () => {
    const name = await config()
    const other = await config({}, 'bank')
    const all = new Reader(here.url, here.admin)
    const scoped = new Reader(here.url, await here.token('viewer', 'shop', 'eve'))
    const narrow = new Reader(here.url, here.admin, '/v1/events?prefix=bank')
    await Promise.all([all.opened, scoped.opened, narrow.opened])
    await publish(other, { a: 1 }, first)
    await publish(name, { a: 1 }, first)
    await here.ask(at(name, '/drafts'), { method: 'POST', body: { content: { a: 2 } } })
    const uid = randomUUID()
    const agent = `/v1/agent/${encodeURIComponent(name)}`
    await here.ask(`${agent}/heartbeat`, { method: 'POST', body: hello(uid, name, null) })
    const { digest } = (await here.ask(at(name))).json().head
    const report = { type: 'report', number: 1, digest, status: 'APPLIED', attempt: 1, at: new Date().toISOString() }
    await here.ask(`${agent}/report?uid=${uid}`, { method: 'POST', body: report })
    await Promise.all([all.until(() => all.seen.length >= 5), scoped.until(() => scoped.seen.length >= 4)])
    expect(all.seen.map(({ event }) => event)).toEqual(['release', 'release', 'draft', 'node-joined', 'node'])
    expect(scoped.seen.map(({ event, data }) => [event, data.number ?? data.change ?? data.status])).toEqual([
      ['release', 1],
      ['draft', 'created'],
      ['node-joined', undefined],
      ['node', 'APPLIED'],
    ])
    expect(scoped.text).not.toContain('bank')
    expect(narrow.seen.map(({ data }) => data.config)).toEqual([other])
    for (const reader of [all, scoped, narrow]) reader.close()
  })

  test('nodes that come, go, come back, are forgotten and move are told, once each', async () => {
    const plane = await rig({ limits: { hub: { leaseMs: 300 } } })
    try {
      for (const name of ['shop/a', 'bank/b']) await plane.ask('/v1/configs', { method: 'POST', body: { name } })
      const all = new Reader(plane.url, plane.admin)
      const bank = new Reader(plane.url, await plane.token('viewer', 'bank'))
      await Promise.all([all.opened, bank.opened])
      const uid = randomUUID()
      const say = (name: string) =>
        plane.ask(`/v1/agent/${encodeURIComponent(name)}/heartbeat`, { method: 'POST', body: hello(uid, name, null) })
      await say('shop/a')
      await say('shop/a')
      await all.until(() => all.seen.length === 2)
      await say('shop/a')
      await say('bank/b')
      await plane.ask(`/v1/nodes/${uid}`, { method: 'DELETE' })
      await all.until(() => all.seen.length === 6)
      expect(all.seen.map(({ event, data }) => `${event} ${data.uid === uid} ${data.config}`)).toEqual([
        'node-joined true shop/a',
        'node-left true shop/a',
        'node-joined true shop/a',
        'node-left true shop/a',
        'node-joined true bank/b',
        'node-left true bank/b',
      ])
      await bank.until(() => bank.seen.length === 2)
      expect(bank.text).not.toContain('shop')
      for (const reader of [all, bank]) reader.close()
    } finally {
      await plane.close()
    }
  })

  test('a reader that comes back gets what it missed, once; after a gap it is told to read anew', async () => {
    const name = await config()
    const reader = new Reader(here.url, here.admin)
    await reader.opened
    await publish(name, { a: 1 }, first)
    await reader.until(() => reader.seen.length === 1)
    reader.close()
    await publish(name, { a: 2 })
    await publish(name, { a: 3 })
    const back = new Reader(here.url, here.admin, '/v1/events', { 'last-event-id': reader.seen[0]?.id as string })
    await back.until(() => back.seen.length === 2)
    await publish(name, { a: 4 })
    await back.until(() => back.seen.length === 3)
    expect(back.seen.map(({ data }) => data.number)).toEqual([2, 3, 4])
    back.close()
    for (const id of ['0123456789ab-1', 'nonsense', `${back.seen[0]?.id}9999`]) {
      const lost = new Reader(here.url, here.admin, '/v1/events', { 'last-event-id': id })
      await lost.until(() => lost.seen.length === 1)
      expect(lost.seen[0]?.event).toBe('reset')
      expect(lost.seen[0]?.id).toBe(back.seen[2]?.id)
      lost.close()
    }
  })

  test('a token that is revoked ends its reader', async () => {
    const made = (
      await here.ask('/v1/tokens', {
        method: 'POST',
        body: { name: 'gone', role: 'viewer', prefix: '', expiresAt: null },
      })
    ).json()
    const reader = new Reader(here.url, made.secret)
    await reader.opened
    await here.ask(`/v1/tokens/${made.token.id}`, { method: 'DELETE' })
    await expect(reader.until(() => false)).rejects.toThrow('closed')
  })

  test('F25: a reader that takes nothing is dropped when too much waits for it, and others go on', async () => {
    const small = await rig({ limits: { events: { maxWaitingBytes: 512 * 1024, maxReaders: 2 } } })
    try {
      const names = Array.from({ length: 20 }, (_, i) => `shop/big${i}`)
      for (const name of names) await small.ask('/v1/configs', { method: 'POST', body: { name } })
      const stuck = wire(
        small.url,
        `GET /v1/events HTTP/1.1\r\nHost: ${new URL(small.url).host}\r\nAuthorization: Bearer ${small.admin}\r\n\r\n`,
      )
      await stuck.until(/: at /)
      stuck.socket.pause()
      const good = new Reader(small.url, small.admin)
      await good.opened
      expect((await small.ask('/v1/events')).status).toBe(503)
      const message = '語'.repeat(4096)
      let n = 0
      const clients = async (): Promise<string> =>
        /midflight_live_clients (\d)/.exec((await small.ask('/metrics')).text)?.[1] ?? ''
      while ((await clients()) === '2' && n < 300) {
        const changes = names.map((config) => ({ config, ifMatch: n === 0 ? null : n, content: { n }, message }))
        expect((await small.ask('/v1/publish', { method: 'POST', body: { changes } })).status).toBe(201)
        n++
      }
      expect(await clients()).toBe('1')
      await good.until(() => good.seen.length >= n * names.length)
      good.close()
      stuck.socket.destroy()
    } finally {
      await small.close()
    }
  })
})

describe('secrets', () => {
  const canary = 'CANARY-5ecret-7f3a'
  const pin = 918273645546
  const schema = {
    type: 'object',
    properties: {
      db: {
        type: 'object',
        properties: {
          user: { type: 'string' },
          password: { type: 'string', writeOnly: true, maxLength: 40 },
          pin: { type: 'integer', writeOnly: true, maximum: 1e15 },
        },
        additionalProperties: false,
      },
      users: {
        type: 'array',
        'x-midflight-key': 'name',
        items: { type: 'object', properties: { name: { type: 'string' }, key: { type: 'string', writeOnly: true } } },
      },
    },
    additionalProperties: false,
  }

  test('what the schema marks writeOnly is in the content only, for those who may read it: in no diff, plan, event, log, error, metric or list', async () => {
    const name = await config({
      schema,
      rules: [
        { rule: 'unique', path: 'users', field: 'key' },
        { rule: 'less', path: 'db.pin', than: 'db.pin', orEqual: true },
      ],
    })
    const reader = new Reader(here.url, here.admin)
    await reader.opened
    const answers: string[] = []
    const say = async (path: string, question: object = {}): Promise<void> => {
      const answer = await here.ask(path, question)
      answers.push(`${path}: ${JSON.stringify(answer.headers)} ${answer.text}`)
    }
    const put = (body: unknown, headers: object = { 'if-match': '*' }) =>
      say(at(name, '/content'), { method: 'PUT', body, headers })
    const good = (suffix: string) => ({
      db: { user: 'app', password: `${canary}${suffix}`, pin },
      users: [
        { name: 'a', key: `${canary}-a${suffix}` },
        { name: 'b', key: `${canary}-b` },
      ],
    })
    await put(good(''), first)
    await put(good('-2'))
    await put({ db: { user: 'app', password: { x: canary } } })
    await put({ db: { user: 'app', password: canary.repeat(4) } })
    await put({ db: { user: 'app', password: [canary], pin: `${pin}` } })
    await put({ db: { user: 'app', pin: pin * 10_000 } })
    await put({ db: { user: 'app', pin: pin + 0.5 } })
    await put({
      users: [
        { name: 'a', key: canary },
        { name: 'b', key: canary },
      ],
    })
    await put(`{"db":{"password":${canary}}}`)
    await put(`{"db":{"password":"${canary}}}`)
    await put(`{"db":{"password":"${canary}" "user":1}}`)
    await put(`{"db":{"pin":${pin}${pin}${pin}}}`)
    await put(`{"db":{"password":"${canary}\\ud800"}}`)
    await put(JSON.stringify(good('-2')), { 'if-match': `"${canary.length}"` })
    await say('/v1/configs', { method: 'POST', body: { name: 'x', schema: {}, content: { password: canary } } })
    await say('/v1/publish', { method: 'POST', body: { changes: [{ config: name, ifMatch: 1, content: good('') }] } })
    await say('/v1/publish', {
      method: 'POST',
      body: { changes: [{ config: name, ifMatch: { password: canary }, content: good('') }] },
    })
    for (const [type, body] of [
      ['json-patch', [{ op: 'test', path: '/db/password', value: 'other' }]],
      ['json-patch', [{ op: 'test', path: '/db/password', value: canary }]],
      ['json-patch', [{ op: 'test', path: '/db', value: { password: canary } }]],
      ['json-patch', [{ op: 'test', path: '', value: {} }]],
      ['json-patch', [{ op: 'test', path: '/users/0/key', value: canary }]],
      ['json-patch', [{ op: 'replace', path: '/db/password/x', value: canary }]],
      ['json-patch', [{ op: 'replace', path: '/db/password', value: 7 }]],
      ['json-patch', { password: canary }],
      ['json-patch', [{ op: canary, path: '' }]],
      ['merge-patch', { db: { password: [canary] } }],
      ['merge-patch', { db: { password: `${canary}-3` } }],
    ] as const) {
      const headers = { 'content-type': `application/${type}+json` }
      await say(at(name, '/content'), { method: 'PATCH', body, headers: { 'if-match': '*', ...headers } })
      await say(at(name, '/batch'), { method: 'POST', body, headers })
      await say(at(name, '/plan'), {
        method: 'POST',
        body: type === 'json-patch' ? { patch: body } : { mergePatch: body },
      })
      await say(at(name, '/drafts'), {
        method: 'POST',
        body: type === 'json-patch' ? { patch: body } : { mergePatch: body },
      })
    }
    await say(at(name, '/plan'), { method: 'POST', body: { content: good('-9') } })
    await say(at(name, '/plan'), { method: 'POST', body: { content: { db: { password: 5 } } } })
    await say(at(name, '/plan'), {
      method: 'POST',
      body: {
        mergePatch: {
          users: [
            { name: 'a', key: canary },
            { name: 'b', key: canary },
          ],
        },
      },
    })
    await say(at(name, '/releases'))
    await say(at(name, '/releases/0/diff/1'))
    await say(at(name, '/releases/1/diff/2'))
    await say(at(name, '/releases/2/diff/1'))
    await say(at(name, '/blame?path=db.password'))
    const draft = (await here.ask(at(name, '/drafts'), { method: 'POST', body: { content: good('-d') } })).json()
    answers.push(JSON.stringify(draft))
    await say(`/v1/drafts/${draft.id}`)
    await say(`/v1/drafts/${draft.id}`, { method: 'PATCH', body: { content: { db: { password: [canary] } } } })
    await say(`/v1/drafts/${draft.id}/publish`, { method: 'POST', body: {} })
    await say(at(name, '/schema'), {
      method: 'PUT',
      body: { schema: { type: 'object', properties: { db: { type: 'string', writeOnly: true } } } },
    })
    for (const db of [{ type: 'string' }, { type: 'object', properties: { password: { const: 'x' } } }]) {
      await say(at(name, '/schema'), { method: 'PUT', body: { schema: { type: 'object', properties: { db } } } })
    }
    await say(at(name, '/rollback'), { method: 'POST', body: { to: 1, breakGlass: { reason: 'test' } } })
    await say(at(name))
    await say(at(name, '/nodes'))
    await say('/v1/audit?limit=1000')
    await say('/metrics')
    for (const role of ['agent', 'viewer']) await say(at(name, '/content'), { token: await here.token(role, 'bank') })
    const last = Number((await here.ask(at(name))).json().head.number)
    await reader.until(() => reader.seen.some(({ data }) => data.number === last && data.config === name))
    reader.close()

    expect((await here.ask(at(name, '/content'))).text).toContain(canary)
    const surfaces = {
      events: reader.text,
      log: here.log(),
      ...Object.fromEntries(answers.map((text, i) => [`answer ${i}`, text])),
    }
    const leaks = Object.entries(surfaces).filter(
      ([, text]) => text.includes(canary) || text.includes(String(pin)) || text.includes('CANARY'),
    )
    expect(
      leaks.map(
        ([place, text]) =>
          `${place}: ${text.slice(Math.max(0, text.search(/CANARY|918273645546/) - 300)).slice(0, 600)}`,
      ),
    ).toEqual([])
    expect(here.log()).not.toContain(here.admin)
  })
})
