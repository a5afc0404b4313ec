/** Targets through the API, against a foreign node-management API that is a peer process. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { at } from './http-rig.ts'
import { base, config, targetsRig, type TargetsRig } from './targets-rig.ts'

let here: TargetsRig
beforeEach(async () => {
  here = await targetsRig()
})
afterEach(async () => await here.close())

const keys = (nodes: readonly { key: string }[]): string[] => nodes.map(({ key }) => key)
// oxlint-disable-next-line typescript/no-explicit-any -- an answer
function nodesOf(plan: any): Record<string, string[]> {
  const { added, updated, removed, unchanged } = plan.diff.nodes
  return { added: keys(added), updated: keys(updated), removed: keys(removed), unchanged: keys(unchanged) }
}

describe('against a foreign API (a peer process that speaks the protocol of docs/targets.md)', () => {
  test('B1: other nodes: one gains it, one loses it, two keep it as it is; the same subscription is updated', async () => {
    const before = await here.deployed(base)
    expect(before).toMatchObject({
      status: 'SUCCESS',
      enabled: true,
      number: 1,
      last: { phase: 'applied', action: 'create' },
    })
    await here.newCalls()
    const to = { ...base, nodes: [{ bk_host_id: 2 }, { bk_host_id: 3 }, { bk_host_id: 4 }] }
    const { plan } = (await here.put(to)).json()
    expect(plan.operation).toMatchObject({ kind: 'update' })
    expect(nodesOf(plan)).toEqual({ added: ['4'], updated: [], removed: ['1'], unchanged: ['2', '3'] })
    const after = await here.settled()
    expect(after.subscription).toBe(before.subscription)
    expect(await here.newCalls()).toEqual([`update ${before.subscription}`])
    expect((await here.peer.held())[before.subscription]?.nodes).toEqual(['2', '3', '4'])
  })

  test('B2: parameters alone reach the outside: every node is updated', async () => {
    const { subscription } = await here.deployed(base)
    const { plan } = (await here.put({ ...base, parameters: { period: 30 } })).json()
    expect(plan.operation).toMatchObject({ kind: 'update', why: 'the parameters changed' })
    expect(nodesOf(plan)).toEqual({ added: [], updated: ['1', '2', '3'], removed: [], unchanged: [] })
    expect(plan.diff.parameters).toEqual({ before: { period: 60 }, after: { period: 30 }, changed: true })
    await here.settled()
    expect((await here.peer.held())[subscription]?.parameters).toEqual({ period: 30 })
  })

  test('B3: another remote host: the new is up before the old is touched, in exactly this order', async () => {
    const from = {
      ...base,
      nodes: [{ bk_host_id: 1 }, { bk_host_id: 2 }],
      remoteHost: { ip: '10.0.1.1' },
      autoInspection: true,
    }
    await here.deployed(from)
    await here.newCalls()
    const to = { ...from, nodes: [{ bk_host_id: 2 }, { bk_host_id: 3 }], remoteHost: { ip: '10.0.1.2' } }
    const { plan } = (await here.put(to)).json()
    expect(plan.operation.kind).toBe('replace')
    expect(nodesOf(plan)).toEqual({ added: ['2', '3'], updated: [], removed: ['1', '2'], unchanged: [] })
    const after = await here.settled()
    const [old, fresh] = [`${config}#1`, `${config}#2`]
    expect(await here.newCalls()).toEqual([
      `create ${fresh}`,
      `disable ${old}`,
      `uninstall ${old}`,
      `delete ${old}`,
      `inspection ${fresh} on`,
    ])
    expect(after).toMatchObject({ subscription: fresh, inspected: true })
    expect(after.last.done.map(({ step }: { step: string }) => step)).toEqual([
      'create new',
      'up new',
      'disable old',
      'uninstall old',
      'delete old',
      'auto-inspection on',
      'pointer',
    ])
  })

  test('B4: another kind of targets: everything is swapped', async () => {
    await here.deployed(base)
    const to = { ...base, kind: 'TOPO', nodes: [{ bk_obj_id: 'module', bk_inst_id: 33 }] }
    const { plan } = (await here.put(to)).json()
    expect(nodesOf(plan)).toEqual({ added: ['module/33'], updated: [], removed: ['1', '2', '3'], unchanged: [] })
    expect(plan.operation.kind).toBe('update')
    expect(plan.diff.targets.changed).toBe(true)
    await here.settled()
  })

  test('B5: an edit that changes nothing (prior-art B3): nobody outside is called, and nothing is written', async () => {
    await here.deployed(base)
    await here.newCalls()
    const same = {
      ...base,
      nodes: [{ id: '2' }, { id: 1 }, { bk_host_id: 3 }, { id: '3' }],
    }
    const answer = await here.put(same)
    expect(answer.status).toBe(200)
    expect(answer.json()).toMatchObject({ deployment: null, plan: { operation: { kind: 'nothing', reaches: false } } })
    expect(await here.newCalls()).toEqual([])
    const { items } = (await here.plane.ask(at(config, '/deployments'))).json()
    expect(items).toHaveLength(1)
  })

  test('an answer that was lost, and errors of the other side: tried again, nothing is made twice, no secret is told', async () => {
    const secret = { ...base, parameters: { period: 60, password: 'hunter2-of-the-peer' }, secrets: ['password'] }
    await here.peer.behave({ status: 503, times: 3 })
    await here.deployed(secret)
    await here.peer.behave({ status: 500, times: 1, done: true })
    await here.deployed({ ...secret, parameters: { period: 30 } })
    expect(await here.newCalls()).toEqual([`create ${config}#1`, `inspection ${config}#1 off`, `update ${config}#1`])
    expect((await here.peer.held())[`${config}#1`]?.parameters).toEqual({ period: 30, password: 'hunter2-of-the-peer' })
    await here.peer.behave({ status: 422, times: 1 })
    const failed = await here.deployed({ ...secret, parameters: { period: 10 } })
    expect(failed.last).toMatchObject({ phase: 'failed', failure: expect.stringContaining('answers 422') })
    expect(failed.last.failure).toContain('‹secret›')
    expect((await here.peer.held())[`${config}#1`]?.parameters).toMatchObject({ period: 30 })
    const told = [
      (await here.get()).text,
      (await here.plane.ask(at(config, '/deployments/1'))).text,
      (await here.plane.ask(at(config, '/deployments'))).text,
      (await here.post('plan', { ...secret, parameters: { period: 1 } })).text,
      (await here.plane.ask('/v1/audit')).text,
      (await here.plane.ask('/v1/audit')).text,
      JSON.stringify(failed),
      here.plane.log(),
    ]
    expect(told.join('\n')).not.toContain('hunter2')
  })

  test('prior-art B4: a new that does not come up is taken away again, and the old was never touched', async () => {
    const from = { ...base, remoteHost: { ip: '10.0.1.1' } }
    await here.deployed(from)
    await here.newCalls()
    await here.peer.behave({ nodes: { 2: { state: 'failed', detail: 'no room' } } })
    const after = await here.deployed({ ...from, remoteHost: { ip: '10.0.1.2' } })
    expect(after).toMatchObject({ number: 1, subscription: `${config}#1`, enabled: true })
    expect(after.last).toMatchObject({ phase: 'failed', failure: 'up: 2 failed (no room)' })
    const fresh = `${config}#2`
    expect(await here.newCalls()).toEqual([`create ${fresh}`, `uninstall ${fresh}`, `delete ${fresh}`])
    expect((await here.peer.calls()).subscriptions).toEqual([`${config}#1`])
  })

  test('prior-art B5: while one is under way another is refused; revoked, what was there before is there', async () => {
    await here.deployed(base)
    await here.peer.behave({ nodes: { 4: { state: 'pending' } } })
    expect((await here.put({ ...base, nodes: [...base.nodes, { id: 4 }] })).status).toBe(202)
    const refused = await here.put({ ...base, parameters: { period: 1 } })
    expect([refused.status, refused.json().code]).toEqual([409, 'state'])
    expect(refused.json().detail).toMatch(/deployment 2 of monitor\/mysql \(update\) is under way/)
    expect((await here.post('start')).status).toBe(409)
    expect((await here.post('revoke')).status).toBe(202)
    const after = await here.settled()
    expect(after).toMatchObject({ number: 1, last: { phase: 'revoked', number: 2 } })
    expect((await here.peer.held())[`${config}#1`]?.nodes).toEqual(['1', '2', '3'])
    expect((await here.post('revoke')).json().detail).toMatch(/no deployment under way/)
  })

  test('prior-art B5: stop, start, uninstall only when stopped; retry goes to the failed and the pending', async () => {
    await here.deployed(base)
    expect((await here.post('uninstall')).json()).toMatchObject({
      code: 'state',
      detail: `${config} is started; stop it before it is uninstalled`,
    })
    await here.post('stop')
    expect(await here.settled()).toMatchObject({ enabled: false })
    await here.post('start')
    await here.settled()
    await here.peer.behave({ nodes: { 2: { state: 'failed' }, 3: { state: 'pending' } } })
    await here.newCalls()
    await here.post('retry')
    while ((await here.peer.calls()).calls.length < 5) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await here.newCalls()).toEqual([`update ${config}#1 only 2,3`])
    await here.peer.behave({ nodes: { 2: { state: 'failed' } } })
    expect(await here.settled()).toMatchObject({
      status: 'WARNING',
      nodes: [{ node: '1' }, { node: '2', state: 'failed' }, { node: '3' }],
    })
    await here.peer.behave({})
    await here.post('stop')
    await here.settled()
    await here.post('uninstall')
    expect(await here.settled()).toMatchObject({ number: null, targets: null, subscription: null })
    expect((await here.peer.calls()).subscriptions).toEqual([])
    expect((await here.post('start')).status).toBe(409)
  })

  test('prior-art B8: rollback goes to the parent or to one that is named, and only to one that held', async () => {
    await here.deployed(base)
    await here.deployed({ ...base, parameters: { period: 30 } })
    await here.peer.behave({ status: 422, times: 1 })
    await here.deployed({ ...base, parameters: { period: 10 } })
    const never = await here.post('rollback', { to: 3 })
    expect([never.status, never.json().code]).toEqual([409, 'not-applied'])
    expect((await here.post('rollback', { to: 9 })).status).toBe(404)
    const planned = await here.post('rollback/plan')
    expect([planned.status, planned.json()]).toMatchObject([
      200,
      { operation: { kind: 'update' }, diff: { parameters: { before: { period: 30 }, after: { period: 60 } } } },
    ])
    expect((await here.post('rollback/plan', { to: 3 })).json().code).toBe('not-applied')
    expect((await here.get('/status')).json()).toMatchObject({ number: 2, underWay: null })
    expect((await here.post('rollback')).json()).toMatchObject({
      deployment: { number: 4, rollbackOf: 1, action: 'update' },
    })
    expect(await here.settled()).toMatchObject({ number: 4, targets: { parameters: { period: 60 } } })
    expect((await here.post('rollback', { to: 4 })).json()).toMatchObject({ deployment: null })
    expect((await here.post('rollback', { to: 2, message: 'it was right' })).status).toBe(202)
    expect(await here.settled()).toMatchObject({
      number: 5,
      targets: { parameters: { period: 30 } },
      last: { message: 'it was right' },
    })
  })

  test('prior-art B1: who has not seen what holds changes nothing; who may only read, neither', async () => {
    const first = await here.plane.ask(at(config, '/targets'), { method: 'PUT', body: base })
    expect(first.status).toBe(428)
    expect((await here.put(base, { 'if-none-match': '*' })).status).toBe(202)
    await here.settled()
    expect((await here.put({ ...base, nodes: [] }, { 'if-none-match': '*' })).json().code).toBe('conflict')
    expect((await here.put({ ...base, nodes: [] }, { 'if-match': '"7"' })).status).toBe(412)
    const token = await here.plane.token('viewer', 'monitor')
    const reader = { token, headers: { 'if-match': '"1"' } }
    expect((await here.plane.ask(at(config, '/targets'), { method: 'PUT', body: base, ...reader })).status).toBe(403)
    expect((await here.plane.ask(at(config, '/targets/stop'), { method: 'POST', body: {}, token })).status).toBe(403)
    expect((await here.plane.ask(at(config, '/targets/plan'), { method: 'POST', body: base, token })).status).toBe(200)
    const publisher = await here.plane.token('publisher', 'monitor')
    const toAgents = { ...base, installer: 'agents' }
    const asked = { method: 'PUT', token: publisher, headers: { 'if-match': '"1"' } }
    expect((await here.plane.ask(at(config, '/targets'), { ...asked, body: toAgents })).json()).toMatchObject({
      code: 'denied',
      detail: expect.stringMatching(
        /nodes\/…, which this token may not publish, and monitor\/mysql is not among those/,
      ),
    })
    expect((await here.plane.ask(at(config, '/targets'), { ...asked, body: base })).status).toBe(200)
    const elsewhere = await here.plane.token('publisher', 'shop')
    expect((await here.plane.ask(at(config, '/targets'), { token: elsewhere })).status).toBe(404)
  })

  test('the plan of a publish has what its targets would mean; wrong ones are told with their places', async () => {
    const asked = { content: { a: 1 }, targets: base }
    const plan = await here.plane.ask(at(config, '/plan'), { method: 'POST', body: asked })
    expect(plan.json().targets).toMatchObject({ operation: { kind: 'create' } })
    expect(nodesOf(plan.json().targets).added).toEqual(['1', '2', '3'])
    const wrong = await here.post('plan', { ...base, nodes: [{ bk_host_id: {} }] })
    expect(wrong.json()).toMatchObject({ status: 422, issues: [{ path: 'nodes.0.bk_host_id' }] })
    const nobody = await here.post('plan', { ...base, installer: 'nobody' })
    expect(nobody.json().detail).toMatch(
      /the installer "nobody" is not configured for monitor\/mysql; there is agents, peer/,
    )
    expect(await here.newCalls()).toEqual([])
  })
})

test('auto-inspection puts right what has drifted on a node of a foreign API (a peer process), and leaves it off alone', async () => {
  const looking = await targetsRig({ inspectMs: 20 })
  try {
    await looking.deployed({ ...base, autoInspection: true })
    await looking.newCalls()
    await looking.peer.behave({ nodes: { 2: { state: 'absent' } } })
    while ((await looking.peer.calls()).calls.length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    expect((await looking.newCalls())[0]).toBe(`update ${config}#1 only 2`)
    await looking.peer.behave({})
    await looking.deployed({ ...base, autoInspection: false })
    await looking.newCalls()
    await looking.peer.behave({ nodes: { 2: { state: 'absent' } } })
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await looking.newCalls()).toEqual([])
  } finally {
    await looking.close()
  }
})
