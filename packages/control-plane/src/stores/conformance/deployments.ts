/** What every store promises of deployments: numbered, one at a time, moved by the newest coordinator only, the pointer with the last step. */
import assert from 'node:assert/strict'
import { FencedError, type Store } from '../../store.ts'
import { firstState, type DeploymentRecord, type Pointer } from '../../targets/deployment.ts'
import { targetsKept } from '../../targets/deployments.ts'
import type { Targets } from '../../targets/targets.ts'
import { sample } from './samples.ts'

const { at } = sample
const config = 'monitor/mysql'
const subscription = { id: `${config}#1`, installer: 'agents' }
const after: DeploymentRecord['after'] = { config, number: 1, subscription, enabled: true, inspected: false }
const pointer: Pointer = { ...after, status: 'UNKNOWN', at }

const targets: Targets = {
  kind: 'INSTANCE',
  nodes: [{ id: 'h1' }],
  remoteHost: null,
  package: { name: 'mysql', version: '1.1', files: {} },
  parameters: {},
  secrets: [],
  autoInspection: false,
  onVersionChange: 'update',
  installer: 'agents',
}

function deploymentOf(number: number, over: Partial<DeploymentRecord> = {}): DeploymentRecord {
  return {
    config,
    number,
    action: 'create',
    why: 'there is nothing yet',
    targets: null,
    parent: null,
    before: null,
    after,
    by: 'ada',
    message: '',
    createdAt: at,
    endedAt: null,
    state: firstState([{ kind: 'point', on: subscription, of: 'new' }]),
    ...over,
  }
}

function ended(record: DeploymentRecord, phase: 'applied' | 'failed'): DeploymentRecord {
  return { ...record, endedAt: at, state: { ...record.state, phase, step: 1 } }
}

export const deploymentCases: Readonly<Record<string, (store: Store) => Promise<void>>> = {
  'deployments are numbered without gaps, and a config has one at a time': async (store) => {
    const epoch = await store.transaction((tx) => tx.takeOver())
    const add = (number: number) => store.transaction((tx) => tx.deployments.add(deploymentOf(number), epoch))
    await assert.rejects(add(2), RangeError)
    await add(1)
    await assert.rejects(add(2), RangeError)
    await assert.rejects(add(1), RangeError)
    await store.transaction((tx) => tx.deployments.move(ended(deploymentOf(1), 'failed'), epoch))
    await add(2)
    const [numbers, older, open, all] = await store.read((read) => [
      read.deployments.list(config, undefined, 10).map(({ number }) => number),
      read.deployments.list(config, 2, 10).map(({ number }) => number),
      read.deployments.open(config),
      read.deployments.open(),
    ])
    assert.deepEqual([numbers, older], [[2, 1], [1]])
    assert.deepEqual([open, all], [[deploymentOf(2)], [deploymentOf(2)]])
    assert.deepEqual(await store.read((read) => read.deployments.get(config, 2)), deploymentOf(2))
    assert.equal(await store.read((read) => read.deployments.get(config, 3)), undefined)
  },

  'the pointer moves with the end of a deployment that was applied, and with no other': async (store) => {
    const epoch = await store.transaction((tx) => tx.takeOver())
    const found = () => store.read((read) => read.deployments.pointer(config))
    const run = (record: DeploymentRecord, phase: 'applied' | 'failed') =>
      store.transaction((tx) => {
        tx.deployments.add(record, epoch)
        tx.deployments.move({ ...record, state: { ...record.state, begun: true } }, epoch)
        assert.deepEqual(tx.deployments.pointer(config), record.before ?? undefined)
        tx.deployments.move(ended(record, phase), epoch)
      })
    await run(deploymentOf(1), 'failed')
    assert.equal(await found(), undefined)
    await run(deploymentOf(2), 'applied')
    assert.deepEqual(await found(), pointer)
    assert.deepEqual(await store.read((read) => read.deployments.pointers(undefined, 10)), [pointer])
    assert.deepEqual(await store.read((read) => read.deployments.pointers(config, 10)), [])
    await run(deploymentOf(3, { before: pointer, after: { ...after, enabled: false } }), 'applied')
    assert.equal((await found())?.enabled, false)
    await run(deploymentOf(4, { before: { ...pointer, enabled: false }, after: null }), 'applied')
    assert.equal(await found(), undefined)
    await assert.rejects(
      store.transaction((tx) => tx.deployments.move(deploymentOf(4), epoch)),
      RangeError,
    )
  },

  'I10: only the coordinator that took over last writes deployments; of what another wants nothing is there': async (
    store,
  ) => {
    const first = await store.transaction((tx) => tx.takeOver())
    await store.transaction((tx) => tx.deployments.add(deploymentOf(1), first))
    const second = await store.transaction((tx) => tx.takeOver())
    const late = ended(deploymentOf(1), 'applied')
    await assert.rejects(
      store.transaction((tx) => {
        tx.appendAudit({ at, actor: 'a', action: 'late', config: null, detail: {} })
        tx.deployments.move(late, first)
      }),
      FencedError,
    )
    await assert.rejects(
      store.transaction((tx) => tx.deployments.add(deploymentOf(2), first)),
      FencedError,
    )
    assert.equal(await store.read((read) => read.deployments.pointer(config)), undefined)
    assert.equal((await store.read((read) => read.audit(0, 1000))).filter(({ action }) => action === 'late').length, 0)
    await store.transaction((tx) => tx.deployments.move(late, second))
    assert.deepEqual(await store.read((read) => read.deployments.pointer(config)), pointer)
  },

  'how nodes were found is kept with the pointer it was found of, while nothing is under way': async (store) => {
    const epoch = await store.transaction((tx) => tx.takeOver())
    const status = () => store.read((read) => read.deployments.pointer(config)?.status)
    const tell = (number: number) => store.transaction((tx) => tx.deployments.found(config, number, 'WARNING', epoch))
    await store.transaction((tx) => {
      tx.deployments.add(deploymentOf(1), epoch)
      tx.deployments.move(ended(deploymentOf(1), 'applied'), epoch)
    })
    await tell(2)
    assert.equal(await status(), 'UNKNOWN')
    await store.transaction((tx) => tx.deployments.add(deploymentOf(2, { before: pointer }), epoch))
    await tell(1)
    assert.equal(await status(), 'UNKNOWN')
    await store.transaction((tx) => tx.deployments.move(ended(deploymentOf(2, { before: pointer }), 'failed'), epoch))
    await tell(1)
    assert.equal(await status(), 'WARNING')
  },

  'targets are kept of the newest deployments, and of those that hold and did before; the rest stays': async (
    store,
  ) => {
    const epoch = await store.transaction((tx) => tx.takeOver())
    await store.transaction((tx) => {
      const run = (number: number, phase: 'applied' | 'failed', over: Partial<DeploymentRecord> = {}): void => {
        const record = deploymentOf(number, { targets, ...over })
        tx.deployments.add(record, epoch)
        tx.deployments.move(ended(record, phase), epoch)
      }
      run(1, 'failed')
      run(2, 'applied', { after: { ...after, number: 2 } })
      run(3, 'applied', { after: { ...after, number: 3 }, parent: 2 })
      for (let number = 4; number <= targetsKept + 4; number++) run(number, 'failed')
    })
    const kept = await store.read((read) =>
      [1, 2, 3, 4, 5].map((number) => read.deployments.get(config, number)?.targets != null),
    )
    assert.deepEqual(kept, [false, true, true, false, true])
    assert.equal(await store.read((read) => read.deployments.get(config, 4)?.why), deploymentOf(4).why)
  },

  'what a failed transaction did to deployments is undone': async (store) => {
    const epoch = await store.transaction((tx) => tx.takeOver())
    await assert.rejects(
      store.transaction((tx) => {
        tx.deployments.add(deploymentOf(1), epoch)
        tx.deployments.move(ended(deploymentOf(1), 'applied'), epoch)
        throw new Error('no')
      }),
      /no/,
    )
    assert.deepEqual(
      await store.read((read) => [read.deployments.list(config, undefined, 10), read.deployments.pointer(config)]),
      [[], undefined],
    )
  },
}
