import { symlink } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { load, origin, refusal, tree, Tree } from './file-tree.ts'

test('what includes goes over what it includes, later over earlier, and each value knows its file', async () => {
  const dir = await tree({
    'gateway.yaml': 'include: [rules/*.yaml, other.toml]\nport: 80\n',
    'rules/a.yaml': 'port: 1\nrules: { a: 1 }\ninclude: more/x.yaml\n',
    'rules/b.yaml': 'rules: { b: 2 }\nwho: b\n',
    'rules/more/x.yaml': 'rules: { a: 0, x: 0 }\n',
    'other.toml': 'who = "other"\n',
  })
  const document = await dir.load('gateway.yaml')
  expect(document.config).toEqual({ port: 80, rules: { a: 1, x: 0, b: 2 }, who: 'other' })
  expect(origin(document, ['rules', 'x'])).toBe('rules/more/x.yaml:1:19')
  expect(origin(document, ['rules', 'a'])).toBe('rules/a.yaml:2:13')
  expect(origin(document, ['who'])).toBe('other.toml:1:7')
})

test('a pattern that matches nothing is fine; a name that is not there is an error at both places', async () => {
  const dir = await tree({ 'a.yaml': 'include: [none/*.yaml]\nx: 1\n', 'b.yaml': 'x: 1\ninclude:\n  - missing.yaml\n' })
  expect((await dir.load('a.yaml')).config).toEqual({ x: 1 })
  const error = await refusal(dir.load('b.yaml'))
  expect(error).toMatchObject({ transient: true, issues: [{ code: 'unreadable', origin: { file: 'missing.yaml' } }] })
  expect(error.message).toBe('missing.yaml is not there (also at b.yaml:3:5)')
})

test('a changed file keeps what the others brought', async () => {
  const dir = await tree({ 'a.yaml': 'include: b.json\nx: { y: 1 }\n', 'b.json': '{"rules":{"r1":1},"other":{"n":1}}' })
  const source = dir.source('a.yaml')
  const before = (await load(source)).config as Record<string, unknown>
  await dir.write({ 'a.yaml': 'include: b.json\nx: { y: 2 }\n' })
  const after = (await load(source)).config as Record<string, unknown>
  expect(after).toEqual({ rules: { r1: 1 }, other: { n: 1 }, x: { y: 2 } })
  expect(after['rules']).toBe(before['rules'])
})

test('a cycle is refused, with the whole chain', async () => {
  const dir = await tree({
    'a.yaml': 'include: sub/b.yaml\n',
    'sub/b.yaml': 'include: c.yaml\n',
    'sub/c.yaml': 'include: b.yaml\n',
    'self.yaml': 'include: self.yaml\n',
  })
  const { message } = await refusal(dir.load('a.yaml'))
  expect(message).toContain('sub/c.yaml:1:10 include includes itself: sub/b.yaml → sub/c.yaml → sub/b.yaml')
  expect((await refusal(dir.load('self.yaml'))).message).toContain('self.yaml → self.yaml')
})

test('a cycle through a link is refused too', async () => {
  const dir = await tree({ 'a.yaml': 'include: link.yaml\n' })
  await symlink('a.yaml', dir.at('link.yaml'))
  expect((await refusal(dir.load('a.yaml'))).message).toContain('link.yaml includes itself: a.yaml → link.yaml')
})

test('files included twice by different ways are fine, endless doubling is not', async () => {
  const dir = await tree({
    'a.yaml': 'include: [b.yaml, c.yaml]\n',
    'b.yaml': 'include: d.yaml\n',
    'c.yaml': 'include: d.yaml\n',
    'd.yaml': 'd: 1\n',
  })
  expect((await dir.load('a.yaml')).config).toEqual({ d: 1 })
  const names = Array.from({ length: 20 }, (_, i) => [`${i}.yaml`, `include: [${i + 1}.yaml, ${i + 1}.yaml]\n`])
  await dir.write({ ...Object.fromEntries(names), '20.yaml': 'end: 1\n' })
  expect(await refusal(dir.load('0.yaml'))).toMatchObject({ issues: [{ code: 'limit' }] })
})

describe('outside of the directory of the top file', () => {
  test.each(['../secret.yaml', 'sub/../../secret.yaml', '../*.yaml', '/etc/passwd'])('%s is refused', async (name) => {
    const dir = await tree({ 'secret.yaml': 'secret: 1\n', 'conf/a.yaml': `x: 1\ninclude: ["${name}"]\n` })
    const error = await refusal(dir.load('conf/a.yaml'))
    expect(error.issues).toMatchObject([{ code: 'reference', path: ['include', 0], origin: { line: 2, column: 11 } }])
    expect(error.message).toContain(`includes ${name}, which is outside of conf`)
  })

  test('a file below may include one above it, inside', async () => {
    const dir = await tree({
      'conf/a.yaml': 'include: sub/b.yaml\n',
      'conf/sub/b.yaml': 'include: ../c.yaml\n',
      'conf/c.yaml': 'c: 1\n',
    })
    expect((await dir.load('conf/a.yaml')).config).toEqual({ c: 1 })
  })

  test('a link that leads there is refused', async () => {
    const dir = await tree({
      'secret.yaml': 'secret: 1\n',
      'conf/a.yaml': 'include: link.yaml\n',
      'conf/b.yaml': 'include: d/*.yaml\n',
    })
    await symlink('../secret.yaml', dir.at('conf/link.yaml'))
    await symlink('..', dir.at('conf/d'))
    const { message } = await refusal(dir.load('conf/a.yaml'))
    expect(message).toMatch(
      /^conf\/link\.yaml is a link that leads outside of conf; want .* \(also at conf\/a\.yaml:1:10\)$/,
    )
    expect((await refusal(dir.load('conf/b.yaml'))).message).toContain(
      'conf/d/secret.yaml is a link that leads outside of conf',
    )
  })

  test('links that stay inside are followed, as in a ConfigMap mount', async () => {
    const dir = await tree({ '..2026/a.yaml': 'include: b.yaml\n', '..2026/b.yaml': 'b: 1\n' })
    await symlink('..2026', dir.at('..data'))
    for (const name of ['a.yaml', 'b.yaml']) await symlink(`..data/${name}`, dir.at(name))
    expect((await dir.load('a.yaml')).config).toEqual({ b: 1 })
  })

  test('the top file itself may lie, by a link; its includes are those beside the link', async () => {
    const elsewhere = new Tree()
    await elsewhere.write({ 'real.yaml': 'include: beside.yaml\n' })
    const dir = await tree({ 'beside.yaml': 'b: 1\n' })
    await symlink(elsewhere.at('real.yaml'), dir.at('a.yaml'))
    expect((await dir.load('a.yaml')).config).toEqual({ b: 1 })
  })
})

test('the key can be another one, or none', async () => {
  const dir = await tree({ 'a.yaml': 'include: [src]\nimport: b.yaml\n', 'b.yaml': 'b: 1\n' })
  expect((await dir.load('a.yaml', { includeKey: 'import' })).config).toEqual({ include: ['src'], b: 1 })
  expect((await dir.load('a.yaml', { includeKey: false })).config).toEqual({ include: ['src'], import: 'b.yaml' })
})

test('what is not a file name is refused where it stands', async () => {
  const dir = await tree({ 'a.yaml': 'include: [ok*.yaml, 7]\n' })
  const error = await refusal(dir.load('a.yaml'))
  expect(error.message).toMatch(/^a\.yaml:1:21 include\.1 is not a file name; want .*`includeKey`$/)
})

test('a name may hold variables, but no secret', async () => {
  const dir = await tree({
    'a.yaml': 'include: ${STAGE}.yaml\n',
    'prod.yaml': 'p: 1\n',
    'b.yaml': 'include: ${file:name}\n',
    name: 'prod.yaml',
  })
  expect((await dir.load('a.yaml', { variables: { STAGE: 'prod' } })).config).toEqual({ p: 1 })
  expect((await refusal(dir.load('a.yaml'))).message).toContain(
    'a.yaml:1:10 include refers to STAGE, which is not defined',
  )
  expect((await refusal(dir.load('b.yaml'))).message).toContain('include refers to a secret')
})

test('an error in an included file names its place and the place that led there', async () => {
  const dir = await tree({ 'a.yaml': 'include: b.json\n', 'b.json': '{"a": 1,}' })
  expect((await refusal(dir.load('a.yaml'))).message).toMatch(/^b\.json:1:\d .*\(also at a\.yaml:1:10\)/)
})
