import { chmod } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { file } from '../src/sources/file.ts'
import { load, refusal, tree } from './file-tree.ts'

describe('variables', () => {
  const variables = { HOST: 'example.org', PORT: '8080', EMPTY: '', YES: 'true', ZIP: '012', WORD: 'no' }

  test.each([
    ['"${HOST}"', 'example.org'],
    ['"http://${HOST}:${PORT}/"', 'http://example.org:8080/'],
    ['"${NONE:-fallback}"', 'fallback'],
    ['"${EMPTY:-fallback}"', 'fallback'],
    ['"${EMPTY}"', ''],
    ['"${NONE:-}"', ''],
    ['"${NONE:-${ALSO:-c}}"', 'c'],
    ['"${NONE:-${HOST}}:${PORT}"', 'example.org:8080'],
    ['"$${HOST}"', '${HOST}'],
    ['"5$ and $HOST and $"', '5$ and $HOST and $'],
    ['"$$$$"', '$$'],
    ['"foo-${1}-${NONE:-${2}}"', 'foo-${1}-${2}'],
    ['"${HOST:-{}}"', 'example.org}'],
    ['"${PORT}"', '8080'],
    ['${PORT}', 8080],
    ['${YES}', true],
    ['${WORD}', 'no'],
    ['${EMPTY}', null],
    ['${NONE:-12}', 12],
    ['${PORT}0', '80800'],
    ['\n  - 1\n  - ${PORT}\n  - a: ${HOST}', [1, 8080, { a: 'example.org' }]],
  ])('%s', async (text, value) => {
    const dir = await tree({ 'a.yaml': `x: ${text}\n` })
    expect((await dir.load('a.yaml', { variables })).config).toEqual({ x: value })
  })

  test('outside of YAML a value stays text, and keys are left alone', async () => {
    const dir = await tree({ 'a.json': '{"x":"${PORT}","${PORT}":1}', 'b.toml': 'y = "${PORT}"\n' })
    expect((await dir.load(['a.json', 'b.toml'], { variables })).config).toEqual({ x: '8080', '${PORT}': 1, y: '8080' })
  })

  test('that are not defined are all named, each with its place', async () => {
    const dir = await tree({ 'a.yaml': 'a: 1\nb: ${HOST}\nc:\n  - ok\n  - x-${NOPE}\nd: "${NEITHER}"\n' })
    const error = await refusal(dir.load('a.yaml', { variables }))
    expect(error.transient).toBe(false)
    expect(error.message).toBe(
      'a.yaml:5:5 c.1 refers to NOPE, which is not defined\na.yaml:6:4 d refers to NEITHER, which is not defined',
    )
  })

  test.each([
    ['${A-b}', 'which is not a reference'],
    ['${}', 'which is not a reference'],
    ['${ A }', 'which is not a reference'],
    ['${A', 'without its closing "}"'],
    ['${A:-b', 'without its closing "}"'],
    ['${file:}', 'without a path'],
    ['${A:-'.repeat(40), 'more than 16 deep'],
  ])('%s is refused', async (text, message) => {
    const dir = await tree({ 'a.json': JSON.stringify({ x: text }) })
    const error = await refusal(dir.load('a.json', { variables }))
    expect(error.message).toContain(message)
    expect(error.issues).toMatchObject([{ code: 'reference', path: ['x'], origin: { line: 1, column: 6 } }])
  })

  test('a number that JSON cannot hold is refused, not rounded', async () => {
    const dir = await tree({ 'a.yaml': 'x: ${BIG}\n' })
    expect((await refusal(dir.load('a.yaml', { variables: { BIG: '9007199254740993' } }))).message).toContain(
      '9007199254740993',
    )
  })

  test('can be turned off', async () => {
    const dir = await tree({ 'a.yaml': 'x: ${NOPE} $$\n' })
    expect((await dir.load('a.yaml', { variables: false })).config).toEqual({ x: '${NOPE} $$' })
  })

  test('come from process.env by default', async () => {
    const dir = await tree({ 'a.yaml': 'x: ${MIDFLIGHT_FILE_TEST}\n' })
    process.env['MIDFLIGHT_FILE_TEST'] = '7'
    try {
      expect((await load(file('a.yaml', { cwd: dir.path }))).config).toEqual({ x: 7 })
    } finally {
      delete process.env['MIDFLIGHT_FILE_TEST']
    }
  })
})

describe('.env files', () => {
  test('give variables, below those of the process, later over earlier, and may use each other', async () => {
    const dir = await tree({
      'a.yaml': 'x: "${A} ${B} ${C} ${URL}"\n',
      '.env': 'A=1\nB=1\nC=1\nURL=http://${HOST}:${C}\nHOST=h\n',
      '.env.local': 'B=2\nC=2\n',
    })
    const { config } = await dir.load('a.yaml', { env: ['.env', '.env.local'], variables: { C: '3' } })
    expect(config).toEqual({ x: '1 2 3 http://h:3' })
  })

  test('a variable that refers to itself is refused, with the chain', async () => {
    const dir = await tree({ 'a.yaml': 'x: 1\ny: ${A}\n', '.env': 'A=${A}\n', 'b.env': 'A=1${B}\nB=${C}\nC=${A:-1}\n' })
    expect((await refusal(dir.load('a.yaml', { env: '.env' }))).message).toBe('a.yaml:2:4 y refers to itself: A → A')
    expect((await refusal(dir.load('a.yaml', { env: 'b.env' }))).message).toContain('A → B → C → A')
    expect((await refusal(dir.load('.env', { variables: { A: 'x' } }))).message).toBe(
      '.env:1:3 A refers to itself: A → A',
    )
  })

  test('must be there', async () => {
    const dir = await tree({ 'a.yaml': 'x: ${A:-1}\n' })
    expect((await refusal(dir.load('a.yaml', { env: '.env' }))).message).toBe('.env is not there')
  })
})

describe('secret files', () => {
  test('give their text without the line end, and are told as secrets with their reference', async () => {
    const dir = await tree({
      'a.yaml':
        'include: b.yaml\ndb:\n  password: ${file:run/password}\n  url: "postgres://app:${file:run/password}@db"\n' +
        'list:\n  - ok\n  - ${file:${DIR}/digits}\n  - ${file:run/number}\n',
      'b.yaml': 'db: { password: "${file:run/other}", token: "${file:run/other}" }\n',
      'run/password': 's3cret\r\n',
      'run/digits': 'a\n\n',
      'run/number': '0123\n',
      'run/other': 'o',
    })
    const document = await dir.load('a.yaml', { variables: { DIR: dir.at('run') } })
    expect(document.config).toEqual({
      db: { password: 's3cret', url: 'postgres://app:s3cret@db', token: 'o' },
      list: ['ok', 'a\n', '0123'],
    })
    expect(document.secrets).toEqual([
      { path: ['db', 'token'], reference: '${file:run/other}' },
      { path: ['db', 'password'], reference: '${file:run/password}' },
      { path: ['db', 'url'], reference: 'postgres://app:${file:run/password}@db' },
      { path: ['list', 1], reference: '${file:${DIR}/digits}' },
      { path: ['list', 2], reference: '${file:run/number}' },
    ])
  })

  test('by way of a variable of a .env file are secrets too, and a reference can be resolved again', async () => {
    const dir = await tree({ 'a.yaml': 'x: pre-${TOKEN}\n', '.env': 'TOKEN=${file:token}\n', token: 't0ken\n' })
    const source = dir.source('a.yaml', { env: '.env' })
    const document = await load(source)
    expect(document).toMatchObject({
      config: { x: 'pre-t0ken' },
      secrets: [{ path: ['x'], reference: 'pre-${TOKEN}' }],
    })
    expect(await source.resolve?.('pre-${TOKEN}', new AbortController().signal)).toBe('pre-t0ken')
  })

  test('that are missing, empty, too large or not text are refused where they are referred to; no error shows one', async () => {
    const dir = await tree({
      empty: '\n',
      large: 'x'.repeat(65_537),
      binary: Uint8Array.of(0xff, 0xfe, 0x41),
      ok: 'hunter2',
    })
    const names = ['missing', 'empty', 'large', 'binary', '/dev/zero']
    await dir.write({ 'a.yaml': names.map((name, i) => `k${i}: "\${file:${name}} \${file:ok}"\n`).join('') })
    const error = await refusal(dir.load('a.yaml'))
    expect(error.issues.map((issue) => [issue.code, issue.origin?.line])).toEqual(
      [1, 2, 3, 4, 5].map((line) => ['reference', line]),
    )
    expect(error.message).toContain(`refers to ${dir.at('missing')}, which is not there`)
    expect(error.message).toContain(`${dir.at('empty')}, which is empty`)
    expect(error.message).toContain('has 64 KiB (65537 bytes); want at most 64 KiB (65536 bytes)')
    expect(error.message).toContain('is not UTF-8 text')
    expect(error.message).toContain('/dev/zero, which is a device; want a regular file')
    expect(error.message).not.toContain('hunter2')
  })

  test('that change are read again', async () => {
    const dir = await tree({ 'a.yaml': 'x: "${file:s}"\ny: { z: 1 }\n', s: 'one' })
    const source = dir.source('a.yaml')
    const before = await load(source)
    await dir.write({ s: 'two' })
    const after = await load(source)
    expect(after.config).toEqual({ x: 'two', y: { z: 1 } })
    expect((after.config as { y: unknown }).y).toBe((before.config as { y: unknown }).y)
  })

  test.skipIf(process.getuid?.() === 0)('that may not be read are refused (skipped: root may read all)', async () => {
    const dir = await tree({ 'a.yaml': 'x: "${file:s}"\n', s: 'one' })
    await chmod(dir.at('s'), 0)
    expect((await refusal(dir.load('a.yaml'))).message).toContain('EACCES')
  })
})

describe('what is remembered', () => {
  const rules = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      id: `r${i}`,
      resource: i % 10 === 0 ? `\${PREFIX}/api/${i}` : `/api/${i}`,
    }))

  test('without references the configuration is the very object of the parser, also when it may have some', async () => {
    const dir = await tree({ 'a.json': JSON.stringify({ rules: [{ id: 'r1', price: '5 $' }], x: { y: 1 } }) })
    const source = dir.source('a.json')
    const before = (await load(source)).config
    expect(before).toEqual({ rules: [{ id: 'r1', price: '5 $' }], x: { y: 1 } })
    expect((await load(source)).config).toBe(before)
  })

  test('references stay right when entries are inserted and removed', async () => {
    const dir = await tree({ 'a.json': JSON.stringify({ rules: rules(500) }) })
    const source = dir.source('a.json', { variables: { PREFIX: '/v1' } })
    await load(source)
    const next: { id: string; resource: string }[] = rules(500)
    next.splice(250, 1, { id: 'new', resource: '${PREFIX}/new' })
    next.splice(100, 1)
    next.reverse()
    next.unshift({ id: 'first', resource: 'first' })
    await dir.write({ 'a.json': JSON.stringify({ rules: next }) })
    const expected = next.map((rule) => ({ ...rule, resource: rule.resource.replace('${PREFIX}', '/v1') }))
    expect((await load(source)).config).toEqual({ rules: expected })
  })

  test('another value of a variable changes exactly the entries that use it', async () => {
    const dir = await tree({ 'a.json': JSON.stringify({ rules: rules(100), other: { at: '${OTHER}' } }) })
    const variables: Record<string, string> = { PREFIX: '/v1', OTHER: 'o' }
    const source = dir.source('a.json', { variables })
    const before = (await load(source)).config as { rules: unknown[]; other: unknown }
    variables['PREFIX'] = '/v2'
    const after = (await load(source)).config as { rules: unknown[]; other: unknown }
    expect(after.rules[0]).toMatchObject({ resource: '/v2/api/0' })
    expect(after.rules[1]).toBe(before.rules[1])
    expect(after.other).toBe(before.other)
  })
})
