/** The values of a Secret are read, and are in nothing that is shown or kept. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { jsonSchema, start, type Source } from '../src/index.ts'
import { file } from '../src/sources/file.ts'
import { kubernetes } from '../src/sources/kubernetes.ts'
import { KubernetesPeer } from './kubernetes-peer.ts'
import { quick } from './source-peer-rig.ts'

const soon = () => AbortSignal.timeout(10_000)
const usual = { namespace: 'shop', ...quick, watchMs: 60_000, paceMs: 10 } as const
const base64 = (text: string) => Buffer.from(text).toString('base64')
const schema = jsonSchema({ type: 'object' })

async function secretWith(values: Record<string, string>) {
  const peer = await KubernetesPeer.listen()
  const put = (now: Record<string, string>) =>
    peer.apply('Secret', 'db', {
      data: Object.fromEntries(Object.entries(now).map(([key, value]) => [key, base64(value)])),
    })
  put(values)
  const folder = mkdtempSync(join(tmpdir(), 'midflight-secret-'))
  onTestFinished(async () => {
    await peer.web.close()
    rmSync(folder, { recursive: true })
  })
  const open = (key?: string) =>
    kubernetes({ url: peer.url, secret: 'db', ...usual, ...(key !== undefined && { key }) })
  return { peer, put, folder, open }
}

async function started(sources: readonly Source[], stateDir?: string) {
  const said: string[] = []
  const say = (message: string) => void said.push(message)
  const engine = await start({
    schema,
    sources,
    logger: { info: say, warn: say, error: say },
    retries: { limit: 1, firstMs: 10, maxMs: 50 },
    ...(stateDir !== undefined && { stateDir }),
  })
  onTestFinished(() => engine.close())
  return { engine, said }
}

test('each value is marked, also those that are no text, and in a document in one key', async () => {
  const { open, put } = await secretWith({ user: 'gateway', pin: '1234' })
  const all = open()
  expect(await all.load(soon())).toMatchObject({
    config: { user: 'gateway', pin: 1234 },
    secrets: [
      { path: ['pin'], reference: '${kubernetes:secret/db#/pin}' },
      { path: ['user'], reference: '${kubernetes:secret/db#/user}' },
    ],
  })
  const before = await all.load(soon())
  expect(await all.load(soon())).toBe(before)
  await all.close()
  put({ 'db.yaml': 'hosts: [{ password: hunter2 }]' })
  const one = open('db.yaml')
  expect((await one.load(soon())).secrets).toEqual([
    { path: ['hosts', 0, 'password'], reference: '${kubernetes:secret/db/db.yaml#/hosts/0/password}' },
  ])
  await one.close()
})

test('no value is in an outcome, an event, a log, an error or on disk', async () => {
  const { open, put, folder } = await secretWith({ 'db.yaml': 'password: hunter2-first' })
  writeFileSync(join(folder, 'app.yaml'), 'name: gateway\n')
  const { engine, said } = await started([file(join(folder, 'app.yaml')), open('db.yaml')], join(folder, 'state'))
  expect(engine.live).toEqual({ name: 'gateway', password: 'hunter2-first' })
  put({ 'db.yaml': 'password: hunter2-second' })
  await expect.poll(() => JSON.stringify(engine.live)).toContain('hunter2-second')
  // Does not parse, and the parser would quote it.
  for (const text of [
    'password: !!int hunter2-third',
    'password: "hunter2-third\\q"',
    'hunter2-third: [',
    '\u0000hunter2',
  ]) {
    put({ 'db.yaml': text })
    expect((await engine.reload()).kind, text).toBe('rejected')
  }
  const shown = JSON.stringify([engine.events.recent(), engine.status(), said])
  const kept = readdirSync(join(folder, 'state')).map((name) => readFileSync(join(folder, 'state', name), 'utf8'))
  expect(shown).toContain('what was found is secret, and is not shown')
  expect(shown).not.toContain('hunter2')
  expect(kept.join()).toContain('${kubernetes:secret/db/db.yaml#/password}')
  expect(kept.join()).not.toContain('hunter2')
})

test('a start from the last good reads the values anew, as they are, beside a source with secrets of its own', async () => {
  const { open, folder } = await secretWith({ pin: '1234', user: 'gateway' })
  const app = join(folder, 'app.yaml')
  writeFileSync(join(folder, 'key'), 'from a file')
  writeFileSync(app, `name: gateway\nkey: \${file:${join(folder, 'key')}}\n`)
  const first = await started([file(app), open()], join(folder, 'state'))
  await first.engine.close()
  writeFileSync(app, 'name: [')
  const { engine } = await started([file(app), open()], join(folder, 'state'))
  expect(engine.status().startedFrom).toBe('last-good')
  expect(engine.live).toEqual({ name: 'gateway', key: 'from a file', pin: 1234, user: 'gateway' })
})

test('a reference is resolved also where no load came to its end, and only if it is of this Secret', async () => {
  const { open } = await secretWith({ pin: '1234' })
  const source = open()
  expect(await source.resolve?.('${kubernetes:secret/db#/pin}', soon())).toBe(1234)
  expect(source.following().state).toBe('idle')
  await expect(source.resolve?.('${kubernetes:secret/db#/gone}', soon())).rejects.toThrow('is not there any more')
  for (const other of ['${file:/run/secrets/pin}', '${kubernetes:secret/other#/pin}', '${PIN}']) {
    await expect(source.resolve?.(other, soon())).rejects.toThrow('is no reference of kubernetes:secret/db')
  }
  await source.close()
})

test('with the server away there is no start from the last good: its values are nowhere else', async () => {
  const { open, peer, folder } = await secretWith({ pin: '1234' })
  const first = await started([open()], join(folder, 'state'))
  await first.engine.close()
  await peer.web.stop()
  await expect(started([open()], join(folder, 'state'))).rejects.toThrow('the last good configuration cannot be used')
  await peer.web.start()
})
