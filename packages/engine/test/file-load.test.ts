import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { file } from '../src/sources/file.ts'
import { load, origin, refusal, tree } from './file-tree.ts'

describe('one file', () => {
  test('of each format gives its data, and the place of each value', async () => {
    const dir = await tree({
      'a.yaml': 'server:\n  port: 80\n',
      'a.json': '{\n  "server": { "port": 80 }\n}',
      'a.jsonc': '{\n  // why\n  "server": { "port": 80 },\n}',
      'a.toml': '[server]\nport = 80\n',
    })
    const places = {
      'a.yaml': 'a.yaml:2:9',
      'a.json': 'a.json:2:23',
      'a.jsonc': 'a.jsonc:3:23',
      'a.toml': 'a.toml:2:8',
    }
    for (const [name, place] of Object.entries(places)) {
      const document = await dir.load(name)
      expect(document.config).toEqual({ server: { port: 80 } })
      expect(origin(document, ['server', 'port'])).toBe(place)
      expect(origin(document, ['server', 'nothing'])).toBeUndefined()
    }
  })

  test('.env is a flat object of strings', async () => {
    const dir = await tree({ '.env': 'PORT=80\nURL="http://localhost:${PORT}"\n' })
    const document = await dir.load('.env')
    expect(document.config).toEqual({ PORT: '80', URL: 'http://localhost:80' })
  })

  test('with a name that tells no format needs the option', async () => {
    const dir = await tree({ gatewayrc: 'a: 1\n' })
    expect((await refusal(dir.load('gatewayrc'))).message).toMatch(
      /gatewayrc has a name that tells no format.*`format`/,
    )
    expect((await dir.load('gatewayrc', { format: 'yaml' })).config).toEqual({ a: 1 })
  })

  test('that did not change gives the very same objects again, also when it was touched', async () => {
    const dir = await tree({ 'a.json': '{"rules":[{"id":"r1"}]}', 'b.yaml': 'x: { y: 1 }\n' })
    const source = dir.source(['a.json', 'b.yaml'])
    const first = await load(source)
    await dir.write({ 'a.json': '{"rules":[{"id":"r1"}]}' })
    expect((await load(source)).config).toBe(first.config)
  })

  test('that is reached by a link to another name is read by the name of the link', async () => {
    const dir = await tree()
    await mkdir(dir.at('store'))
    await writeFile(dir.at('store/abc123'), 'a: 1\n')
    await symlink('store/abc123', dir.at('gateway.yaml'))
    expect((await dir.load('gateway.yaml')).config).toEqual({ a: 1 })
  })
})

describe('several files', () => {
  test('go over each other: mappings by key, lists and null replace', async () => {
    const dir = await tree({
      'base.yaml': 'log: { level: info, format: text }\nrules: [1, 2, 3]\nextra: { a: 1 }\nkept: yes\n',
      'over.json': '{"log":{"level":"debug"},"rules":[9],"extra":null}',
    })
    const document = await dir.load(['base.yaml', 'over.json'])
    expect(document.config).toEqual({ log: { level: 'debug', format: 'text' }, rules: [9], extra: null, kept: 'yes' })
    expect(origin(document, ['log', 'level'])).toBe('over.json:1:17')
    expect(origin(document, ['log', 'format'])).toBe('base.yaml:1:29')
    expect(origin(document, ['rules', 0])).toBe('over.json:1:35')
    expect(origin(document, ['rules', 1])).toBeUndefined()
    expect(origin(document, ['extra', 'a'])).toBeUndefined()
  })

  test('keep the objects that the change of one of them did not touch', async () => {
    const dir = await tree({ 'a.json': '{"s":{"x":{"n":1},"y":{"n":1}},"t":{"n":1}}', 'b.json': '{"s":{"x":{"m":1}}}' })
    const source = dir.source(['a.json', 'b.json'])
    const before = (await load(source)).config as Record<string, Record<string, unknown>>
    await dir.write({ 'b.json': '{"s":{"x":{"m":2}}}' })
    const after = (await load(source)).config as Record<string, Record<string, unknown>>
    expect(after).toEqual({ s: { x: { n: 1, m: 2 }, y: { n: 1 } }, t: { n: 1 } })
    expect(after['t']).toBe(before['t'])
    expect(after['s']?.['y']).toBe(before['s']?.['y'])
  })

  test('of a directory are taken in the order of their names; dotfiles, other names and subdirectories are not', async () => {
    const dir = await tree({
      'conf.d/20-b.yaml': 'who: b\n',
      'conf.d/10-a.json': '{"who":"a","first":true}',
      'conf.d/.hidden.yaml': 'hidden: true\n',
      'conf.d/20-b.yaml~': 'backup: true\n',
      'conf.d/readme.md': '# no',
      'conf.d/sub/c.yaml': 'sub: true\n',
    })
    const document = await dir.load('conf.d')
    expect(document.config).toEqual({ who: 'b', first: true })
    expect(origin(document, ['first'])).toBe('conf.d/10-a.json:1:20')
  })

  test('of a ConfigMap mount are read through their links', async () => {
    const dir = await tree({ '..2026_1/a.yaml': 'a: 1\n' })
    await symlink('..2026_1', dir.at('..data'))
    await symlink('..data/a.yaml', dir.at('a.yaml'))
    const document = await dir.load(['.'])
    expect(document.config).toEqual({ a: 1 })
    expect(origin(document, ['a'])).toBe('a.yaml:1:4')
  })

  test.each([
    ['conf.d/*.yaml', ['conf.d/a.yaml', 'conf.d/b.yaml']],
    ['conf.d/?.{yaml,json}', ['conf.d/a.yaml', 'conf.d/b.yaml', 'conf.d/c.json']],
    ['**/*.yaml', ['conf.d/a.yaml', 'conf.d/b.yaml', 'conf.d/deep/er/d.yaml', 'top.yaml']],
    ['conf.d/**/d.yaml', ['conf.d/deep/er/d.yaml']],
    ['./conf.d/*a*.yaml', ['conf.d/a.yaml']],
    ['*/.h*.yaml', ['conf.d/.h.yaml']],
  ])('are found by the pattern %s', async (pattern, names) => {
    const all = [
      'conf.d/a.yaml',
      'conf.d/b.yaml',
      'conf.d/c.json',
      'conf.d/deep/er/d.yaml',
      'top.yaml',
      'conf.d/.h.yaml',
    ]
    const dir = await tree(Object.fromEntries(all.map((name) => [name, `{ "${name}": true }`])))
    expect(Object.keys((await dir.load(pattern)).config as object).sort()).toEqual([...names].sort())
  })

  test('none at all is not an empty configuration', async () => {
    const dir = await tree({ 'conf.d/readme.md': '' })
    for (const path of ['conf.d', 'conf.d/*.yaml', 'nowhere/*.yaml']) {
      expect(await refusal(dir.load(path))).toMatchObject({ issues: [{ code: 'empty', origin: { file: path } }] })
    }
  })

  test('one that leaves a directory leaves the configuration, once it has stayed away', async () => {
    const dir = await tree({ 'conf.d/a.yaml': 'a: 1\n', 'conf.d/b.yaml': 'b: 1\n' })
    const source = dir.source('conf.d')
    expect((await load(source)).config).toEqual({ a: 1, b: 1 })
    await rename(dir.at('conf.d/b.yaml'), dir.at('aside'))
    const loading = load(source)
    setTimeout(() => void rename(dir.at('aside'), dir.at('conf.d/b.yaml')), 20)
    expect((await loading).config).toEqual({ a: 1, b: 1 })
    await rm(dir.at('conf.d/b.yaml'))
    expect((await load(source)).config).toEqual({ a: 1 })
  })
})

describe('layers', () => {
  test('go over their file where they are there', async () => {
    const dir = await tree({
      'gateway.yaml': 'port: 80\nlog: { level: info }\n',
      'gateway.prod.yaml': 'log: { level: warn }\n',
      'gateway.local.yaml': 'port: 81\n',
    })
    const layered = await dir.load('gateway.yaml', { layers: ['prod', 'missing', 'local'] })
    expect(layered.config).toEqual({ port: 81, log: { level: 'warn' } })
    const bare = await dir.load('gateway.yaml', { layers: [undefined, ''] })
    expect(bare.config).toEqual({ port: 80, log: { level: 'info' } })
  })

  test('that come later are seen by the next load', async () => {
    const dir = await tree({ 'gateway.yaml': 'port: 80\n' })
    const source = dir.source('gateway.yaml', { layers: ['prod'] })
    await load(source)
    await dir.write({ 'gateway.prod.yaml': 'port: 90\n' })
    expect((await load(source)).config).toEqual({ port: 90 })
  })

  test('cannot be used with a pattern or a directory, and a layer is a name and no path', async () => {
    const dir = await tree({ 'conf.d/a.yaml': 'a: 1\n' })
    expect(() => file('*.yaml', { layers: ['prod'] })).toThrow(TypeError)
    expect(() => file('a.yaml', { layers: ['../../etc/passwd'] })).toThrow('layer "../../etc/passwd"')
    expect((await refusal(dir.load('conf.d', { layers: ['prod'] }))).message).toMatch(
      /conf\.d is a directory; layers need files/,
    )
  })
})

test('options that cannot be meant are refused at the call', () => {
  expect(() => file([])).toThrow(TypeError)
  expect(() => file('a.yaml', { settleMs: -1 })).toThrow('settleMs is -1; want 0 to 1000')
  expect(() => file('a.yaml', { named: ['a..b'] })).toThrow(SyntaxError)
})
