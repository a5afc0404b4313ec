/** Targets against those who mean harm or cannot help it: bad input, APIs that answer anything, users beside each other. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { at } from './http-rig.ts'
import { base, config, targetsRig, type TargetsRig } from './targets-rig.ts'

let here: TargetsRig
beforeEach(async () => {
  here = await targetsRig({ callMs: 300 })
})
afterEach(async () => await here.close())

test.each([
  ['hang', 'PUT'],
  ['cut', 'PUT'],
  ['hang', 'GET'],
  ['cut', 'GET'],
  ['nonsense', 'GET'],
  ['twice', 'GET'],
  ['redirect', 'GET'],
  ['forbidden', 'GET'],
])(
  'an API that answers with %s to %s for a while: the deployment comes to its end all the same',
  async (broken, method) => {
    await here.deployed(base)
    await here.newCalls()
    await here.peer.behave({ broken, brokenTimes: 3, brokenMethod: method })
    const after = await here.deployed({ ...base, parameters: { period: 30 } })
    expect(after).toMatchObject({ number: 2, last: { phase: 'applied' }, status: 'SUCCESS' })
    expect((await here.peer.held())[`${config}#1`]?.parameters).toEqual({ period: 30 })
    // Asked after the answer was lost, it was not told again.
    expect((await here.newCalls()).filter((call) => call.startsWith('update'))).toHaveLength(1)
  },
)

test('redirected, a change is refused and undone: nobody is followed elsewhere with the token', async () => {
  await here.deployed(base)
  await here.peer.behave({ broken: 'redirect', brokenTimes: 1, brokenMethod: 'PUT' })
  const after = await here.deployed({ ...base, parameters: { period: 30 } })
  expect(after).toMatchObject({ number: 1, last: { phase: 'failed', failure: expect.stringContaining('302') } })
  expect((await here.peer.held())[`${config}#1`]?.parameters).toEqual({ period: 60 })
})

test('errors between do not make a wait longer: a new that cannot be looked at for ever is taken away, and the old is whole', async () => {
  await here.close()
  here = await targetsRig({ callMs: 300, upMs: 300 })
  const from = { ...base, remoteHost: { ip: '10.0.1.1' } }
  await here.deployed(from)
  await here.peer.behave({ broken: 'forbidden', brokenTimes: 1e9, brokenMethod: 'GET' })
  expect((await here.put({ ...from, remoteHost: { ip: '10.0.1.2' } })).status).toBe(202)
  for (;;) {
    const { underWay } = (await here.get()).json()
    if (underWay.phase === 'returning') break
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await here.peer.behave({})
  expect(await here.settled()).toMatchObject({
    number: 1,
    last: { phase: 'failed', failure: expect.stringContaining('403') },
  })
  expect((await here.peer.calls()).subscriptions).toEqual([`${config}#1`])
  // Where nothing is at stake, it is said and left to retry.
  await here.peer.behave({ broken: 'forbidden', brokenTimes: 1e9, brokenMethod: 'GET' })
  await here.put({ ...from, parameters: { period: 1 } })
  expect(await here.settled()).toMatchObject({ number: 3, nodes: null, trouble: expect.stringContaining('403') })
})

test('prior-art B5: status that turns round: what was well and is not is found when somebody looks', async () => {
  expect((await here.deployed(base)).status).toBe('SUCCESS')
  await here.peer.behave({ nodes: { 1: { state: 'failed' }, 2: { state: 'failed' }, 3: { state: 'failed' } } })
  expect((await here.get('/status')).json().status).toBe('FAILED')
  await here.peer.behave({ nodes: { 1: { state: 'failed' }, 2: { state: 'running' } } })
  expect((await here.get('/status')).json().status).toBe('FAILED')
  await here.peer.behave({ nodes: { 1: { state: 'absent' } } })
  expect((await here.get('/status')).json().status).toBe('WARNING')
  await here.peer.behave({ broken: 'twice', brokenTimes: 1 })
  expect((await here.get('/status')).json()).toMatchObject({
    status: 'WARNING',
    nodes: null,
    trouble: expect.stringContaining('has a node twice'),
  })
  await here.peer.behave({})
  expect((await here.get('/status')).json().status).toBe('SUCCESS')
})

test('prior-art B5: retry when nothing failed calls nobody', async () => {
  await here.deployed(base)
  await here.newCalls()
  expect((await here.post('retry')).status).toBe(202)
  expect(await here.settled()).toMatchObject({ status: 'SUCCESS', last: { action: 'retry', phase: 'applied' } })
  expect(await here.newCalls()).toEqual([])
})

test('prior-art B6: nothing outside is changed before it is on record, and what holds moves last', async () => {
  await here.deployed(base)
  await here.peer.behave({ broken: 'hang', brokenTimes: 1, brokenMethod: 'PUT' })
  expect((await here.put({ ...base, parameters: { period: 30 } })).status).toBe(202)
  while ((await here.peer.held())[`${config}#1`]?.parameters.period === 60)
    await new Promise((resolve) => setTimeout(resolve, 5))
  const { number, targets, underWay } = (await here.get()).json()
  expect({ number, targets }).toMatchObject({ number: 1, targets: { parameters: { period: 60 } } })
  expect(underWay.steps[0]).toEqual({ step: 'update new', state: 'begun' })
  expect(await here.settled()).toMatchObject({ number: 2, targets: { parameters: { period: 30 } } })
})

test('prior-art B7: the history says of each deployment what became of it', async () => {
  await here.deployed(base)
  await here.peer.behave({ status: 422, times: 1 })
  await here.deployed({ ...base, parameters: { period: 30 } })
  await here.deployed({ ...base, parameters: { period: 10 } })
  const { items } = (await here.plane.ask(at(config, '/deployments'))).json()
  expect(items.map(({ phase }: { phase: string }) => phase)).toEqual(['applied', 'failed', 'applied'])
})

test('two who set at once: one does, the other is told that it saw something else or that one is under way', async () => {
  await here.deployed(base)
  const answers = await Promise.all(
    [1, 2, 3, 4].map((period) => here.put({ ...base, parameters: { period } }, { 'if-match': '"1"' })),
  )
  const statuses = answers.map(({ status }) => status)
  expect(statuses.filter((status) => status === 202)).toHaveLength(1)
  expect(statuses.filter((status) => status !== 202).every((status) => status === 409 || status === 412)).toBe(true)
  await here.settled()
  expect((await here.put({ ...base, parameters: { period: 9 } }, { 'if-match': '"1"' })).status).toBe(412)
  const { items } = (await here.plane.ask(at(config, '/deployments'))).json()
  expect(items).toHaveLength(2)
})

test('a publisher uses the installers that are named for its config, and no other is told of', async () => {
  await here.plane.ask('/v1/configs', { method: 'POST', body: { name: 'shop/cart' } })
  await here.plane.ask('/v1/configs', { method: 'POST', body: { name: 'monitoring' } })
  for (const name of ['shop/cart', 'monitoring']) {
    const refused = await here.plane.ask(at(name, '/targets/plan'), { method: 'POST', body: base })
    expect([refused.status, refused.json().detail]).toEqual([
      422,
      `the installer "peer" is not configured for ${name}; there is agents`,
    ])
    const set = await here.plane.ask(at(name, '/targets'), {
      method: 'PUT',
      body: base,
      headers: { 'if-none-match': '*' },
    })
    expect(set.status).toBe(422)
  }
  expect(await here.newCalls()).toEqual([])
})

test('what an administrator brought to agents, who may not publish nodes neither stops, retries, rolls back nor takes away', async () => {
  const toAgents = { ...base, installer: 'agents', nodes: [] as unknown[] }
  await here.deployed(toAgents)
  await here.deployed({ ...toAgents, parameters: { period: 30 } })
  const token = await here.plane.token('publisher', 'monitor')
  for (const path of ['stop', 'start', 'retry', 'uninstall', 'rollback']) {
    const answer = await here.plane.ask(at(config, `/targets/${path}`), { method: 'POST', body: {}, token })
    expect([path, answer.status], answer.text).toEqual([path, 403])
  }
  const away = await here.plane.ask(at(config, '/targets'), {
    method: 'PUT',
    body: base,
    token,
    headers: { 'if-match': '"2"' },
  })
  expect(away.status).toBe(403)
  expect((await here.get()).json()).toMatchObject({ number: 2, enabled: true })
})

test('publishers of configs that are named for the agents bring packages to them', async () => {
  await here.close()
  here = await targetsRig({}, {}, { agents: { configs: ['monitor'] } })
  const token = await here.plane.token('publisher', 'monitor')
  const asked = {
    method: 'PUT',
    body: { ...base, installer: 'agents', nodes: [] },
    token,
    headers: { 'if-none-match': '*' },
  }
  expect((await here.plane.ask(at(config, '/targets'), asked)).status).toBe(202)
})

const wrong: readonly (readonly [string, object, RegExp])[] = [
  ['a list for targets', [], /./],
  ['20,001 targets', { nodes: Array.from({ length: 20_001 }, (_, i) => ({ id: i })) }, /want at most 20000/],
  ['a cloud without an address', { nodes: [{ id: 1, cloud: 2 }] }, /has a cloud and no ip/],
  ['a name twice', { nodes: [{ id: 1, bk_host_id: 1 }] }, /which are one/],
  ['prior-art B7: an unknown field', { nodes: [{ id: 1, zone: 'a' }] }, /is not known here/],
  ['a negative id', { nodes: [{ id: -1 }] }, /want a text of/],
  ['half a number', { nodes: [{ id: 1.5 }] }, /want a text of/],
  ['a name beyond ASCII', { nodes: [{ id: 'hôte' }] }, /want a text of/],
  ['an empty selector', { kind: 'LABELS', nodes: [{ labels: {} }] }, /is no selector/],
  ['a group without an instance', { kind: 'TOPO', nodes: [{ object: 'module' }] }, /is no group/],
  ...[
    '../x',
    '/etc/passwd',
    'a/../../b',
    'a\\b',
    'a\0b',
    './a',
    'a//b',
    '',
    'a/',
    `${'a/'.repeat(9)}b`,
    'x'.repeat(101),
    '\u202ea',
  ].map((path) => [`the path ${JSON.stringify(path)}`, files({ [path]: 'x' }), /is no path below the folder/] as const),
  ['paths that differ by case', files({ 'a.conf': '', 'A.conf': '' }), /by the case of letters only/],
  ['a file below a file', files({ a: '', 'A/b': '' }), /lies in what is a file itself/],
  ['no text in a file', files({ a: 1 }), /want a text/],
  [
    '1,001 files',
    files(Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`f${i}`, '']))),
    /want at most 1000/,
  ],
  ['more than 1 MiB', files({ a: 'x'.repeat(1024 * 1024 + 1) }), /want at most 1048576/],
  ['a version of spaces', { package: { name: 'a', version: ' ' } }, /want a text of/],
  ['another policy', { onVersionChange: 'destroy' }, /want update or replace/],
]
function files(of: object): object {
  return { package: { name: 'mysql', version: '1.1', files: of } }
}

test.each(wrong)('%s is refused with its place, and nothing is written', async (_, over, why) => {
  const body = Array.isArray(over) ? over : { ...base, ...over }
  const answer = await here.put(body, { 'if-none-match': '*' })
  expect([400, 422]).toContain(answer.status)
  expect(answer.text).toMatch(why)
  expect((await here.get()).json()).toMatchObject({ number: null, underWay: null })
})

test('keys that would set a prototype are refused in files, labels and parameters', async () => {
  for (const text of [
    '"package": {"name": "a", "version": "1", "files": {"__proto__": "x"}}',
    '"kind": "LABELS", "nodes": [{"labels": {"__proto__": "x"}}]',
    '"parameters": {"__proto__": {"a": 1}}',
  ]) {
    const whole = JSON.stringify({ ...base, ...(text.includes('"kind"') && { nodes: [] }) }).slice(0, -1)
    const answer = await fetch(`${here.plane.url}/v1/configs/${encodeURIComponent(config)}/targets`, {
      method: 'PUT',
      headers: {
        authorization: `Bearer ${here.plane.admin}`,
        'content-type': 'application/json',
        'if-none-match': '*',
      },
      body: `${whole}, ${text}}`,
    })
    expect([400, 422], await answer.text()).toContain(answer.status)
  }
})
