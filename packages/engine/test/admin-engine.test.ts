import { once } from 'node:events'
/** The doors on a real engine: what users see from the outside. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { jsonSchema, start } from '../src/index.ts'
import { file } from '../src/sources/file.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { adminHttp } from '../src/triggers/admin-http.ts'
import { closers } from './hand-made-lifecycle.ts'
import { wire } from '../../../test/rig/wire.ts'
import { ask } from './http-by-hand.ts'

const opened = closers()
afterEach(() => opened.close())

interface Gateway {
  server: { port: number }
  db: { password: string }
}
const schema = jsonSchema<Gateway>({
  type: 'object',
  required: ['server'],
  additionalProperties: false,
  properties: {
    server: { type: 'object', properties: { port: { type: 'integer', minimum: 1, maximum: 65535 } } },
    db: { type: 'object', properties: { password: { type: 'string' } } },
  },
})

const secret = 'hunter2-very-secret'
const good = `server:\n  port: 8080\ndb:\n  password: ${secret}\n`
const json = { accept: 'application/json' }

async function gateway() {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-doors-'))
  opened.later(() => rm(folder, { recursive: true }))
  const path = join(folder, 'gateway.yaml')
  await writeFile(path, good)
  const source = file('gateway.yaml', { cwd: folder })
  const server = scripted('server')
  const engine = await start({
    schema,
    // Only what is asked for here reloads: no watcher.
    sources: [{ name: source.name, load: (signal) => source.load(signal) }],
    components: [server],
    endpoints: [adminHttp({ port: 0, socket: join(folder, 'admin.sock'), lifecycle: true })],
    secrets: ['db.password'],
    logger: false,
  })
  opened.later(() => engine.close())
  const url = (engine.addresses['admin HTTP'] ?? '').split(', ')[0] ?? ''
  return { engine, server, url, socket: join(folder, 'admin.sock'), write: (text: string) => writeFile(path, text) }
}

test('reload, plan and status by HTTP and by unix socket tell what happened', async () => {
  const { engine, server, url, socket, write } = await gateway()
  expect((await ask(url, '/-/reload', { method: 'POST' })).text).toBe(
    'unchanged: the configuration is the one that is live\n',
  )

  await write(good.replace('8080', '8081'))
  const plan = await ask(url, '/-/reload?dryRun', { method: 'POST', headers: json })
  expect(plan.json()).toMatchObject({ kind: 'ready', plan: { changeCount: 1 } })
  expect(engine.live.server.port).toBe(8080)

  const reload = await ask(socket, '/-/reload', { method: 'PUT' })
  expect([reload.status, reload.text]).toEqual([
    200,
    'committed: 1 change in 1 component\n  server: hot\n    ~ server.port: 8080 → 8081\n',
  ])
  expect(server.live).toEqual({ port: 8081 })

  await write(good.replace('8080', '"80a"'))
  const refused = await ask(url, '/-/reload', { method: 'POST' })
  expect(refused.status).toBe(500)
  expect(refused.text).toMatch(
    /^failed to reload config: rejected in validate, the live configuration stays: 1 issue\n {2}gateway\.yaml:2:9 server\.port /,
  )
  expect(server.live).toEqual({ port: 8081 })
  expect((await ask(url, '/-/healthy')).status).toBe(200)
  const status = (await ask(url, '/status', { headers: json })).json()
  expect(status).toMatchObject({ state: 'running', healthy: true, lastOutcome: { kind: 'rejected' } })
  expect((await ask(url, '/status')).text).toContain('last:       rejected in validate')
})

test('a component that cannot be rolled back makes healthy 503, and the next good reload makes it 200', async () => {
  const { server, url, write } = await gateway()
  await write(good.replace('8080', '8081'))
  const fail = () => {
    throw new Error('address in use')
  }
  server.on = { commit: fail, rollback: fail }
  const degraded = await ask(url, '/-/reload', { method: 'POST' })
  expect([degraded.status, degraded.text]).toEqual([
    500,
    expect.stringContaining('failed to reload config: DEGRADED: server failed'),
  ])
  expect((await ask(url, '/-/healthy')).status).toBe(503)
  expect((await ask(url, '/-/ready')).status).toBe(200)
  server.on = {}
  expect((await ask(url, '/-/reload?force', { method: 'POST' })).status).toBe(200)
  expect((await ask(url, '/-/healthy')).status).toBe(200)
})

test('no answer shows a secret', async () => {
  const { url, write } = await gateway()
  const answers = [await ask(url, '/config')]
  expect(answers[0]?.json()).toEqual({ server: { port: 8080 }, db: { password: '‹secret›' } })
  await write(good.replace(secret, `${secret}-2`))
  for (const headers of [{}, json]) {
    answers.push(await ask(url, '/-/plan', { method: 'POST', headers }))
    answers.push(await ask(url, '/-/reload?force', { method: 'POST', headers }))
  }
  await write(good.replace(secret, `{ not: ${secret} }`))
  for (const headers of [{}, json]) answers.push(await ask(url, '/-/reload', { method: 'POST', headers }))
  for (const path of ['/status', '/config', '/events', '/metrics', '/nowhere']) {
    for (const headers of [{}, json]) answers.push(await ask(url, path, { headers }))
  }
  for (const { text } of answers) expect(text).not.toContain(secret)
})

test('an event stream shows a reload live, and metrics count it', async () => {
  const { url, write } = await gateway()
  const stream = wire(url, `GET /events HTTP/1.1\r\nHost: ${new URL(url).host}\r\nAccept: text/event-stream\r\n\r\n`)
  await stream.until(/retry/)
  await write(good.replace('8080', '8082'))
  await ask(url, '/-/reload', { method: 'POST' })
  await stream.until(/event: reload-began\n[^]*event: reload\ndata: .*"kind":"committed"/)
  stream.socket.destroy()
  const metrics = (await ask(url, '/metrics')).text
  expect(metrics).toContain('# TYPE midflight_reloads_total counter\n')
  expect(metrics).toMatch(/^midflight_reloads_total\{trigger="http",result="committed"\} 1$/m)
  expect(metrics).not.toContain('# EOF')
})

test('closing the engine answers a reload that waits, and closes the door', async () => {
  const { engine, server, url, write } = await gateway()
  await write(good.replace('8080', '8083'))
  let finish = () => {}
  const committing = new Promise<void>((resolve) => {
    server.on = {
      commit: () => {
        resolve()
        return new Promise((done) => (finish = done))
      },
    }
  })
  const running = ask(url, '/-/reload', { method: 'POST' })
  await committing
  const waiting = ask(url, '/-/reload', { method: 'POST' })
  await expect.poll(() => engine.status().pendingRequests).toBe(1)
  const closed = engine.close()
  finish()
  expect((await running).status).toBe(200)
  const late = await waiting
  expect([late.status, late.text]).toEqual([
    503,
    'failed to reload config: closed: the engine was closed before the reload could run\n',
  ])
  await closed
  await expect(ask(url, '/-/healthy')).rejects.toThrow('ECONNREFUSED')
})

test('an endpoint that cannot open fails the start, and what was opened is closed', async () => {
  const { url, engine } = await gateway()
  const port = Number(new URL(url).port)
  const before = scripted('server')
  const starting = start({
    schema,
    sources: [{ name: 'fixed', load: async () => ({ config: { server: { port: 1 } } }) }],
    components: [before],
    endpoints: [adminHttp({ port: 0 }), adminHttp({ port })],
    logger: false,
  })
  await expect(starting).rejects.toThrow(
    `cannot listen on 127.0.0.1:${port}: something else listens there already (EADDRINUSE)`,
  )
  expect(engine.status().state).toBe('running')
})

test('a connection that never said anything does not hold up the end', async () => {
  const source = memory({})
  const engine = await start({
    schema: jsonSchema(true),
    sources: [source],
    endpoints: [adminHttp({ port: 0 })],
    logger: false,
  })
  const { port } = new URL(engine.addresses['admin HTTP'] as string)
  const silent = connect(Number(port), '127.0.0.1')
  await once(silent, 'connect')
  await fetch(`http://127.0.0.1:${port}/-/healthy`).then((answer) => answer.text())
  const gone = once(silent, 'close')
  const from = performance.now()
  await engine.close()
  await gone
  expect(performance.now() - from).toBeLessThan(3_000)
})
