/** validate, diff and plan on files: what they print and with what they exit. */
import { expect, test } from 'vitest'
import { folder, good, midflight, schema } from './rig.ts'

const withSchema = ['--schema', 'schema.json']

test('validate says that a good file is valid, exits 0, and as JSON gives its digest', async () => {
  const cwd = await folder({ 'gateway.yaml': good, 'schema.json': schema })
  expect(await midflight(['validate', 'gateway.yaml', ...withSchema], { cwd })).toMatchObject({
    code: 0,
    out: '✔ gateway.yaml is valid\n',
    err: '',
  })
  const json = await midflight(['validate', 'gateway.yaml', ...withSchema, '--json'], { cwd })
  expect(json.json()).toMatchObject({
    kind: 'valid',
    files: ['gateway.yaml'],
    digest: expect.stringMatching(/^sha256:/),
  })
})

test('validate shows each issue with its place, the line and a mark under the value', async () => {
  const bad = good.replace('8080', '"80a"').replace('format:', 'fromat:').replace('limit: 200', 'limit: 0')
  const cwd = await folder({ 'bad.yaml': bad, 'schema.json': schema })
  const { code, out, err } = await midflight(['validate', 'bad.yaml', ...withSchema], { cwd })
  expect([code, err]).toEqual([1, ''])
  expect(out).toContain(`bad.yaml:2:9 server.port is "80a"; want an integer from 1 to 65535
  2 │   port: "80a"
    │         ^
`)
  expect(out).toContain('did you mean "format"?')
  expect(out).toMatch(/✖ bad\.yaml is not valid: 3 issues\n$/)
  const json = await midflight(['validate', 'bad.yaml', ...withSchema, '--json'], { cwd })
  expect([json.code, json.json()]).toMatchObject([
    1,
    { kind: 'rejected', issues: [{ code: 'schema', at: 'bad.yaml:2:9', path: ['server', 'port'] }, {}, {}] },
  ])
})

test('issues come in the order of the file; where the file ends too soon its last line is shown', async () => {
  const bad = good.replace('info', 'loud').replace('format:', 'fromat:').replace('8080', '0')
  const cwd = await folder({ 'bad.yaml': bad, 'torn.yaml': 'a: [1, 2\n\n', 'schema.json': schema })
  const [all, torn] = await Promise.all([
    midflight(['validate', 'bad.yaml', ...withSchema], { cwd }),
    midflight(['validate', 'torn.yaml'], { cwd }),
  ])
  expect([...all.out.matchAll(/^bad\.yaml:(\d+)/gm)].map(([, line]) => line)).toEqual(['2', '4', '5'])
  expect(torn.out).toContain('\n  1 │ a: [1, 2\n    │         ^\n')
})

test('P5 an entry that is there twice is refused with its key and both places, as the process would refuse it', async () => {
  const cwd = await folder({
    'a.yaml': 'scrape_configs:\n  - job_name: node\n  - job_name: db\n  - job_name: node\n',
    'w.yaml': 'pools: { x: { members: [{ host: h1 }, {}] } }\n',
  })
  const twice = await midflight(['validate', 'a.yaml', '--key', 'scrape_configs=job_name'], { cwd })
  expect([twice.code, twice.out]).toEqual([
    1,
    expect.stringMatching(/^a\.yaml:4:15 .*is "node", which entry 0 has already/),
  ])
  expect(twice.out).toContain('also a.yaml:2:15\n  2 │   - job_name: node\n')
  const without = await midflight(['validate', 'w.yaml', '--key', 'pools.*.members=host'], { cwd })
  expect([without.code, without.out]).toEqual([1, expect.stringContaining('pools.x.members.1 has no host')])
})

test('-t FILE tests a file, validate -t does the same, and without a schema it says what was looked at', async () => {
  const cwd = await folder({ 'gateway.yaml': good, 'torn.yaml': 'a: [1,\nb: 2\n' })
  const all = await Promise.all(
    [
      ['-t', 'gateway.yaml'],
      ['validate', '-t', 'gateway.yaml'],
      ['-t', 'torn.yaml'],
    ].map((args) => midflight(args, { cwd })),
  )
  expect(all.map(({ code }) => code)).toEqual([0, 0, 1])
  expect(all[0]?.out).toContain('parsed only')
  expect(all[2]?.out).toMatch(/^torn\.yaml:2:\d+ /)
})

test('a schema may be YAML, a Standard Schema in a module, or jsonSchema() under a name', async () => {
  const cwd = await folder({
    'a.yaml': 'port: 0\n',
    's.yaml': 'type: object\nproperties:\n  port: { type: integer, minimum: 1 }\n',
    's.ts': `export default { '~standard': { version: 1, vendor: 'own', validate: (value: { port: number }) =>
      value.port > 0 ? { value } : { issues: [{ message: 'must be positive', path: ['port'] }] } } }
export const named = { kind: 'json-schema', schema: { properties: { port: { const: 7 } } } }
export const other = 5\n`,
  })
  const schemas = ['s.yaml', 's.ts', 's.ts#named', 's.ts#other', 's.ts#none', 'none.json', 'none.ts']
  const all = await Promise.all(schemas.map((name) => midflight(['validate', 'a.yaml', '--schema', name], { cwd })))
  expect(all.map(({ code }) => code)).toEqual([1, 1, 1, 1, 1, 1, 1])
  expect(all.slice(0, 3).map(({ out }) => out.split('\n')[0])).toEqual([
    'a.yaml:1:7 port is 0; want an integer of at least 1',
    'a.yaml:1:7 port is 0; must be positive',
    'a.yaml:1:7 port is 0; want 7',
  ])
  expect(all.slice(3).map(({ err }) => err.split('\n')[0])).toEqual([
    'midflight: s.ts#other is no schema; want a Standard Schema (zod, valibot, arktype …) or jsonSchema({ … })',
    'midflight: s.ts has no export none; it exports named, other: --schema s.ts#named',
    'midflight: the schema cannot be read: none.json is not there',
    'midflight: the schema none.ts is not there',
  ])
})

test('standard input is read with --format, and not together with files', async () => {
  const cwd = await folder({ 'a.yaml': 'a: 1\n', 'b.json': '{"a":1}' })
  const [valid, torn, both, unnamed, same] = await Promise.all([
    midflight(['validate', '-', '--format', 'yaml'], { cwd, input: 'a: 1\n' }),
    midflight(['validate', '-', '--format', 'json'], { cwd, input: '{"a":1,}' }),
    midflight(['validate', '-', 'a.yaml', '--format', 'yaml'], { cwd, input: 'a: 1\n' }),
    midflight(['validate', '-'], { cwd, input: 'a: 1\n' }),
    midflight(['diff', 'b.json', '-', '--format', 'json'], { cwd, input: '{ "a": 2 }' }),
  ])
  expect(valid).toMatchObject({ code: 0, out: expect.stringContaining('standard input is valid') })
  expect(torn).toMatchObject({ code: 1, out: expect.stringMatching(/^stdin:1:8 .*\n {2}1 │ \{"a":1,\}\n/) })
  expect(both).toMatchObject({ code: 1, err: expect.stringContaining('standard input (-) and a.yaml are both given') })
  expect(unnamed).toMatchObject({ code: 1, err: expect.stringContaining('want --format') })
  expect(same).toMatchObject({ code: 2, out: '~ a  1 → 2\n\n1 changed\n' })
})

test('directories, layers and .env files are read as the engine reads them', async () => {
  const cwd = await folder({
    'gateway.yaml': 'port: ${PORT}\nname: base\n',
    'gateway.prod.yaml': 'name: prod\n',
    'vars.env': 'PORT=8080\n',
    'want.json': '{"port":8080,"name":"prod"}',
  })
  const flags = ['--layer', 'prod', '--env-file', 'vars.env']
  expect(await midflight(['diff', 'want.json', 'gateway.yaml', '--env-file', 'vars.env'], { cwd })).toMatchObject({
    code: 2,
    out: '~ name  "prod" → "base"\n\n1 changed\n',
  })
  expect(await midflight(['validate', 'gateway.yaml', ...flags], { cwd })).toMatchObject({ code: 0 })
  const undefinedVariable = await midflight(['validate', 'gateway.yaml'], { cwd })
  expect(undefinedVariable).toMatchObject({ code: 1, out: expect.stringMatching(/^gateway\.yaml:1:7 port .*PORT/) })
  expect(await midflight(['validate', 'gateway.yaml', '--no-variables'], { cwd })).toMatchObject({ code: 0 })
})

test('K1 diff shows level and format modified, and nothing else', async () => {
  const cwd = await folder({
    'a.yaml': 'logging: { level: info, format: text, output: file }\n',
    'b.json': '{ "logging": { "level": "debug", "format": "json", "output": "file" } }',
  })
  const { code, out } = await midflight(['diff', 'a.yaml', 'b.json'], { cwd })
  expect([code, out]).toEqual([
    2,
    `~ logging.level   "info" → "debug"
~ logging.format  "text" → "json"

2 changed
`,
  ])
})

test('K7 diff takes a number and its text for different; another order of keys and comments for the same', async () => {
  const cwd = await folder({
    'a.yaml': 'port: 8088 # a\nb: 1\n',
    'b.yaml': 'b: 1\nport: "8088"\n',
    'c.yaml': 'b: 1\nport: 8088\n',
  })
  expect(await midflight(['diff', 'a.yaml', 'b.yaml'], { cwd })).toMatchObject({
    code: 2,
    out: expect.stringContaining('~ port  8088 → "8088"'),
  })
  expect(await midflight(['diff', 'a.yaml', 'c.yaml'], { cwd })).toMatchObject({ code: 0, out: '✔ nothing differs\n' })
  expect((await midflight(['diff', 'a.yaml', 'c.yaml', '--json'], { cwd })).json()).toEqual({ changes: [] })
})

test('diff names entries of a keyed list by their key: added, removed, changed, moved', async () => {
  const cwd = await folder({
    'a.yaml': 'rules: [{ id: a, n: 1 }, { id: b, n: 1 }, { id: c, n: 1 }]\n',
    'b.yaml': 'rules: [{ id: c, n: 1 }, { id: a, n: 2 }, { id: d, n: 1 }]\n',
  })
  const { code, out } = await midflight(['diff', 'a.yaml', 'b.yaml', '--key', 'rules=id'], { cwd })
  expect(code).toBe(2)
  expect(out).toContain('~ rules.a.n  1 → 2')
  expect(out).toContain('+ rules.d    {"id":"d","n":1}')
  expect(out).toContain('- rules.b    {"id":"b","n":1}')
  expect(out).toMatch(/↕ rules\.[ac] {4}moved/)
  expect(out).toContain('1 added, 1 removed, 1 changed, 1 moved')
})

test('long values are cut to the width, and shown from where they part', async () => {
  const long = 'x'.repeat(300)
  const cwd = await folder({ 'a.json': JSON.stringify({ v: `${long}1` }), 'b.json': JSON.stringify({ v: `${long}2` }) })
  const { out } = await midflight(['diff', 'a.json', 'b.json'], { cwd, env: { COLUMNS: '60' } })
  expect(out.split('\n')[0]).toBe('~ v  …xxxxxxxx1" → …xxxxxxxx2"')
})

test('plan of files names what the schema marks as restart-only, and exits 0, 2 or 1', async () => {
  const next = good.replace('8080', '8081').replace('limit: 200', 'limit: 100')
  const cwd = await folder({ 'old.yaml': good, 'new.yaml': next, 'bad.yaml': 'server: 5\n', 'schema.json': schema })
  const plan = (file: string, ...more: string[]) =>
    midflight(['plan', file, '--against', 'old.yaml', ...withSchema, ...more], { cwd })
  const [changed, same, bad, json] = await Promise.all([
    plan('new.yaml'),
    plan('old.yaml'),
    plan('bad.yaml'),
    plan('new.yaml', '--json'),
  ])
  expect([changed.code, changed.out]).toEqual([
    2,
    `~ server.port     restart  8080 → 8081
~ rules.r2.limit  hot      200 → 100

▲ 2 changed; needs a restart: server.port
`,
  ])
  expect([same.code, same.out]).toEqual([0, '✔ nothing would change\n'])
  expect([bad.code, bad.out]).toEqual([1, ''])
  expect(bad.err).toContain('bad.yaml is not valid')
  expect(json.json()).toMatchObject({ changes: [{ path: 'server.port' }, {}], restartPaths: ['server.port'] })
})
