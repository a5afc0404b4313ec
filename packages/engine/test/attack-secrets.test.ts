import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { componentsFor, notifyWith, start, SourceError, type Json } from '../src/index.ts'
import { file } from '../src/sources/file.ts'
import { adminHttp } from '../src/triggers/admin-http.ts'
import { scripted } from '../src/testing/index.ts'
import { anything, started } from './engine-rig.ts'

const canary = 'c4nary/p&ss "wörd"'
/** However often it was escaped on the way, it begins like this. */
const forms = ['c4nary/p&ss', encodeURIComponent('c4nary/p&ss')]

/** Everything that an engine has said, as one text. */
function ears() {
  const heard: string[] = []
  const hear = (message: string) => void heard.push(message)
  return {
    heard,
    logger: { info: hear, warn: hear, error: hear },
    notify: [notifyWith((event) => void heard.push(JSON.stringify(event)))],
    leaks: () => heard.filter((text) => forms.some((form) => text.includes(form))),
  }
}

test('a secret that is also the key of an entry is in no path, plan, event, status or metric', async () => {
  const { keyed } = componentsFor(anything)
  const tokens = keyed({
    name: 'tokens',
    path: 'tokens' as never,
    key: 'token',
    restartFor: ['fixed'],
    validate: (_entry, id) => ((_entry as { bad?: boolean }).bad ? [`no ${id}`] : []),
    start(entry, id) {
      if ((entry as { fail?: boolean }).fail)
        throw new Error(`cannot start ${id} at https://x/?t=${encodeURIComponent(id)}`)
      return id
    },
    stop(_running, id) {
      throw new Error(`cannot stop ${id}`)
    },
  })
  const all = ears()
  const { engine, source, set } = await started([tokens], { tokens: [] }, { ...all, secrets: ['tokens.*.token'] })
  engine.watch('tokens' as never, () => {
    throw new Error(`listener saw ${canary}`)
  })
  const entry = (more: object = {}): Json => ({ tokens: [{ token: canary, ...more }] })
  const outcomes: unknown[] = []
  const look = async (next: Json) => {
    source.set(next)
    outcomes.push(
      await engine.plan(),
      await set(next),
      engine.status(),
      engine.metrics(),
      engine.stats(),
      engine.support(),
    )
  }
  await look(entry({ fail: true }))
  await look(entry({ bad: true }))
  await look(entry())
  await look(entry({ n: 1, fixed: 1 }))
  await look(entry({ n: 2 }))
  await look({ tokens: [{ token: canary }, { token: canary }] })
  await look({ tokens: [] })
  outcomes.push(engine.events.recent())
  await engine.close()
  all.heard.push(...outcomes.map((outcome) => JSON.stringify(outcome)))
  expect(all.leaks()).toEqual([])
})

test('a secret that is too short to be looked for in text is hidden by its place', async () => {
  const db = scripted('db')
  const all = ears()
  const { engine, source, set } = await started(
    [db],
    { db: { pin: 7, pass: 'ab' } },
    { ...all, secrets: ['db.pin', 'db.pass'] },
  )
  source.set({ db: { pin: 8, pass: 'cd' } })
  const mark = { before: '‹secret›', after: '‹secret›' }
  const plan = { components: [{ component: 'db', changes: [mark, mark] }] }
  expect(await engine.plan()).toMatchObject({ kind: 'ready', plan })
  expect(await set({ db: { pin: 8, pass: 'cd' } })).toMatchObject({ kind: 'committed', plan })
  await engine.close()
  expect(all.heard.filter((text) => /"(ab|cd)"/.test(text))).toEqual([])
})

test('a secret in what a source, a validator, a late component or close() says is not shown', async () => {
  const a = scripted('a', { deadlines: { prepareMs: 50, commitMs: 50, rollbackMs: 50 } })
  const all = ears()
  const schema = z.looseObject({ a: z.unknown() }).superRefine((value, context) => {
    if ((value as { odd?: unknown })['odd'])
      context.addIssue({ code: 'custom', message: `odd beside ${canary}`, path: ['odd'] })
  })
  let broken: Error | undefined
  let config: Json = { a: 1, db: { password: canary } }
  const engine = await start({
    schema,
    sources: [
      {
        name: 's',
        load: async () => {
          if (broken) throw broken
          return { config }
        },
      },
    ],
    components: [Object.assign(a, { close: () => Promise.reject(new Error(`bye ${canary}`)) })],
    secrets: ['db.password'],
    ...all,
  })
  const outcomes: unknown[] = []
  const reload = async () => outcomes.push(await engine.reload(), engine.status())
  broken = new Error(`connect postgres://u:${encodeURIComponent(canary)}@h`)
  await reload()
  broken = new SourceError([{ code: 'unreadable', path: ['db'], message: `said ${canary}`, hint: canary }])
  await reload()
  broken = undefined
  config = { a: 1, odd: true, db: { password: canary } }
  await reload()
  let reject = (_: Error) => {}
  a.on = { prepare: () => new Promise((_yes, no) => (reject = no)) }
  config = { a: 2, db: { password: canary } }
  await reload()
  reject(new Error(`late ${canary}`))
  await new Promise((resolve) => setImmediate(resolve))
  outcomes.push(engine.events.recent())
  await engine.close()
  all.heard.push(...outcomes.map((outcome) => JSON.stringify(outcome)))
  expect(all.leaks()).toEqual([])
})

test('a secret from a file is in nothing that is written to disk or served, whatever becomes of it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-attack-'))
  try {
    const [secret, main, stateDir] = [join(folder, 'pw'), join(folder, 'main.yaml'), join(folder, 'state')]
    await writeFile(secret, canary)
    const text = (more: string) => `db:\n  password: \${file:${secret}}\n  url: 'pg://u:\${file:${secret}}@h'\n${more}`
    await writeFile(main, text('n: 1\n'))
    const all = ears()
    const db = scripted('db')
    const engine = await start({
      schema: anything,
      sources: [file(main)],
      components: [db],
      endpoints: [adminHttp({ port: 0, lifecycle: true })],
      stateDir,
      ...all,
    })
    const url = engine.addresses['admin HTTP'] ?? ''
    const get = async (path: string, init: RequestInit = {}) => {
      const response = await fetch(`${url}${path}`, { headers: { accept: 'application/json' }, ...init })
      all.heard.push(await response.text())
    }
    const post = (path: string) => get(path, { method: 'POST' })
    db.on = {
      prepare: () => {
        throw new Error(`login ${encodeURIComponent(canary)}`)
      },
    }
    await writeFile(main, text('n: 2\ndb2: 3\n').replace('url:', 'address:'))
    await post('/-/plan')
    await post('/-/reload')
    db.on = {}
    await post('/-/reload')
    await writeFile(main, text('n: [\n'))
    await post('/-/reload')
    for (const path of ['/status', '/config', '/events', '/metrics']) await get(path)
    await engine.close()
    for (const name of await readdir(stateDir)) all.heard.push(await readFile(join(stateDir, name), 'utf8'))
    expect(all.leaks()).toEqual([])
  } finally {
    await rm(folder, { recursive: true })
  }
})
