/** Rollouts over HTTP, with real nodes: engines that follow the control plane. The machine is `rollout.test.ts`, the rest `coordinator.test.ts`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { componentsFor, jsonSchema, start, type Engine, type Json } from 'midflight'
import { controlPlane } from 'midflight/agent'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { at, rig, type Answer, type Question, type Rig } from './http-rig.ts'

vi.setConfig({ testTimeout: 60_000 })

let here: Rig
let clockMs = Date.parse('2026-11-20T09:00:00.000Z')
let agentToken = ''
let folder = ''
beforeAll(async () => {
  here = await rig({ now: () => new Date(clockMs++), limits: { http: { failures: { perSecond: 100, burst: 1000 } } } })
  agentToken = await here.token('agent')
  folder = await mkdtemp(join(tmpdir(), 'midflight-rollouts-'))
})
afterAll(async () => {
  await here.close()
  await rm(folder, { recursive: true, force: true })
})

let names = 0
async function config(demands: object = {}): Promise<string> {
  const name = `shop/r${++names}`
  const made = await here.ask('/v1/configs', { method: 'POST', body: { name, ...demands } })
  expect(made.status, made.text).toBe(201)
  return name
}

/** Refuses what says `bad` while it is committed. */
async function node(name: string, index: number): Promise<Engine<Json>> {
  const labels = { name: `n${index}`, zone: index % 2 === 0 ? 'a' : 'b' }
  const schema = jsonSchema<Json>(true)
  const { value } = componentsFor(schema)
  const engine = await start({
    schema,
    sources: [controlPlane({ url: here.url, config: name, token: agentToken, labels, name: 'test-node' })],
    components: [
      value({
        name: 'all',
        path: '',
        apply: (next: Json) => {
          if (JSON.stringify(next).includes('bad')) throw new Error('this is bad')
        },
      }),
    ],
    stateDir: join(folder, `${name.replaceAll('/', '-')}-${index}`),
    retries: { limit: 0 },
    logger: false,
  } as never)
  onTestFinished(() => engine.close())
  return engine as unknown as Engine<Json>
}

/** A config whose nodes run release 1. */
async function fleet(count = 3, demands: object = {}): Promise<string> {
  const name = await config(demands)
  expect((await publish(name, { limit: 1 }, {}, { 'if-none-match': '*' })).status).toBe(201)
  await Promise.all(Array.from({ length: count }, (_, i) => node(name, i)))
  await vi.waitFor(async () => {
    const { applied } = (await here.ask(at(name, '/nodes/summary'))).json()
    expect(applied).toBe(count)
  }, 20_000)
  return name
}

async function publish(
  name: string,
  content: object,
  query: Record<string, string | object> = {},
  headers: Record<string, string> = { 'if-match': '*' },
  more: Question = {},
): Promise<Answer> {
  const texts = Object.entries(query).map(([key, value]) => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  const search = new URLSearchParams(Object.fromEntries(texts)).toString()
  return await here.ask(at(name, `/content?${search}`), { method: 'PUT', body: content, headers, ...more })
}

async function control(
  name: string,
  which: string,
  what: string,
  reason: string,
  more: Question = {},
): Promise<Answer> {
  return await here.ask(at(name, `/rollouts/${which}/${what}`), { method: 'POST', body: { reason }, ...more })
}

async function until(name: string, number: number, phase: string): Promise<Record<string, never>> {
  return await vi.waitFor(async () => {
    const found = (await here.ask(at(name, `/rollouts/${number}`))).json()
    expect(found, JSON.stringify(found)).toMatchObject({ phase })
    return found
  }, 20_000)
}

/** Which releases the nodes run. */
async function runs(name: string): Promise<number[]> {
  const { items } = (await here.ask(at(name, '/nodes'))).json() as { items: { runs: { number: number } | null }[] }
  return items.map((one) => one.runs?.number ?? 0).toSorted((a, b) => a - b)
}

const staged = { kind: 'staged', steps: [{ percent: 10 }], bakeMs: 100 }
const slow = { ...staged, bakeMs: 600_000 }

describe('a publish with a strategy', () => {
  test('goes to one node of three, is watched, goes to all; the answer and the list say how it is brought', async () => {
    const name = await fleet()
    const answer = await publish(name, { limit: 2 }, { strategy: slow })
    expect([answer.status, answer.json().rollout]).toEqual([
      201,
      expect.objectContaining({ number: 2, kind: 'staged', steps: 2 }),
    ])
    const found = await until(name, 2, 'baking')
    expect(found).toMatchObject({
      step: 0,
      steps: 2,
      progress: [{ counts: { applied: 1 } }, { counts: { waiting: 2 } }],
    })
    expect(await runs(name)).toEqual([1, 1, 2])
    expect((await here.ask(at(name, '/rollouts/current'))).json()).toMatchObject({ number: 2 })
    expect((await control(name, 'current', 'promote', 'looks well')).status).toBe(200)
    await vi.waitFor(async () => expect(await runs(name)).toEqual([2, 2, 2]), 20_000)
    expect((await control(name, '2', 'promote', 'still well')).status).toBe(200)
    await until(name, 2, 'completed')
    const { items } = (await here.ask(at(name, '/rollouts'))).json()
    expect(items).toEqual([expect.objectContaining({ number: 2, kind: 'staged', phase: 'completed', by: 'admin' })])
    const audit = (await here.ask('/v1/audit?limit=1000')).json().items as { action: string; config: string }[]
    expect(audit.filter((one) => one.config === name).map(({ action }) => action)).toContain('rollout-promoted')
    const metrics = (await here.ask('/metrics')).text
    expect(metrics).toMatch(/midflight_rollouts_ended_total\{result="completed"\} [1-9]/)
  })

  test('F60: what the first node cannot take goes back as a new release; which nodes and why is said', async () => {
    const name = await fleet()
    await publish(name, { bad: true }, { strategy: staged })
    const found = await until(name, 2, 'rolled-back')
    expect(found).toMatchObject({
      failure: { kind: 'nodes', step: 0, nodes: [{ reason: expect.stringContaining('this is bad') }] },
      rollback: { number: 3 },
    })
    await vi.waitFor(async () => expect(await runs(name)).toEqual([3, 3, 3]), 20_000)
    const release = (await here.ask(at(name, '/releases/3'))).json()
    expect(release).toMatchObject({ kind: 'rollback', rollbackOf: 1, author: 'midflight' })
  })

  test('in every body that has room for one: several configs at once, a draft, a rollback', async () => {
    const [one, other] = [await config(), await config()]
    const strategy = { kind: 'two-phase' }
    const changes = [one, other].map((name) => ({ config: name, ifMatch: null, content: { limit: 1 } }))
    const both = (await here.ask('/v1/publish', { method: 'POST', body: { changes, strategy } })).json()
    expect(both.published).toMatchObject([{ rollout: { kind: 'two-phase' } }, { rollout: { kind: 'two-phase' } }])
    const draft = (await here.ask(at(one, '/drafts'), { method: 'POST', body: { content: { limit: 2 } } })).json()
    const made = await here.ask(`/v1/drafts/${draft.id}/publish`, { method: 'POST', body: { strategy } })
    expect(made.json(), made.text).toMatchObject({ release: { number: 2 }, rollout: { kind: 'two-phase' } })
    const breakGlass = { reason: 'no node ran it' }
    const back = await here.ask(at(one, '/rollback'), { method: 'POST', body: { to: 1, strategy, breakGlass } })
    expect(back.json(), back.text).toMatchObject({ release: { rollbackOf: 1 }, rollout: { kind: 'two-phase' } })
  })

  test('without one, and none in the config: to all at once and no rollout, as ever', async () => {
    const name = await config()
    const answer = await publish(name, { a: 1 }, {}, { 'if-none-match': '*' })
    expect([answer.status, answer.json().rollout]).toEqual([201, undefined])
    expect((await here.ask(at(name, '/rollouts'))).json()).toEqual({ items: [] })
    const none = await here.ask(at(name, '/rollouts/current'))
    expect([none.status, none.json().code]).toEqual([404, 'not-found'])
  })

  test('the same idempotency key with another strategy is another request', async () => {
    const name = await config()
    const headers = { 'if-none-match': '*', 'idempotency-key': 'k' }
    const first = await publish(name, { a: 1 }, { strategy: 'all-at-once' }, headers)
    const again = await publish(name, { a: 1 }, { strategy: 'all-at-once' }, headers)
    const other = await publish(name, { a: 1 }, { strategy: 'two-phase' }, headers)
    expect([first.status, again.json().replayed, other.status]).toEqual([201, true, 422])
    expect(again.json().rollout).toMatchObject({ number: 1, kind: 'all-at-once' })
  })

  test.each<[string, string | object, number, string]>([
    [
      'a canary of 0 %',
      { kind: 'staged', steps: [{ percent: 0 }] },
      422,
      'steps[0].percent is 0; want 0.01 to 100 percent',
    ],
    ['of −1 %', { kind: 'staged', steps: [{ percent: -1 }] }, 422, 'steps[0].percent is -1'],
    ['of 101 %', { kind: 'staged', steps: [{ percent: 101 }] }, 422, 'steps[0].percent is 101'],
    [
      'fewer nodes with the second step',
      { kind: 'staged', steps: [{ percent: 50 }, { percent: 10 }] },
      422,
      'want each to reach more',
    ],
    ['no steps', { kind: 'staged', steps: [] }, 422, 'steps is empty'],
    ['an unknown kind', { kind: 'magic' }, 400, 'the strategy: kind is "magic"; want one of'],
    ['an unknown word', 'magic', 400, 'strategy is "magic"; want one of'],
    ['no object', '7', 400, 'the strategy: is 7; want object'],
    ['NaN', '{"kind":"staged","bakeMs":NaN}', 400, 'want one of'],
    ['a text for a number', { kind: 'staged', bakeMs: '5m' }, 400, 'bakeMs is "5m"; want number'],
    ['1e400 for a time', '{"kind":"staged","bakeMs":1e400}', 422, 'bakeMs is Infinity'],
    ['less than no time', { kind: 'staged', bakeMs: -1 }, 422, 'bakeMs is -1; want 0 to'],
    ['a time that nodes would not take', { kind: 'two-phase', prepareMs: 172_800_000 }, 422, 'want 100 to 86400000'],
    ['a part of a millisecond', { kind: 'two-phase', prepareMs: 500.5 }, 422, 'prepareMs is 500.5; want whole'],
    ['a part of a millisecond to go back in', { kind: 'staged', revertMs: 1000.5 }, 422, 'want whole milliseconds'],
    [
      'less time than a step is watched',
      { kind: 'staged', revertMs: 30_000 },
      422,
      'is watched for 60000 ms; want more',
    ],
    ['a field that is misspelt', { kind: 'staged', bakems: 5 }, 400, 'bakems is not known'],
    [
      'a hundred steps and the rest',
      { kind: 'staged', steps: Array.from({ length: 100 }, () => ({ labels: { a: 'b' } })) },
      400,
      '99',
    ],
    [
      'two gates of one name',
      { kind: 'staged', gates: Array(2).fill({ kind: 'webhook', name: 'x', hook: 'y' }) },
      422,
      'want each once',
    ],
    [
      'a gate that nobody here can ask',
      { kind: 'staged', gates: [{ kind: 'promql', name: 'x', query: 'up', want: '== 1' }] },
      422,
      'no Prometheus is configured',
    ],
    ['zones that there are not', 'by-zone', 422, 'no node has the label "zone"'],
  ])('refused, and nothing is published: %s', async (_, strategy, status, found) => {
    const name = await config()
    const answer = await publish(name, { a: 1 }, { strategy }, { 'if-none-match': '*' })
    expect([answer.status, answer.json().detail]).toEqual([status, expect.stringContaining(found)])
    expect((await here.ask(at(name))).json().head).toBeNull()
  })
})

describe('control', () => {
  test('paused by a reason, resumed by that reason only; aborted it goes back; ended it takes nothing more', async () => {
    const name = await fleet()
    await publish(name, { limit: 2 }, { strategy: slow })
    await until(name, 2, 'baking')
    expect((await control(name, 'current', 'pause', 'lunch')).json().pauses).toEqual([{ reason: 'lunch', by: 'admin' }])
    const wrong = await control(name, '2', 'resume', 'dinner')
    expect([wrong.status, wrong.json().detail]).toEqual([409, expect.stringContaining('it is for "lunch"')])
    expect((await control(name, '2', 'resume', 'lunch')).json().pauses).toEqual([])
    expect((await control(name, '2', 'confirm', 'yes')).status).toBe(409)
    expect((await control(name, '2', 'pause', 'freeze: mine')).status).toBe(422)
    const publisher = await here.token('publisher', 'shop')
    expect((await control(name, '2', 'abort', 'wrong customer', { token: publisher })).status).toBe(200)
    await until(name, 2, 'rolled-back')
    await vi.waitFor(async () => expect(await runs(name)).toEqual([3, 3, 3]), 20_000)
    for (const what of ['pause', 'resume', 'abort', 'promote', 'confirm']) {
      const late = await control(name, '2', what, 'late')
      expect([what, late.status, late.json().code]).toEqual([what, 409, 'state'])
    }
  })

  test('who may not see the config is told the same as of one that is not there; who may only read is refused', async () => {
    const name = await config()
    await publish(name, { a: 1 }, { strategy: 'all-at-once' }, { 'if-none-match': '*' })
    const stranger = await here.token('publisher', 'bank')
    const viewer = await here.token('viewer', 'shop')
    for (const path of ['/rollouts', '/rollouts/1', '/rollout-policy', '/risk-report']) {
      const hidden = await here.ask(at(name, path), { token: stranger })
      const absent = await here.ask(at('shop/none', path), { token: stranger })
      const bare = (answer: Answer): string =>
        answer.text.replaceAll(/"requestId":"[^"]*"/g, '').replaceAll(name, 'shop/none')
      expect([hidden.status, bare(hidden)]).toEqual([404, bare(absent)])
      expect((await here.ask(at(name, path), { token: viewer })).status).toBe(200)
    }
    expect((await control(name, '1', 'abort', 'x', { token: stranger })).status).toBe(404)
    expect((await control(name, '1', 'abort', 'x', { token: viewer })).status).toBe(403)
    const policy = { method: 'PUT', body: { strategy: null } }
    expect((await here.ask(at(name, '/rollout-policy'), { ...policy, token: viewer })).status).toBe(403)
    for (const number of ['0', '01', 'x', '1e9'])
      expect((await here.ask(at(name, `/rollouts/${number}`))).status).toBe(400)
    expect((await here.ask(at(name, '/rollouts/99'))).status).toBe(404)
    expect((await control(name, '1', 'pause', '')).status).toBe(400)
  })

  test('instant over a rollout under way takes the glass to be broken; without a strategy it waits its turn', async () => {
    const name = await fleet()
    await publish(name, { limit: 2 }, { strategy: slow })
    await until(name, 2, 'baking')
    const refused = await publish(name, { limit: 3 }, { strategy: 'instant' })
    expect([refused.status, refused.json().detail]).toEqual([409, expect.stringContaining('break the glass')])
    const publisher = await here.token('publisher', 'shop')
    const denied = await publish(name, { limit: 3 }, { strategy: 'instant', breakGlass: 'fire' }, undefined, {
      token: publisher,
    })
    expect(denied.status).toBe(403)
    const plain = await publish(name, { limit: 3 })
    expect(plain.json().rollout).toMatchObject({ number: 3, kind: 'all-at-once', phase: 'queued' })
    const instant = await publish(name, { limit: 4 }, { strategy: 'instant', breakGlass: 'fire' })
    expect(instant.status).toBe(201)
    await until(name, 4, 'completed')
    await until(name, 2, 'superseded')
    await until(name, 3, 'superseded')
    await vi.waitFor(async () => expect(await runs(name)).toEqual([4, 4, 4]), 20_000)
    const audit = (await here.ask('/v1/audit?limit=1000')).json().items as { action: string; detail: object }[]
    expect(audit.findLast(({ action }) => action === 'break-glass')?.detail).toMatchObject({
      number: 4,
      reason: 'fire',
    })
  })
})

describe('those who look on', () => {
  test('are told of every move in a few words, however large the strategy, and not of configs of others', async () => {
    const name = await fleet(1)
    const seen: { type: string; text: string }[] = []
    const stop = new AbortController()
    const token = await here.token('viewer', 'shop')
    const stranger = await here.token('viewer', 'bank')
    const listen = async (secret: string, into: (type: string, text: string) => void): Promise<void> => {
      const response = await fetch(`${here.url}/v1/events`, {
        headers: { authorization: `Bearer ${secret}` },
        signal: stop.signal,
      })
      let rest = ''
      for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
        const frames = (rest + chunk).split('\n\n')
        rest = frames.pop() ?? ''
        for (const frame of frames) {
          const [, type = '', text = ''] = /^event: (.*)\ndata: (.*)$/m.exec(frame) ?? []
          if (type !== '') into(type, text)
        }
      }
    }
    let hidden = 0
    const readers = [listen(token, (type, text) => seen.push({ type, text })), listen(stranger, () => hidden++)].map(
      (reader) => reader.catch(() => {}),
    )
    await vi.waitFor(async () => expect((await here.ask('/metrics')).text).toContain('midflight_live_clients 2'))
    const labels = { ['x'.repeat(100)]: 'y'.repeat(200) }
    await publish(name, { limit: 2 }, { strategy: { kind: 'staged', steps: Array(20).fill({ labels }), bakeMs: 0 } })
    await until(name, 2, 'completed')
    await vi.waitFor(() => expect(seen.some(({ text }) => text.includes('"phase":"completed"'))).toBe(true))
    stop.abort()
    await Promise.all(readers)
    const moves = seen.filter(({ type }) => type === 'rollout')
    expect(Math.max(...moves.map(({ text }) => text.length))).toBeLessThan(1_000)
    expect(JSON.parse(moves[0]?.text ?? '')).toMatchObject({ config: name, number: 2, event: 'began', steps: 21 })
    expect(hidden).toBe(0)
  })
})

describe('what a config wants of its rollouts', () => {
  const put = async (name: string, body: object, headers: Record<string, string> = {}): Promise<Answer> =>
    await here.ask(at(name, '/rollout-policy'), { method: 'PUT', body, headers })

  test('its strategy is for all who say nothing; another for one release, and the ETag holds against two at a time', async () => {
    const name = await fleet()
    const seen = (await here.ask(at(name, '/rollout-policy'))).headers.etag as string
    const changed = await put(name, { strategy: staged }, { 'if-match': seen })
    expect([changed.status, changed.json().strategy]).toEqual([200, staged])
    expect((await put(name, { strategy: null }, { 'if-match': seen })).status).toBe(412)
    expect((await publish(name, { limit: 2 })).json().rollout).toMatchObject({ kind: 'staged' })
    await until(name, 2, 'completed')
    expect((await publish(name, { limit: 3 }, { strategy: 'two-phase' })).json().rollout).toMatchObject({
      kind: 'two-phase',
    })
    await until(name, 3, 'completed')
    const batched = await here.ask(at(name, '/batch'), {
      method: 'POST',
      body: { limit: 4 },
      headers: { 'content-type': 'application/merge-patch+json', 'idempotency-key': 'b' },
    })
    expect(batched.json(), batched.text).toMatchObject({ release: { number: 4 } })
    expect((await here.ask(at(name, '/rollouts/4'))).json()).toMatchObject({ kind: 'staged' })
  })

  test.each<[string, object, number, string]>([
    [
      'from after to',
      { from: '2026-12-24T12:00:00Z', to: '2026-12-24T11:00:00Z' },
      422,
      'freezes.0.to is "2026-12-24T11:00:00Z", which is not after',
    ],
    ['from is to', { from: '2026-12-24T12:00:00Z', to: '2026-12-24T12:00:00Z' }, 422, 'which is not after'],
    ['no time', { from: '2026-13-45T12:00:00Z', to: '2026-12-24T12:00:00Z' }, 422, 'want a time such as'],
    ['over midnight', { weekly: { days: [5], from: '22:00', to: '06:00' } }, 422, 'which is not after "22:00"'],
    ['25 o’clock', { weekly: { days: [5], from: '10:00', to: '25:00' } }, 422, 'to is "25:00"; want a time of the day'],
    [
      'an eighth day',
      { weekly: { days: [7], from: '10:00', to: '11:00' } },
      422,
      'days is [7]; want some of 0 (Sunday) to 6',
    ],
    ['no day', { weekly: { days: [], from: '10:00', to: '11:00' } }, 422, 'want some of 0 (Sunday) to 6'],
    ['neither', {}, 400, 'the body'],
  ])('a freeze that makes no sense is refused: %s', async (_, freeze, status, found) => {
    const answer = await put(await config(), { freezes: [{ reason: 'holidays', ...freeze }] })
    expect([answer.status, answer.json().detail]).toEqual([status, expect.stringContaining(found)])
  })

  test('a strategy that makes no sense is refused when it is made the default, and so is instant', async () => {
    const name = await config()
    expect((await put(name, { strategy: { kind: 'staged', steps: [{ percent: 101 }] } })).status).toBe(422)
    expect((await put(name, { strategy: { kind: 'instant' } })).status).toBe(422)
    expect((await put(name, { strategy: { kind: 'staged', gates: [{ kind: 'nonsense' }] } })).status).toBe(422)
    expect((await put(name, {})).status).toBe(400)
  })

  test('frozen: a publish is refused with why and until when, drafts are made, a rollout is held and goes on by itself', async () => {
    const name = await fleet()
    await publish(name, { limit: 2 }, { strategy: { ...staged, bakeMs: 3_000 } })
    await until(name, 2, 'baking')
    const to = new Date(clockMs + 3_600_000).toISOString()
    const freezes = [{ from: new Date(clockMs - 1000).toISOString(), to, reason: 'holidays' }]
    const frozen = (await put(name, { freezes })).json()
    expect(frozen.frozen).toEqual({ reason: 'holidays', endsAt: to })
    const held = await vi.waitFor(async () => {
      const found = (await here.ask(at(name, '/rollouts/2'))).json()
      expect(found.pauses).toEqual([{ reason: 'freeze: holidays', by: 'midflight' }])
      return found
    }, 10_000)
    expect(held.phase).toBe('baking')
    const refused = await publish(name, { limit: 3 })
    expect([refused.status, refused.json().code]).toEqual([409, 'frozen'])
    expect(refused.json().detail).toContain(`is frozen until ${to} (holidays)`)
    expect((await here.ask(at(name, '/drafts'), { method: 'POST', body: { content: { limit: 3 } } })).status).toBe(201)
    for (const what of ['promote', 'resume']) {
      expect((await control(name, '2', what, 'freeze: holidays')).json().code).toBe('frozen')
    }
    clockMs += 3_600_000
    await until(name, 2, 'completed')
    expect((await publish(name, { limit: 3 })).status).toBe(201)
  })

  test('frozen: what the glass is broken for goes out all the same, and so does the way back', async () => {
    const name = await fleet()
    const freezes = [{ weekly: { days: [0, 1, 2, 3, 4, 5, 6], from: '00:00', to: '24:00' }, reason: 'always' }]
    expect((await put(name, { freezes })).status).toBe(200)
    expect((await publish(name, { limit: 2 }, { strategy: staged })).status).toBe(409)
    expect((await publish(name, { limit: 2 }, { strategy: staged, breakGlass: 'fire' })).status).toBe(201)
    await until(name, 2, 'completed')
    const back = await here.ask(at(name, '/rollback'), { method: 'POST', body: { to: 1, strategy: staged } })
    expect([back.status, back.json().rollout]).toEqual([201, expect.objectContaining({ kind: 'staged' })])
    await until(name, 3, 'completed')
    expect((await publish(name, { bad: 1 }, { strategy: staged, breakGlass: 'fire' })).status).toBe(201)
    await until(name, 4, 'rolled-back')
    await vi.waitFor(async () => expect(await runs(name)).toEqual([5, 5, 5]), 20_000)
  })
})

describe('risk', () => {
  test('the plan says what is risked, whom it reaches and in which steps; by-risk follows it, and the outcome is kept beside the advice', async () => {
    const name = await fleet(4)
    const body = { mergePatch: { limit: 2 }, strategy: { kind: 'by-risk', bakeMs: 50 } }
    const plan = (await here.ask(at(name, '/plan'), { method: 'POST', body })).json()
    expect(plan).toMatchObject({
      risk: { score: expect.any(Number), reasons: expect.any(Array), recommended: { why: expect.any(String) } },
      fleet: { present: 4, reach: { nodes: 4 } },
      rollout: { from: 'request', frozen: null, waitsFor: null },
    })
    const nodes = (plan.rollout.steps as { nodes: number }[]).reduce((sum, step) => sum + step.nodes, 0)
    expect([nodes, plan.rollout.kind]).toEqual([4, plan.risk.recommended.strategy])
    const answer = (await publish(name, { limit: 2 }, { strategy: { kind: 'by-risk', bakeMs: 50 } })).json()
    expect(answer.rollout.advice).toMatchObject({ score: plan.risk.score, level: plan.risk.level })
    await until(name, 2, 'completed')
    const other = (await publish(name, { bad: 1 }, { strategy: 'all-at-once' })).json()
    expect(other.rollout).toMatchObject({ kind: 'all-at-once', advice: { factors: expect.any(Object) } })
    await until(name, 3, 'rolled-back')
    const report = (await here.ask(at(name, '/risk-report'))).json()
    expect(report.report).toMatchObject({ releases: 2, bad: 1, pending: 0 })
    expect(report.records).toMatchObject([
      { number: 3, outcome: 'rolled-back' },
      { number: 2, outcome: 'completed' },
    ])
  })
})
