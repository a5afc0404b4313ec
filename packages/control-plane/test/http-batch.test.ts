/** Small updates over HTTP: one release for many, each answered for itself, and none of them lost or done twice. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memoryStore, StoreError, type Store } from '../src/index.ts'
import { ask, at, rig, type Answer, type Rig } from './http-rig.ts'

const merge = { 'content-type': 'application/merge-patch+json' }
const patch = { 'content-type': 'application/json-patch+json' }
const hour = 3_600_000
const name = 'shop/gateway'

async function configured(here: Rig, content: object, demands: object = {}): Promise<void> {
  await here.ask('/v1/configs', { method: 'POST', body: { name, ...demands } })
  await here.ask(at(name, '/content'), { method: 'PUT', body: content, headers: { 'if-none-match': '*' } })
}

function update(here: Rig, body: object, headers: Record<string, string> = {}, token?: string): Promise<Answer> {
  const type = Array.isArray(body) ? patch : merge
  const asked = { method: 'POST', body, headers: { ...type, ...headers } }
  return here.ask(at(name, '/batch'), token === undefined ? asked : { ...asked, token })
}

/** Resolves once so many updates wait: they are in the window, and in no release. */
async function waiting(url: string, token: string, count: number): Promise<void> {
  for (;;) {
    const { text } = await ask(url, '/metrics', { token })
    if (text.includes(`midflight_batch_waiting ${count}\n`)) return
  }
}

describe('a batch of up to four, or a long time', () => {
  let here: Rig
  beforeAll(async () => {
    here = await rig({ limits: { batch: { maxUpdates: 4, windowMs: hour } } })
    const properties = { limit: { type: 'integer', minimum: 1 }, password: { type: 'string', writeOnly: true } }
    await configured(here, { limit: 1, gone: true }, { schema: { type: 'object', properties } })
  })
  afterAll(async () => await here.close())

  test('is one release: in order, deletions kept, and the log says whose updates they were', async () => {
    const ada = await here.token('publisher', 'shop', 'ada')
    const sent: Promise<Answer>[] = []
    const bodies = [{ limit: 2 }, { gone: null }, [{ op: 'replace', path: '/limit', value: 3 }], { late: true }]
    for (const [i, body] of bodies.entries()) {
      sent.push(update(here, body, {}, i === 0 ? ada : undefined))
      if (i < 3) await waiting(here.url, here.admin, i + 1)
    }
    const answers = await Promise.all(sent)
    for (const answer of answers) {
      expect([answer.status, answer.json()]).toMatchObject([201, { updates: 4, created: true, replayed: false }])
      expect(answer.headers.etag).toBe(`"${answer.json().release.digest}"`)
    }
    const [first] = answers
    expect(first?.json().release).toMatchObject({ number: 2, author: 'batch', message: '4 updates by ada, admin' })
    expect((await here.ask(at(name, '/content'))).json()).toEqual({ limit: 3, late: true })
    const audit = (await here.ask('/v1/audit?limit=1000')).json().items
    expect(audit.at(-1)).toMatchObject({
      action: 'batch',
      actor: 'batch',
      config: name,
      detail: {
        number: 2,
        updates: 4,
        by: [
          ['ada', 1],
          ['admin', 3],
        ],
      },
    })
    const { text } = await here.ask('/metrics')
    expect(text).toContain('midflight_batch_updates_total{result="released"} 4')
    expect(text).toContain('midflight_publishes_total{kind="batch",result="released"} 1')
  })

  test('one that does not fit is refused for itself, with where and no secrets, and the others go through', async () => {
    const bodies = [{ ok: 1 }, { limit: 0 }, [{ op: 'test', path: '/password', value: 'canary-1' }], { ok: 2 }]
    const answers = await Promise.all(bodies.map((body) => update(here, body)))
    expect(answers.map(({ status }) => status)).toEqual([201, 422, 422, 201])
    expect(answers[1]?.json().issues[0]).toMatchObject({ path: 'limit', pointer: '/limit' })
    expect(answers[0]?.json().updates).toBe(2)
    for (const { text } of answers) expect(text).not.toContain('canary')
    expect((await here.ask(at(name, '/content'))).json().ok).toBe(2)
  })

  test('the same key in one window is one update; for another update it is refused', async () => {
    const key = { 'idempotency-key': 'one' }
    const list = [{ op: 'add', path: '/list', value: [1] }]
    const first = update(here, list, key)
    await waiting(here.url, here.admin, 1)
    const twice = update(here, list, key)
    await waiting(here.url, here.admin, 2)
    expect((await update(here, { other: true }, key)).json().code).toBe('idempotency')
    const rest = [{ a: 1 }, { b: 1 }, { c: 1 }].map((body) => update(here, body))
    const numbers = (await Promise.all([first, twice, ...rest])).map((answer) => answer.json().release.number)
    expect(new Set(numbers).size).toBe(1)
    // Its answer was lost: the same again finds the same release, whenever the batch it is in is written.
    const again = update(here, list, key)
    await waiting(here.url, here.admin, 1)
    const more = [{ d: 1 }, { e: 1 }, { f: 1 }].map((body) => update(here, body))
    expect((await again).json()).toMatchObject({ replayed: true, release: { number: numbers[0] } })
    expect((await Promise.all(more)).map((answer) => answer.json().updates)).toEqual([3, 3, 3])
  })

  test('a condition, a whole content, somebody who may not publish, a config that is not there', async () => {
    expect((await update(here, {}, { 'if-match': '*' })).status).toBe(400)
    expect((await update(here, {}, { 'content-type': 'application/json' })).status).toBe(415)
    expect((await update(here, {}, patch)).status).toBe(400)
    expect((await update(here, {}, {}, await here.token('viewer', 'shop'))).status).toBe(403)
    expect((await here.ask(at('none', '/batch'), { method: 'POST', body: {}, headers: merge })).status).toBe(404)
  })
})

test('nodes that wait are told of the release of a batch as of any', async () => {
  const here = await rig({ limits: { batch: { windowMs: 1 } } })
  await configured(here, {})
  const poll = here.ask(`/v1/agent/${encodeURIComponent(name)}/poll?index=1&wait=20s`)
  await update(here, { a: 1 })
  const { status, headers } = await poll
  expect([status, headers['x-midflight-index']]).toEqual([200, '2'])
  await here.close()
})

test('closing writes what waits in the window, and answers it', async () => {
  const here = await rig({ limits: { batch: { windowMs: hour } } })
  await configured(here, {})
  const answer = update(here, { late: true })
  await waiting(here.url, here.admin, 1)
  await here.close()
  expect((await answer).status).toBe(201)
})

test('too many, or too many bytes, are told to come later', async () => {
  const limits = { batch: { windowMs: hour, maxQueued: 1, maxQueuedBytes: 100 } }
  const here = await rig({ limits })
  await configured(here, {})
  const large = await update(here, { text: 'x'.repeat(200) })
  const first = update(here, { a: 1 })
  await waiting(here.url, here.admin, 1)
  const second = await update(here, { b: 1 })
  for (const answer of [large, second]) {
    expect([answer.status, answer.json().code, answer.headers['retry-after']]).toEqual([503, 'busy', '1'])
  }
  await here.close()
  expect((await first).status).toBe(201)
})

/** A store whose transactions fail for a while. */
function failing(real: Store): { store: Store; fails: boolean } {
  const made = {
    fails: false,
    store: {
      ...real,
      transaction: async (work: never) => {
        if (made.fails) throw new StoreError('full', 'disk', 'is full', 'make room')
        return await real.transaction(work)
      },
    } as Store,
  }
  return made
}

test('F10: while the store takes nothing an update waits; who cannot wait is told so, and the key tells later', async () => {
  const failed = failing(memoryStore())
  const here = await rig({ store: failed.store, limits: { http: { batchAnswerMs: 50 }, batch: { windowMs: 1 } } })
  await configured(here, {})
  failed.fails = true
  const key = { 'idempotency-key': 'patient' }
  const late = await update(here, { a: 1 }, key)
  expect([late.status, late.json().code]).toEqual([503, 'unknown'])
  failed.fails = false
  let answer = await update(here, { a: 1 }, key)
  while (answer.status === 503) answer = await update(here, { a: 1 }, key)
  expect(answer.json().release.number).toBe(2)
  expect((await here.ask(at(name))).json().head.number).toBe(2)
  expect(here.log()).toContain('a batch was not written')
  await here.close()
})

test('F1: SIGKILL in the window: nothing was acknowledged, and the key tells what is true', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'midflight-batch-'))
  const program = fileURLToPath(new URL('./programs/http-server.ts', import.meta.url))
  const start = async (windowMs: number) => {
    const args = ['--conditions=midflight-source', program, dataDir, JSON.stringify({ batch: { windowMs } })]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const [chunk] = (await new Promise((resolve) => child.stdout.once('data', (data) => resolve([data])))) as [Buffer]
    const killed = async (): Promise<void> => {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await gone
    }
    return { killed, ...(JSON.parse(chunk.toString()) as { url: string; secret: string }) }
  }
  const first = await start(hour)
  const token = first.secret
  await ask(first.url, '/v1/configs', { method: 'POST', body: { name }, token })
  const put = { method: 'PUT', body: {}, headers: { 'if-none-match': '*' }, token }
  await ask(first.url, at(name, '/content'), put)
  const headers = { ...patch, 'idempotency-key': 'k' }
  const body = [{ op: 'add', path: '/once', value: 1 }]
  const lost = ask(first.url, at(name, '/batch'), { method: 'POST', body, headers, token }).then(
    () => 'answered',
    () => 'cut off',
  )
  await waiting(first.url, token, 1)
  await first.killed()
  expect(await lost).toBe('cut off')
  const second = await start(1)
  expect((await ask(second.url, at(name), { token })).json().head.number).toBe(1)
  const again = await ask(second.url, at(name, '/batch'), { method: 'POST', body, headers, token })
  expect(again.json()).toMatchObject({ replayed: false, release: { number: 2 } })
  await second.killed()
  // This time it was in: as if the answer had been lost.
  const third = await start(1)
  const known = await ask(third.url, at(name, '/batch'), { method: 'POST', body, headers, token })
  expect([known.status, known.json()]).toMatchObject([201, { replayed: true, release: { number: 2 } }])
  await third.killed()
  await rm(dataDir, { recursive: true, force: true })
})
