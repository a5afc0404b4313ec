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

  test('B5: an edit that changes nothing: nobody outside is called, and nothing is written', async () => {
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
})
