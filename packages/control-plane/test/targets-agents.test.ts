/** Targets brought by Midflight's own agents: real engines that run `nodes/…` configs, and their folders on disk. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jsonSchema, start, type Component } from 'midflight'
import { controlPlane, packages, type InstalledPackage } from 'midflight/agent'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { targetsRig, type TargetsRig } from './targets-rig.ts'

let here: TargetsRig
let folder: string
const ending: (() => Promise<void>)[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-packages-'))
  here = await targetsRig()
})
afterEach(async () => {
  for (const end of ending.splice(0)) await end()
  await here.close()
  await rm(folder, { recursive: true, force: true })
})

/** Besides what says that the directory belongs to packages. */
const namesIn = async (directory: string): Promise<string[]> =>
  (await readdir(directory)).filter((name) => name !== '.midflight-packages')

interface Node {
  readonly directory: string
  /** What was started and not stopped. */
  readonly working: Map<string, InstalledPackage>
  readonly repaired: string[]
  close(): Promise<void>
}

async function node(
  id: string,
  labels: Record<string, string>,
  refuses: (version: string) => boolean = () => false,
): Promise<Node> {
  await here.plane.ask('/v1/configs', { method: 'POST', body: { name: `nodes/${id}` } })
  const token = await here.plane.token('agent', `nodes/${id}`)
  const directory = join(folder, id)
  const working = new Map<string, InstalledPackage>()
  const repaired: string[] = []
  const component = packages({
    directory,
    inspectMs: 20,
    start(one) {
      if (refuses(one.version)) throw new Error(`${one.name} ${one.version} does not run here`)
      working.set(one.id, one)
    },
    stop: (one) => void working.delete(one.id),
    onRepair: (_, files) => repaired.push(...files),
  })
  const source = controlPlane({
    url: here.plane.url,
    config: `nodes/${id}`,
    token,
    labels,
    stateDir: join(folder, `${id}-state`),
  })
  const engine = await start({
    schema: jsonSchema<object>({ type: 'object' }),
    sources: [source],
    components: [component as Component],
    bundled: {},
  })
  const close = async (): Promise<void> => await engine.close()
  ending.push(close)
  return { directory, working, repaired, close }
}

const targets = {
  installer: 'agents',
  kind: 'INSTANCE',
  nodes: [{ id: 'h1' }, { ip: '10.0.0.2' }],
  package: { name: 'mysql', version: '1.1', files: { 'etc/mysql.conf': 'port 3306\n' } },
  parameters: { period: 60, password: 'hunter2-of-the-tests' },
  secrets: ['password'],
}

test('installed, updated and uninstalled: the files are on the nodes, and gone', async () => {
  const [one, two] = [await node('h1', { ip: '10.0.0.1' }), await node('h2', { ip: '10.0.0.2' })]
  const first = await here.deployed(targets)
  expect(first).toMatchObject({
    status: 'SUCCESS',
    nodes: [
      { node: 'h1', state: 'success' },
      { node: 'h2', state: 'success' },
    ],
  })
  const [id] = [...one.working.keys()]
  const at = join(one.directory, encodeURIComponent(String(id)))
  expect(await readFile(join(at, 'files/etc/mysql.conf'), 'utf8')).toBe('port 3306\n')
  expect(JSON.parse(await readFile(join(at, 'parameters.json'), 'utf8'))).toEqual(targets.parameters)
  expect([...two.working.values()].map(({ version }) => version)).toEqual(['1.1'])

  await here.deployed({ ...targets, nodes: [{ id: 'h1' }], package: { name: 'mysql', version: '1.2', files: {} } })
  expect([...one.working.values()].map(({ version }) => version)).toEqual(['1.2'])
  expect(await readdir(join(one.directory, encodeURIComponent(String(id))))).toEqual(['parameters.json'])
  expect([...two.working.keys()]).toEqual([])
  expect(await namesIn(two.directory)).toEqual([])

  expect((await here.post('uninstall')).json().detail).toMatch(/stop it before/)
  expect((await here.post('stop')).status).toBe(202)
  await here.settled()
  expect([...one.working.keys()]).toEqual([])
  expect(await namesIn(one.directory)).toHaveLength(1)
  expect((await here.post('uninstall')).status).toBe(202)
  expect(await here.settled()).toMatchObject({ targets: null, number: null, last: { phase: 'applied' } })
  expect(await namesIn(one.directory)).toEqual([])
})

test('a node that is away holds up nobody: it is pending, and why is said; it gets what it is to have when it comes back', async () => {
  await here.close()
  here = await targetsRig({ upMs: 600_000 }, { limits: { hub: { heartbeatMs: 500, leaseMs: 2_000 } } })
  await node('h1', { ip: '10.0.0.1' })
  const two = await node('h2', { ip: '10.0.0.2' })
  await here.deployed(targets)
  await two.close()
  const stateOf = async (name: string): Promise<object> =>
    (await here.get('/status')).json().nodes.find((one: { node: string }) => one.node === name)
  await expect.poll(() => stateOf('h2'), { timeout: 20_000 }).toMatchObject({ state: 'pending', detail: 'it is away' })
  const newer = { ...targets, package: { name: 'mysql', version: '1.2', files: {} } }
  // Who was away stays in the record of the deployment, whatever its later steps came to.
  expect((await here.deployed(newer)).last).toMatchObject({ phase: 'applied', note: 'up: h2 pending (it is away)' })
  expect([await stateOf('h1'), await stateOf('h2')]).toMatchObject([{ state: 'success' }, { state: 'pending' }])
  const back = await node('h2', { ip: '10.0.0.2' })
  await expect.poll(() => stateOf('h2'), { timeout: 20_000 }).toMatchObject({ state: 'success' })
  expect([...back.working.values()].map(({ version }) => version)).toEqual(['1.2'])
})

test('a node that cannot is said to be failed, with its reason and no secret; retry tries it again', async () => {
  let isBroken = true
  await node('h1', {}, () => isBroken)
  await node('h2', { ip: '10.0.0.2' })
  const found = await here.deployed(targets)
  expect(found.status).toBe('WARNING')
  expect(found.nodes[0]).toMatchObject({
    node: 'h1',
    state: 'failed',
    detail: expect.stringContaining('does not run here'),
  })
  expect(JSON.stringify(found)).not.toContain('hunter2')
  isBroken = false
  await here.post('retry')
  const again = await here.settled()
  expect(again.status, JSON.stringify(again.nodes)).toBe('SUCCESS')
})

test('auto-inspection repairs on the node what was changed there; off it does not', async () => {
  const one = await node('h1', {})
  await here.deployed({ ...targets, nodes: [{ id: 'h1' }], autoInspection: true })
  while ((await here.get('/status')).json().nodes[0].state !== 'success')
    await new Promise((resolve) => setTimeout(resolve, 5))
  const [installed] = [...one.working.values()]
  const file = join(String(installed?.folder), 'files/etc/mysql.conf')
  await writeFile(file, 'port 1\n')
  while (one.repaired.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await readFile(file, 'utf8')).toBe('port 3306\n')
  await here.deployed({ ...targets, nodes: [{ id: 'h1' }], autoInspection: false })
  expect((await here.get()).json().inspected).toBe(false)
})

test('B1: nodes that a plan says are unchanged get no release, and one that lost it is no node of it any more', async () => {
  await node('h1', {})
  await node('h2', { ip: '10.0.0.2' })
  const three = { ...targets, nodes: [...targets.nodes, { id: 'h3' }] }
  await here.deployed(targets)
  const headOf = async (name: string) => (await here.plane.ask(`/v1/configs/nodes%2F${name}`)).json().head.number
  const before = [await headOf('h1'), await headOf('h2')]
  await node('h3', {})
  const more = await here.deployed(three)
  expect(more).toMatchObject({ status: 'SUCCESS', nodes: [{}, {}, { node: 'h3', state: 'success' }] })
  expect([await headOf('h1'), await headOf('h2')]).toEqual(before)
  const less = await here.deployed({ ...targets, nodes: [{ id: 'h1' }] })
  expect(less).toMatchObject({ status: 'SUCCESS', nodes: [{ node: 'h1', state: 'success' }] })
  expect(less.last.note).toBeNull()
})

test('an address that no node has is absent, and not a success', async () => {
  await here.close()
  here = await targetsRig({ upMs: 200 })
  await node('h1', {})
  let found = await here.deployed({ ...targets, nodes: [{ id: 'h1' }, { ip: '10.9.9.9' }] })
  while (found.status === 'UNKNOWN') found = (await here.get('/status')).json()
  expect(found.status).toBe('WARNING')
  expect(found.nodes).toContainEqual({
    node: '10.9.9.9@0',
    state: 'absent',
    detail: 'no node is known by this address',
  })
  // Known by its address since, it gets it.
  await node('h9', { ip: '10.9.9.9' })
  const isKnown = async (): Promise<boolean> =>
    (await here.get('/status')).json().nodes.some((one: { node: string }) => one.node === 'h9')
  while (!(await isKnown())) await new Promise((resolve) => setTimeout(resolve, 10))
  await here.post('retry')
  await here.settled()
  while ((await here.get('/status')).json().status !== 'SUCCESS')
    await new Promise((resolve) => setTimeout(resolve, 10))
})

test('one package that does not start leaves another on the same node a success, and is in the way by name of what comes behind it', async () => {
  const one = await node('h1', {}, (version) => version === 'bad')
  await here.deployed({ ...targets, nodes: [{ id: 'h1' }] })
  const other = '/v1/configs/shop%2Fagent/targets'
  await here.plane.ask('/v1/configs', { method: 'POST', body: { name: 'shop/agent' } })
  const bad = { ...targets, nodes: [{ id: 'h1' }], package: { name: 'shop', version: 'bad' } }
  await here.plane.ask(other, { method: 'PUT', body: bad, headers: { 'if-none-match': '*' } })
  for (;;) {
    const found = (await here.plane.ask(`${other}/status`)).json()
    if (found.underWay !== null) continue
    expect(found.status).toBe('FAILED')
    expect(found.nodes[0].detail).toMatch(/^package shop\/agent#1 does not start: shop bad does not run here/)
    break
  }
  const first = (await here.get('/status')).json()
  expect(first).toMatchObject({ status: 'SUCCESS', nodes: [{ node: 'h1', state: 'success' }] })
  const behind = await here.deployed({ ...targets, nodes: [{ id: 'h1' }], parameters: { period: 1 } })
  expect(behind.nodes).toEqual([
    { node: 'h1', state: 'failed', detail: 'package shop/agent#1 comes with it, and is not taken by the node' },
  ])
  expect([...one.working.values()].map(({ name }) => name)).toEqual(['mysql'])
})

test('a node whose config was made by hand tells no parameters by its diffs', async () => {
  await node('h1', {})
  await here.deployed({ ...targets, nodes: [{ id: 'h1' }] })
  await here.deployed({
    ...targets,
    nodes: [{ id: 'h1' }],
    parameters: { ...targets.parameters, password: 'hunter3-of-the-tests' },
  })
  const diff = await here.plane.ask('/v1/configs/nodes%2Fh1/releases/1/diff/2')
  expect([diff.status, diff.text]).toEqual([200, expect.not.stringMatching(/hunter/)])
})
