import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { issueText, shown, type Issue } from '../src/issue.ts'
import { openJournal } from '../src/journal.ts'
import type { Json } from '../src/json.ts'
import { ReloadMetrics } from '../src/metrics.ts'
import { Notifier, notifyWith } from '../src/notify.ts'
import { redactor, secretMark, secretsIn } from '../src/redact.ts'
import { ReloadStats } from '../src/stats.ts'
import { webhook } from '../src/webhook.ts'
import { component, reloadEvent } from './outcomes.ts'

const canary = 'c4n4ry-hunter2'

describe('by place', () => {
  const config: Json = {
    db: { host: 'db.internal', password: canary },
    users: [
      { id: 'alice', password: canary, roles: ['admin'] },
      { id: 'bob', password: 'b' },
    ],
    plain: { password: 'not a secret here' },
  }

  test('a pattern hides the value and nothing else', () => {
    const { value } = redactor({ patterns: ['db.password', 'users.*.password'] })
    expect(value([], config)).toEqual({
      db: { host: 'db.internal', password: secretMark },
      users: [
        { id: 'alice', password: secretMark, roles: ['admin'] },
        { id: 'bob', password: secretMark },
      ],
      plain: { password: 'not a secret here' },
    })
    expect(JSON.stringify(config)).toContain(canary)
  })

  test('the root can be secret', () => {
    expect(redactor({ patterns: [''] }).value([], config)).toBe(secretMark)
    expect(redactor({ patterns: [''] }).value(['db'], 1)).toBe(secretMark)
  })

  test.each<[string, Json]>([
    ['a number', 1234],
    ['a small number', 7],
    ['a boolean', true],
    ['null', null],
    ['an empty string', ''],
    ['an object', { a: { b: canary } }],
    ['an array', [canary, [canary]]],
  ])('%s can be secret', (_, secret) => {
    const { value } = redactor({ patterns: ['a.b'] })
    expect(value(['a', 'b'], secret)).toBe(secretMark)
    expect(value([], { a: { b: secret, c: 1 } })).toEqual({ a: { b: secretMark, c: 1 } })
    expect(value(['a'], { b: secret })).toEqual({ b: secretMark })
  })

  test('what lies below a secret place is secret', () => {
    const { value } = redactor({ patterns: ['db'] })
    expect(value(['db', 'replicas', 3, 'password'], 'x')).toBe(secretMark)
  })

  test('in a keyed collection a pattern matches by the entry’s key, by its index, and in the tree', () => {
    const { value } = redactor({ patterns: ['users.alice.password'] })
    expect(value(['users', 'alice', 'password'], 'x')).toBe(secretMark)
    expect(value(['users', 0, 'password'], 'x')).toBe(secretMark)
    expect(value(['users', 'bob', 'password'], 'x')).toBe('x')
    expect(value([], config)).toMatchObject({ users: [{ password: secretMark }, { password: 'b' }] })
    expect(value(['users', 'alice'], (config as { users: Json[] }).users[0]!)).toMatchObject({ password: secretMark })
  })

  test('a place known by its index is secret by its key too; its neighbour by index is not', () => {
    const { value } = redactor({ patterns: [], secretPaths: [['users', 0, 'password']] })
    expect(value(['users', 0, 'password'], 'x')).toBe(secretMark)
    expect(value(['users', 'alice', 'password'], 'x')).toBe(secretMark)
    expect(value(['users', 1, 'password'], 'x')).toBe('x')
    expect(value([], config)).toMatchObject({ users: [{ password: secretMark }, { password: 'b' }] })
  })

  test('secrets inside arrays, and arrays inside arrays', () => {
    const { value } = redactor({ patterns: ['tokens.*', 'grid.*.1'] })
    const grid = [
      [1, 2],
      [3, 4],
    ]
    expect(value([], { tokens: ['a', 'b'], grid })).toEqual({
      tokens: [secretMark, secretMark],
      grid: [
        [1, secretMark],
        [3, secretMark],
      ],
    })
  })

  test('keys with dots, and keys that look like something else', () => {
    const { value } = redactor({ patterns: ['a["b.c"]', 'constructor.x', '__proto__.x'], secretPaths: [['*', 'k']] })
    const tree = { a: { 'b.c': 'x', b: 'y' }, z: { k: 1 }, '*': { k: 1 } }
    expect(value([], tree)).toEqual({ a: { 'b.c': secretMark, b: 'y' }, z: { k: 1 }, '*': { k: secretMark } })
  })

  test('a pattern that is not a path is refused at once', () => {
    expect(() => redactor({ patterns: ['users[*].password'] })).toThrow(SyntaxError)
  })

  test('without secrets inside, the very same object comes back', () => {
    const { value } = redactor({ patterns: ['users.*.password', 'x.y'], secretValues: ['not in there'] })
    const clean = { users: [{ id: 'a' }], deep: { list: [1, { a: null }] } }
    expect(value([], clean)).toBe(clean)
  })

  test('a large tree is not walked where no pattern leads', () => {
    let touched = 0
    const big = new Proxy({ a: 1 }, { ownKeys: (target) => (touched++, Reflect.ownKeys(target)) }) as Json
    const { value } = redactor({ patterns: ['db.password'] })
    expect(value([], { big, db: { password: 'x' } })).toMatchObject({ db: { password: secretMark } })
    touched = 0
    value([], { big, db: { password: 'x' } })
    expect(redactor({ patterns: [] }).value([], big)).toBe(big)
    secretsIn({ big, db: { password: 'x' } }, { patterns: ['db.password'] })
    expect(touched).toBe(0)
  })
})

describe('by value', () => {
  test('a secret inside a longer string, and one that stands somewhere else too', () => {
    const { value } = redactor({ patterns: [], secretValues: [canary] })
    expect(value([], { url: `postgres://app:${canary}@db/x`, list: [[canary]], n: 1 })).toEqual({
      url: `postgres://app:${secretMark}@db/x`,
      list: [[secretMark]],
      n: 1,
    })
  })

  test.each([
    ['as it is', (s: string) => s],
    ['JSON-escaped', (s: string) => JSON.stringify({ s })],
    ['JSON in JSON', (s: string) => JSON.stringify(JSON.stringify([s]))],
    [
      'JSON in ASCII',
      (s: string) =>
        JSON.stringify(s).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`),
    ],
    ['URL-encoded', (s: string) => encodeURIComponent(s)],
    ['URL-encoded in lower case', (s: string) => encodeURIComponent(s).replace(/%../g, (c) => c.toLowerCase())],
    ['in a query', (s: string) => new URLSearchParams({ s }).toString()],
    ['twice', (s: string) => `${s}${s}, ${s}`],
  ])('%s, it is taken out of text', (_, encode) => {
    for (const secret of [canary, 'p"w\\1\n2', 'pä ss/w+rd&=?', '日本語の鍵', "it's (a) secret!*"]) {
      const { text } = redactor({ patterns: [], secretValues: [secret] })
      const message = text(`before ${encode(secret)} after`)
      expect(message).not.toContain(secret)
      expect(message).not.toContain(encode(secret))
      expect(message).toMatch(/^before .*‹secret›.* after$/s)
    }
  })

  test('a long secret is found where a message was cut short', () => {
    const key = 'k3y-'.repeat(50)
    const { text } = redactor({ patterns: [], secretValues: [key] })
    expect(text(`is ${shown(key)}; want a number`)).toBe(`is "${secretMark}…; want a number`)
  })

  test('a private key is found line by line, and without its last newline', () => {
    const pem =
      '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\nVpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g=\n-----END PRIVATE KEY-----\n'
    const { text } = redactor({ patterns: [], secretValues: [pem] })
    expect(text('bad line: VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g=')).toBe(`bad line: ${secretMark}`)
    expect(text(`[${pem.trimEnd()}]`)).toBe(`[${secretMark}]`)
  })

  test('a secret that begins like another, or holds it, leaves nothing behind', () => {
    const { text } = redactor({ patterns: [], secretValues: ['abcd', 'abcdef', 'xxabcdefxx'] })
    expect(text('abcdef abcd xxabcdefxx xxabcdef')).toBe(`${secretMark} ${secretMark} ${secretMark} xx${secretMark}`)
  })

  test('what is masked stays as it is, even if the secret is the word "secret"', () => {
    for (const secretValues of [['secret'], ['secret', secretMark]]) {
      const { text } = redactor({ patterns: [], secretValues })
      expect(text(text('a secret'))).toBe(`a ${secretMark}`)
    }
  })

  test('under four characters a value is not looked for', () => {
    expect(redactor({ patterns: [], secretValues: ['abc', ''] }).text('abc')).toBe('abc')
  })

  test('no text keeps a known secret, whatever both are', () => {
    const secretList = fc.array(fc.string({ minLength: 4, unit: 'binary' }), { minLength: 1 })
    fc.assert(
      fc.property(secretList, fc.array(fc.string({ unit: 'binary' })), (secrets, texts) => {
        const { text } = redactor({ patterns: [], secretValues: secrets })
        const between = secrets.flatMap((secret, i) => [texts[i] ?? '', secret]).join('')
        const rest = text(between).split(secretMark)
        for (const part of rest) for (const secret of secrets) expect(part.includes(secret)).toBe(false)
      }),
    )
  })

  test('secretsIn collects strings and numbers, not the words true and null', () => {
    const config: Json = { a: { b: [canary, 12345, true, null], c: 'open' }, d: 'ref' }
    expect(secretsIn(config, { patterns: ['a.b'], secretPaths: [['d']] })).toEqual([canary, '12345', 'ref'])
    const { value, text } = redactor({ patterns: [], secretValues: ['12345'] })
    expect(value(['x'], { pin: 12345 })).toEqual({ pin: secretMark })
    expect(text('pin 12345')).toBe(`pin ${secretMark}`)
  })

  test('fifty thousand secrets are looked for in one pass', () => {
    const secretValues = Array.from({ length: 50_000 }, (_, i) => `s3cr3t-${i}-value`)
    const { text } = redactor({ patterns: [], secretValues })
    const message = text(`a s3cr3t-49999-value b ${'nothing here '.repeat(10_000)}`)
    expect(message.startsWith(`a ${secretMark} b nothing`)).toBe(true)
  })
})

describe('issues', () => {
  const issue = (path: Issue['path'], message: string, more: Partial<Issue> = {}): Issue => ({
    code: 'schema',
    path,
    message,
    ...more,
  })
  const { issue: clean } = redactor({ patterns: ['db.password', 'users.*.token'], secretValues: [canary] })

  test('at a secret place what was found goes, and what was wanted stays', () => {
    const short = clean(issue(['db', 'password'], 'is "ab"; want at least 12 characters'))
    expect(short.message).toBe(`is ${secretMark}; want at least 12 characters`)
    const wrong = clean(issue(['users', 'a', 'token'], 'is 12; want a string'))
    expect(wrong.message).toBe(`is ${secretMark}; want a string`)
  })

  test('a message in other words loses everything that could be the value', () => {
    const other = clean(issue(['db', 'password'], `the value "ab", 'cd' or \`ef\` is too short: 2 of 12`))
    expect(other.message).not.toMatch(/ab|cd|ef/)
  })

  test('above a secret place a container or text that was found goes', () => {
    const container = clean(issue(['db'], 'is {"password":"unknown yet","host":1}; want an array'))
    expect(container.message).toBe(`is ${secretMark}; want an array`)
    const text = clean(issue(['db'], 'is "postgres://u:pw; want@db"; want an object'))
    expect(text.message).toBe(`is ${secretMark}; want an object`)
  })

  test('elsewhere only the known values go, from the message, the hint and the path', () => {
    const hint = `did you mean ${canary}x?`
    const origin = { file: 'a.yaml', line: 1 }
    expect(clean(issue(['log', canary, 3], `is "${canary}"; want a level`, { hint, origin }))).toEqual({
      code: 'schema',
      path: ['log', secretMark, 3],
      message: `is "${secretMark}"; want a level`,
      hint: `did you mean ${secretMark}x?`,
      origin,
    })
  })
})

test('a canary is in no output: record, file, listeners, stats, metrics, functions, webhooks, warnings', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-redact-'))
  const outputs: string[] = []
  const keep = (what: unknown): void => void outputs.push(typeof what === 'string' ? what : JSON.stringify(what))
  const server = createServer((request, response) => {
    keep(request.headers)
    request.on('data', (chunk: Buffer) => keep(chunk.toString()))
    response.end(canary)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  try {
    const config: Json = {
      db: { password: canary },
      url: `x://u:${canary}@h`,
      users: [{ id: 'a', token: canary }],
    }
    const patterns = ['db.password', 'users.*.token']
    const { value, text, issue } = redactor({ patterns, secretValues: secretsIn(config, { patterns }) })
    const change = {
      kind: 'changed',
      path: 'users.a.token',
      before: value(['users', 'a', 'token'], canary),
      after: value(['users', 0, 'token'], canary),
    } as const
    const plan = {
      components: [{ component: 'db', action: 'hot', changes: [change], moreChanges: 0, restartPaths: [] }],
      unread: [{ kind: 'added', path: '', after: value([], config) }],
      changeCount: 2,
    }
    const cause = text(`connect postgres://u:${encodeURIComponent(canary)}@h failed: ${JSON.stringify(config)}`)
    const components = [{ ...component('db', 'failed', { commit: 1 }), error: cause }]
    const { outcome: rolledBack } = reloadEvent('rolled-back', { cause, plan, components })
    const found = issue({ code: 'schema', path: ['db', 'password'], message: `is "${canary}"; want 40 characters` })
    const { outcome: rejected } = reloadEvent('rejected', { issues: [found] })

    const journal = await openJournal({ file: join(folder, 'events.jsonl'), onWarning: keep })
    journal.subscribe(keep)
    const hooks = [
      webhook({ url: `http://${host}/${canary}?k=${canary}`, allowHosts: [host] }),
      webhook({ url: `http://127.0.0.1:1/${canary}`, allowHosts: ['127.0.0.1'] }),
    ]
    const notifier = new Notifier([notifyWith(keep), ...hooks], keep, {
      deadlineMs: 1000,
      backOffMs: 10,
      maxBackOffMs: 20,
    })
    const stats = new ReloadStats()
    const metrics = new ReloadMetrics()
    for (const outcome of [rolledBack, rejected]) {
      stats.record(outcome)
      metrics.record(outcome)
      const event = journal.append({ kind: 'reload', outcome })
      if (event.kind === 'reload') notifier.reload(event)
    }
    await notifier.close(10_000)
    await journal.close()
    keep(journal.recent())
    keep(stats.snapshot())
    keep(metrics.text({ pending: 0, liveDigest: '', committedAt: new Date(), healthy: true, pendingRestart: 0 }))
    keep(await readFile(join(folder, 'events.jsonl'), 'utf8'))
    keep(issueText(found))
    // One request for each event, and a warning for each that could not be sent.
    expect(outputs.filter((output) => output.includes('"user-agent"'))).toHaveLength(2)
    expect(outputs.filter((output) => output.startsWith('notification'))).toHaveLength(2)
    expect(outputs.filter((output) => output.includes(canary))).toEqual([])
    expect(outputs.filter((output) => output.includes(secretMark)).length).toBeGreaterThan(6)
  } finally {
    server.closeAllConnections()
    server.close()
    await rm(folder, { recursive: true, force: true })
  }
})
