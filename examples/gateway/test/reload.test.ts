/** What the gateway refuses, and that it serves on: restart-only paths, bad files, logs that cannot be opened, secrets. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { startGateway } from '../src/gateway.ts'
import { config, running, upstream } from './running.ts'

const base = async () => config(await upstream())

describe('restart-only paths', () => {
  test('another port is refused, with the path, and nothing else of that reload is applied', async () => {
    const given = await base()
    const { edit, get } = await running(given)
    given.server.port = 8099
    given.rules[0]!.limit = 5
    expect(await edit(given)).toMatchObject({ kind: 'restart-required', paths: ['server.port'] })
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('1000')
  })

  test('K3: a plug-in cannot be turned off, and stays on', async () => {
    const given = await base()
    given.plugins['response-header'] = { enabled: true, header: 'x-served-by', value: 'one' }
    const { edit, get, engine } = await running(given)
    given.plugins['response-header'] = { enabled: false, header: 'x-served-by', value: 'one' }
    expect(await edit(given)).toMatchObject({
      kind: 'restart-required',
      paths: ['plugins.response-header.enabled'],
    })
    expect((await get('/api/users')).headers.get('x-served-by')).toBe('one')
    const events = engine.events.recent()
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'reload', outcome: expect.objectContaining({ kind: 'restart-required' }) }),
    )
  })

  test('what needs a restart is known beforehand', async () => {
    const { engine } = await running(await base())
    const partial = engine.support().filter((component) => component.hot !== 'full')
    expect(partial.map(({ component, hot }) => [component, hot])).toEqual([
      ['plugins', 'partial'],
      ['server', 'none'],
    ])
  })

  test('a forced reload prepares everything again and keeps the socket', async () => {
    const { engine, statuses } = await running(await base())
    expect(await engine.reload({ force: true })).toMatchObject({ kind: 'committed' })
    expect(await engine.reload({ force: true })).toMatchObject({ kind: 'committed' })
    expect(await statuses('/api/users', 2)).toEqual([200, 200])
  })
})

describe('a bad file leaves the gateway serving', () => {
  test.each([
    ['empty', ''],
    ['cut off', '{"server": {"port": 0}, "upstr'],
    ['another shape', '[]'],
    ['without routes', '{"server": {"port": 0}, "upstreams": {}}'],
  ])('%s', async (_, text) => {
    const given = await base()
    const { save, edit, statuses } = await running(given)
    expect(await save(text)).toMatchObject({ kind: 'rejected' })
    expect(await statuses('/api/users', 1)).toEqual([200])
    given.rules[0]!.limit = 5
    expect(await edit(given)).toMatchObject({ kind: 'committed' })
  })

  test('a route to an upstream that does not exist is refused, with both names', async () => {
    const given = await base()
    const { edit, statuses } = await running(given)
    given.routes.push({ path: '/api/orders', upstream: 'orders' })
    expect(await edit(given)).toMatchObject({
      kind: 'rejected',
      phase: 'check',
      issues: [
        {
          path: ['routes', '/api/orders', 'upstream'],
          message: 'is "orders"; want one of the upstreams (users)',
          origin: { line: 1 },
        },
      ],
    })
    given.upstreams = {}
    expect(await edit(given)).toMatchObject({ kind: 'rejected', phase: 'check' })
    expect(await statuses('/api/users', 1)).toEqual([200])
  })

  test('a plug-in that nobody knows is refused', async () => {
    const given = await base()
    const { edit } = await running(given)
    given.plugins['compress'] = { enabled: true }
    expect(await edit(given)).toMatchObject({ kind: 'rejected', issues: [{ path: ['plugins', 'compress'] }] })
  })

  test('it starts from the last good configuration when the file is bad, and says so', async () => {
    const given = await base()
    const { gateway, dir } = await running(given)
    await gateway.close()
    await writeFile(join(dir, 'gateway.json'), '{')
    const again = await startGateway({
      configFile: join(dir, 'gateway.json'),
      stateDir: join(dir, 'state'),
      adminPort: 0,
    })
    expect(again.engine.status().startedFrom).toBe('last-good')
    expect((await fetch(`${again.address}/api/users`)).status).toBe(200)
    await again.close()
  })

  test('a port that is taken fails the start, and leaves nothing open', async () => {
    const given = await base()
    const { address, dir } = await running(given)
    given.server.port = Number(new URL(address).port)
    const configFile = join(dir, 'second.json')
    await writeFile(configFile, JSON.stringify(given))
    const second = startGateway({ configFile, stateDir: join(dir, 'second'), adminPort: 0 })
    await expect(second).rejects.toThrow('EADDRINUSE')
  })
})

describe('the log', () => {
  test('K1: level, format and destination change, and nothing else', async () => {
    const given = await base()
    given.log.format = 'text'
    const { edit, statuses, logged, engine } = await running(given)
    await statuses('/api/users', 1)
    await expect.poll(() => logged()).toContain('INFO GET /api/users status=200')

    given.log.level = 'warn'
    expect(await edit(given)).toMatchObject({ kind: 'committed', retries: 0, plan: { changeCount: 1 } })
    const length = (await logged()).length
    await statuses('/api/users', 1)

    given.log = { level: 'info', format: 'json', destination: 'second.log' }
    expect(await edit(given)).toMatchObject({ kind: 'committed', plan: { changeCount: 3 } })
    // the first log was flushed and closed by now: the request at level warn left nothing in it
    expect((await logged()).length).toBe(length)
    await statuses('/api/users', 1)
    await expect.poll(() => logged('second.log')).toContain('"msg":"GET /api/users"')
    expect(engine.live.log.destination).toBe('second.log')
  })

  test('K4: a level that does not exist is refused at once', async () => {
    const given = await base()
    const { edit } = await running(given)
    given.log.level = 'invalid_level'
    expect(await edit(given)).toMatchObject({ kind: 'rejected', phase: 'validate', retries: 0 })
  })

  test('a destination that cannot be opened takes everything back', async () => {
    const given = await base()
    const { edit, statuses, get, logged, engine } = await running(given)
    const bad = structuredClone(given)
    bad.log.destination = 'no/such/directory/gateway.log'
    bad.rules[0]!.limit = 5
    bad.upstreams['more'] = { url: 'http://127.0.0.1:9' }
    const outcome = await edit(bad)
    expect(outcome).toMatchObject({ kind: 'rolled-back', failed: 'log', phase: 'prepare' })
    expect(outcome.kind === 'rolled-back' && outcome.cause).toContain('ENOENT')
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('1000')
    expect(engine.live).toMatchObject({ upstreams: { users: {} }, log: { destination: 'gateway.log' } })
    await statuses('/api/users', 1)
    await expect.poll(() => logged()).toContain('rolled back')
  })
})

test('a secret is nowhere but in the request to its upstream', async () => {
  const canary = 'Bearer canary-6f1d'
  const later = 'Bearer canary-9c2e'
  const given = await base()
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: canary }
  const { edit, adminAddress, engine, dir, get, statuses } = await running(given)
  expect(await (await get('/api/users')).text()).toContain(canary)

  const plan = fetch(`${adminAddress}/-/plan`, { method: 'POST' })
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: later }
  const outcomes = [await edit(given)]
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: 17 }
  outcomes.push(await edit(given))
  given.upstreams['users'] = { ...given.upstreams['users'], authorization: canary, url: canary }
  outcomes.push(await edit(given))
  expect(outcomes.map(({ kind }) => kind)).toEqual(['committed', 'rejected', 'rejected'])
  await statuses('/api/users', 1)

  const shown = [JSON.stringify(outcomes), JSON.stringify(engine.status()), JSON.stringify(engine.events.recent())]
  shown.push(await (await plan).text())
  for (const path of ['/status', '/config', '/events', '/metrics']) {
    for (const accept of ['text/plain', 'application/json']) {
      shown.push(await (await fetch(`${adminAddress}${path}`, { headers: { accept } })).text())
    }
  }
  for (const name of ['gateway.log', 'state/events.jsonl']) shown.push(await readFile(join(dir, name), 'utf8'))
  for (const text of shown) expect(text).not.toContain('canary-')
  expect(shown.join('\n')).toContain('‹secret›')
  expect(await readdir(dir)).toContain('gateway.log')
})

test('a reload over HTTP answers with the outcome, and SIGHUP asks for one', async () => {
  const given = await base()
  const { adminAddress, engine } = await running(given)
  const response = await fetch(`${adminAddress}/-/reload`, { method: 'POST' })
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('unchanged')])
  const runs = engine.status().stats.runs
  process.kill(process.pid, 'SIGHUP')
  await expect.poll(() => engine.status().stats.runs).toBe(runs + 1)
  expect(engine.status().lastOutcome?.triggers).toEqual(['signal'])
})
