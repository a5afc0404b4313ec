/** Semantic rules: what a JSON Schema cannot say. */
import type { Json } from 'midflight'
import { describe, expect, test } from 'vitest'
import { changeDemands, createConfig } from '../src/configs.ts'
import { domainOf } from '../src/domain.ts'
import { showing } from '../src/marks.ts'
import { applyRules, checkRules, maxRules, type Rule } from '../src/rules.ts'
import { config, memory, publishOne, ready, refusal, releaseCount } from './domain-rig.ts'

const show = showing({ secret: [], keys: {} })
const found = (rule: Rule, content: Json): string[] =>
  applyRules([rule], content, show).map(({ path, message }) => `${path.join('.')} ${message}`)

describe('unique', () => {
  test('P5: a name twice is refused with both places', () => {
    const rule: Rule = { rule: 'unique', path: 'jobs', field: 'name' }
    const jobs: Json[] = [{ name: 'node' }, { name: 'prometheus' }, { name: 'node' }, { other: 1 }, {}]
    expect(found(rule, { jobs })).toEqual(['jobs.2.name is "node", which is taken by jobs.0.name; want each once'])
  })

  test('scalars by themselves; 1 and "1" differ; each place that * stands for is looked at by itself', () => {
    expect(found({ rule: 'unique', path: 'ports' }, { ports: [1, '1', 2, 1] })).toHaveLength(1)
    const pools = { a: { hosts: ['x', 'y'] }, b: { hosts: ['x', 'x'] } }
    expect(found({ rule: 'unique', path: 'pools.*.hosts' }, { pools })).toEqual([
      'pools.b.hosts.1 is "x", which is taken by pools.b.hosts.0; want each once',
    ])
    expect(
      found({ rule: 'unique', path: 'byName', field: 'port' }, { byName: { a: { port: 1 }, b: { port: 1 } } }),
    ).toHaveLength(1)
  })
})

describe('less', () => {
  test('P4: a timeout above the interval of the same job is refused, and of another job is not', () => {
    const rule: Rule = { rule: 'less', path: 'jobs.*.timeout', than: 'jobs.*.interval', orEqual: true }
    const jobs: Json[] = [
      { timeout: 10, interval: 5 },
      { timeout: 5, interval: 5 },
      { timeout: 4 },
      { timeout: '9', interval: 1 },
    ]
    expect(found(rule, { jobs })).toEqual(['jobs.0.timeout is 10; want at most jobs.0.interval, which is 5'])
    expect(found({ ...rule, orEqual: false }, { jobs })).toHaveLength(2)
  })

  test('with one bound for all', () => {
    const rule: Rule = { rule: 'less', path: 'jobs.*.timeout', than: 'limit' }
    expect(found(rule, { limit: 5, jobs: [{ timeout: 4 }, { timeout: 5 }] })).toHaveLength(1)
  })
})

describe('references', () => {
  test('a name must be a key of an object, a field of an entry, or an entry', () => {
    const routes = { a: { to: 'up1' }, b: { to: 'up2' }, c: { to: ['up1', 'up3'] }, d: {} }
    const byKey: Rule = { rule: 'references', path: 'routes.*.to', to: 'upstreams' }
    expect(found(byKey, { routes, upstreams: { up1: {}, up3: {} } })).toEqual([
      'routes.b.to is "up2"; want one of those in upstreams',
    ])
    const byField: Rule = { ...byKey, field: 'name' }
    expect(found(byField, { routes, upstreams: [{ name: 'up1' }, { name: 'up2' }] })).toEqual([
      'routes.c.to.1 is "up3"; want one of those in upstreams',
    ])
    expect(found(byKey, { routes, upstreams: ['up1', 'up2', 'up3'] })).toEqual([])
    expect(found(byKey, { routes })).toHaveLength(4)
    expect(found(byKey, { routes: { x: { to: 'constructor' } }, upstreams: {} })).toHaveLength(1)
  })
})

test('there is an end to the issues', () => {
  const list = Array.from({ length: 100_000 }, () => 1)
  expect(applyRules([{ rule: 'unique', path: 'list' }], { list }, show)).toHaveLength(100)
})

test.each<[string, unknown]>([
  ['no list', {}],
  ['too many', Array.from({ length: maxRules + 1 }, () => ({ rule: 'unique', path: 'a' }))],
  ['no rule', [null]],
  ['an unknown rule', [{ rule: 'script', path: 'a' }]],
  ['the name of a method', [{ rule: 'constructor', path: 'a' }]],
  ['a field that is none', [{ rule: 'unique', path: 'a', than: 'b' }]],
  ['a field that is missing', [{ rule: 'less', path: 'a' }]],
  ['a path that is none', [{ rule: 'unique', path: 'a..b' }]],
  ['the empty path', [{ rule: 'unique', path: '' }]],
  ['another type', [{ rule: 'less', path: 'a', than: 'b', orEqual: 'yes' }]],
  ['a star that stands for nothing', [{ rule: 'less', path: 'a.*.x', than: 'b.*.*' }]],
])('rules that are wrong in themselves are refused: %s', (_what, rules) => {
  const issues = checkRules(rules)
  expect(issues).toHaveLength(1)
  expect(issues[0]?.message).toMatch(/want/)
})

test('a publish that breaks a rule is refused, and a rule that the head breaks is not taken', async () => {
  const rules: Rule[] = [{ rule: 'less', path: 'min', than: 'max' }]
  const domain = await ready(await memory(), { rules })
  await publishOne(domain, { content: { min: 1, max: 2 } })
  const error = await refusal(publishOne(domain, { mergePatch: { min: 2 } }))
  expect(error).toMatchObject({ code: 'invalid', issues: [{ code: 'component', path: ['min'] }] })
  const stricter: Rule[] = [{ rule: 'less', path: 'max', than: 'min' }]
  expect(await refusal(changeDemands(domain, config, { rules: stricter }, 'root'))).toMatchObject({ code: 'invalid' })
  expect((await domain.store.read((read) => read.config(config)))?.rules).toEqual(rules)
  expect(await releaseCount(domain)).toBe(1)
})

describe('configs', () => {
  test('are made once, by a good name, with a good schema, rules and reviewers', async () => {
    const domain = domainOf({ store: await memory() })
    const make = (over: object) => createConfig(domain, { name: 'shop/a', actor: 'root', ...over })
    for (const name of ['', '..', 'shop/../a', '/shop', 'Shop', 'a'.repeat(65), 'a/b/c/d/e/f/g/h/i', 7]) {
      expect([name, (await refusal(make({ name }))).code]).toEqual([name, 'invalid'])
    }
    for (const over of [
      { schema: { type: 'nonsense' } },
      { rules: [{}] },
      { reviewers: 17 },
      { reviewers: -1 },
      { actor: '' },
    ]) {
      expect([over, (await refusal(make(over))).code]).toEqual([over, 'invalid'])
    }
    expect(await make({ reviewers: 2 })).toMatchObject({ name: 'shop/a', reviewers: 2, head: null, schema: null })
    expect((await refusal(make({}))).code).toBe('exists')
  })

  test('keep the demands that a change leaves out', async () => {
    const domain = await ready(await memory(), { reviewers: 1, schema: { type: 'object' } })
    const changed = await changeDemands(domain, config, { reviewers: 3 }, 'root')
    expect(changed).toMatchObject({ reviewers: 3, schema: { type: 'object' } })
    expect((await refusal(changeDemands(domain, 'shop/other', {}, 'root'))).code).toBe('not-found')
  })
})
