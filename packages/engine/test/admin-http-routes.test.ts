import { afterEach, expect, test } from 'vitest'
import type { Outcome } from '../src/outcome.ts'
import { adminHttp, type AdminHttpOptions } from '../src/triggers/admin-http.ts'
import { closers, committed, handMade, rejected, unchanged } from './hand-made-lifecycle.ts'
import { ask } from './http-by-hand.ts'

const opened = closers()
afterEach(() => opened.close())

async function door(options: Partial<AdminHttpOptions> = { lifecycle: true }) {
  const engine = await handMade()
  const { address, close } = await adminHttp({ port: 0, ...options }).open(engine)
  opened.later(close)
  return { engine, url: address }
}

const json = { accept: 'application/json' }

test('P7: the lifecycle is off unless it is turned on: 403, and nothing is asked of the engine', async () => {
  const { engine, url } = await door({})
  for (const [method, path] of [
    ['POST', '/-/reload'],
    ['PUT', '/-/reload'],
    ['POST', '/-/plan'],
    ['POST', '/-/reload?dryRun'],
  ] as const) {
    const answer = await ask(url, path, { method })
    expect([answer.status, answer.text]).toEqual([403, 'Lifecycle API is not enabled.\n'])
  }
  expect((await ask(url, '/-/reload', { method: 'POST', headers: json })).json()).toMatchObject({
    code: 'lifecycle-disabled',
  })
  expect(engine.requests).toEqual([])
})

test('P7: GET on reload is 405 and says what is allowed', async () => {
  for (const lifecycle of [true, false]) {
    const { engine, url } = await door({ lifecycle })
    for (const method of ['GET', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
      const answer = await ask(url, '/-/reload', { method })
      expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, 'POST, PUT'])
    }
    expect(engine.requests).toEqual([])
  }
  const { url } = await door()
  expect((await ask(url, '/status', { method: 'POST' })).headers.allow).toBe('GET, HEAD')
})

test('the answer to a reload comes after its outcome, as text or as JSON', async () => {
  const { engine, url } = await door()
  let settle = (_: Outcome) => {}
  engine.outcome = new Promise((resolve) => (settle = resolve))
  let answered = false
  const asked = ask(url, '/-/reload', { method: 'POST' }).then((answer) => {
    answered = true
    return answer
  })
  while (engine.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
  await ask(url, '/status')
  expect(answered).toBe(false)
  settle(committed)
  const answer = await asked
  expect(answer.status).toBe(200)
  expect(answer.text).toBe('committed: 1 change\n  log: hot\n    ~ log.level: "info" → "debug"\n')
  expect(answer.headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })

  const inJson = await ask(url, '/-/reload?force', { method: 'PUT', headers: json })
  expect(inJson.json()).toEqual(committed)
  expect(engine.requests).toEqual([
    { trigger: 'http', force: false },
    { trigger: 'http', force: true },
  ])
})

test('a failed reload is 500 with the reason', async () => {
  const { engine, url } = await door()
  engine.outcome = rejected
  const answer = await ask(url, '/-/reload', { method: 'POST' })
  expect(answer.status).toBe(500)
  expect(answer.text).toBe(
    'failed to reload config: rejected in validate, the live configuration stays: 1 issue\n' +
      '  gateway.yaml:12:9 server.port is "80a"; want an integer from 1 to 65535\n',
  )
  const problem = await ask(url, '/-/reload', { method: 'POST', headers: json })
  expect(problem.status).toBe(500)
  expect(problem.headers['content-type']).toBe('application/problem+json')
  expect(problem.json()).toMatchObject({ status: 500, code: 'reload-failed', outcome: { kind: 'rejected' } })
  engine.reload = () => Promise.reject(new Error('a bug'))
  expect((await ask(url, '/-/reload', { method: 'POST' })).json()).toMatchObject({
    status: 500,
    code: 'internal',
    detail: 'a bug',
  })
})

test('a dry run plans and reloads nothing', async () => {
  const { engine, url } = await door()
  for (const path of ['/-/reload?dryRun', '/-/reload?dryRun=1', '/-/plan']) {
    const answer = await ask(url, path, { method: 'POST', headers: json })
    expect([answer.status, answer.json().kind]).toEqual([200, 'ready'])
  }
  engine.planOutcome = rejected as never
  expect((await ask(url, '/-/plan', { method: 'POST' })).text).toMatch(/^reload would fail: rejected in validate/)
  expect(engine.requests).toEqual([])
})

test('wait=0 answers 202 at once, with the place where the outcome will be', async () => {
  const { engine, url } = await door()
  let settle = (_: Outcome) => {}
  engine.outcome = new Promise((resolve) => (settle = resolve))
  const answer = await ask(url, '/-/reload?wait=0', { method: 'POST', headers: json })
  expect(answer.status).toBe(202)
  const location = answer.headers.location ?? ''
  expect(location).toBe(`/-/reload/${answer.json().id}`)
  const running = await ask(url, location, { headers: json })
  expect(running.json()).toMatchObject({ state: 'running' })
  expect(running.headers['retry-after']).toBe('1')
  settle(unchanged)
  expect((await ask(url, location, { headers: json })).json()).toMatchObject({
    state: 'done',
    outcome: { kind: 'unchanged' },
  })
  expect((await ask(url, location)).text).toBe('unchanged: the configuration is the one that is live\n')
  expect((await ask(url, '/-/reload/0000')).status).toBe(404)
})

test('reloads that nobody waits for are bounded: 503 while too many run, the oldest outcomes go', async () => {
  const { engine, url } = await door()
  let settle = (_: Outcome) => {}
  engine.outcome = new Promise((resolve) => (settle = resolve))
  const first = (await ask(url, '/-/reload?wait=0', { method: 'POST' })).headers.location ?? ''
  for (let i = 1; i < 100; i++) await ask(url, '/-/reload?wait=0', { method: 'POST' })
  const busy = await ask(url, '/-/reload?wait=0', { method: 'POST' })
  expect([busy.status, busy.json().code, busy.headers['retry-after']]).toEqual([503, 'busy', '1'])
  settle(unchanged)
  expect((await ask(url, first)).status).toBe(200)
  await ask(url, '/-/reload?wait=0', { method: 'POST' })
  expect((await ask(url, first)).status).toBe(404)
})

test('a mistyped parameter is refused instead of becoming a real reload', async () => {
  const { engine, url } = await door()
  for (const [query, says] of [
    ['dry-run', 'the query parameter "dry-run" is not known here; want ?dryRun, ?force, ?wait'],
    ['dryRun=maybe', 'dryRun is "maybe"; want 1, true, 0 or false'],
    ['dryRun=0&dryRun=1', 'the query parameter dryRun is given more than once'],
    ['dryRun&wait=0', 'dryRun and wait=0 do not go together: a plan is its answer'],
  ]) {
    const answer = await ask(url, `/-/reload?${query}`, { method: 'POST' })
    expect([answer.status, answer.json().detail]).toEqual([400, says])
  }
  expect((await ask(url, '/events?limit=0')).json().detail).toBe('limit is "0"; want an integer from 1 to 1000')
  expect((await ask(url, '/status?x')).json().detail).toMatch(/want none$/)
  expect(engine.requests).toEqual([])
})

test('healthy and ready follow the engine', async () => {
  const { engine, url } = await door({})
  expect((await ask(url, '/-/healthy')).status).toBe(200)
  expect((await ask(url, '/-/ready')).status).toBe(200)
  engine.with({ healthy: false })
  expect((await ask(url, '/-/healthy')).status).toBe(503)
  expect((await ask(url, '/-/ready')).status).toBe(200)
  engine.with({ state: 'closed' })
  expect((await ask(url, '/-/ready')).status).toBe(503)
})

test('status is text for people and JSON for programs, config is what the engine lets out', async () => {
  const { engine, url } = await door({})
  const text = await ask(url, '/status', { headers: { accept: '*/*' } })
  expect(text.headers['content-type']).toBe('text/plain; charset=utf-8')
  expect(text.text).toContain('live:       sha256:aa since 2026-11-20T10:00:00.000Z\n')
  expect((await ask(url, '/status', { headers: json })).json()).toEqual(engine.status())
  expect((await ask(url, '/config')).json()).toEqual({ log: { level: 'info' }, db: { password: '‹secret›' } })
  const head = await ask(url, '/status', { method: 'HEAD' })
  expect([head.status, head.text, head.headers['content-length']]).toEqual([
    200,
    '',
    String(Buffer.byteLength(text.text)),
  ])
})

test('metrics are OpenMetrics for those who ask for it, and the older format for all others', async () => {
  const { engine, url } = await door({})
  const open = await ask(url, '/metrics', {
    headers: { accept: 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5' },
  })
  expect(open.headers['content-type']).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
  expect(open.text).toBe(engine.metrics())
  for (const accept of [{}, { accept: '*/*' }, { accept: 'text/plain, application/openmetrics-text;q=0.3' }]) {
    const plain = await ask(url, '/metrics', { headers: accept as Record<string, string> })
    expect(plain.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(plain.text).toBe(
      '# TYPE midflight_reloads_total counter\n# HELP midflight_reloads_total Reloads by trigger and result.\n' +
        'midflight_reloads_total{trigger="http",result="committed"} 3\n' +
        '# TYPE midflight_config_hash gauge\nmidflight_config_hash 42\n',
    )
  }
})

test('recent events come as JSON, the newest, after an id, up to a limit', async () => {
  const { engine, url } = await door({})
  for (let i = 1; i <= 5; i++) engine.events.append({ kind: 'warning', about: 'test', message: `n${i}` })
  const ids = async (query: string) =>
    (await ask(url, `/events${query}`)).json().events.map((event: { id: number }) => event.id)
  expect(await ids('')).toEqual([1, 2, 3, 4, 5])
  expect(await ids('?limit=2')).toEqual([4, 5])
  expect(await ids('?after=3')).toEqual([4, 5])
  expect(await ids('?after=1&limit=2')).toEqual([4, 5])
  expect(await ids('?after=99')).toEqual([])
})

test('the front page lists what there is, anything else is 404', async () => {
  const { url } = await door({})
  expect((await ask(url, '/')).text).toContain('POST /-/reload')
  for (const path of ['/-/Reload', '/-/reload/', '//-/reload', '/constructor', '/__proto__', '/-/reload/../reload']) {
    const answer = await ask(url, path, { method: 'POST' })
    expect([path, answer.status, answer.headers['content-type']]).toEqual([path, 404, 'application/problem+json'])
  }
})
