/** Targets and deployments by the command line, against a real control plane and a node-management API that is a peer process. */
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'
import { hasScript, onTerminal, plane, type Plane } from './fleet-rig.ts'
import { folder } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

const api = fileURLToPath(new URL('../../control-plane/test/programs/node-api.ts', import.meta.url))
const config = 'monitor/mysql'

interface Here extends Plane {
  /** Makes the peer answer so. */
  behave(how: object): Promise<void>
  targets(text: string): Promise<void>
  /** What the peer was told. */
  calls(): Promise<{ calls: string[]; subscriptions: string[] }>
}

async function here(): Promise<Here> {
  const child = spawn(process.execPath, [api, 'a-token'], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const port = await new Promise<string>((resolve) =>
    child.stdout.once('data', (text: Buffer) => resolve(String(text).trim())),
  )
  const url = `http://127.0.0.1:${port}`
  const cwd = await folder({
    'peer.token': 'a-token\n',
  })
  await writeFile(
    join(cwd, 'installers.json'),
    JSON.stringify({ fleet: { url, tokenFile: join(cwd, 'peer.token'), configs: ['monitor'] } }),
  )
  const to = await plane({ cwd, more: ['--installers', 'installers.json'] })
  expect((await to.run('config', 'create', config)).code).toBe(0)
  return {
    ...to,
    behave: async (how) => void (await fetch(`${url}/behave`, { method: 'POST', body: JSON.stringify(how) })),
    calls: async () => (await (await fetch(`${url}/calls`)).json()) as { calls: string[]; subscriptions: string[] },
    targets: (text) => writeFile(join(cwd, 'targets.yaml'), text),
  }
}

const base = `kind: INSTANCE
nodes: [{ bk_host_id: 1 }, { bk_host_id: 2 }, { ip: 10.0.0.3 }]
package: { name: mysql, version: '1.1' }
parameters: { period: 60, password: hunter2-of-the-cli }
secrets: [password]
installer: fleet
`

test('B1, B3, B5: targets are planned as a table of nodes, set, shown without secrets, and set again is nothing', async () => {
  const to = await here()
  expect((await to.run('targets', 'show', config)).out).toBe('monitor/mysql has no targets\n')
  await to.targets(base)
  const planned = await to.run('targets', 'plan', config, 'targets.yaml')
  const table = `monitor/mysql: create, there is nothing yet
  version      1.1
  parameters   {"period":60,"password":"‹secret›"}
  kind         INSTANCE

           node        address     by
  + added  1
  + added  2
  + added  10.0.0.3@0  10.0.0.3@0

3 added
`
  expect([planned.code, planned.out]).toEqual([2, table])
  const done = await to.run('targets', 'set', '-y', config, 'targets.yaml', '-m', 'first')
  expect([done.code, done.err]).toEqual([0, ''])
  expect(done.out).toContain(
    '● monitor/mysql SUCCESS, targets of deployment 1, started\n✔ monitor/mysql deployment 1: create, applied (by admin): first\n  ✔ create new\n  ✔ up new\n',
  )
  const again = await to.run('targets', 'set', '-y', config, 'targets.yaml', '--json')
  expect([again.code, again.json()]).toMatchObject([0, { deployment: null, plan: { operation: { kind: 'nothing' } } }])
  const shown = await to.run('targets', 'show', config)
  expect(shown.out).toContain('"password": "‹secret›"')
  await to.targets(
    base.replace('bk_host_id: 1', 'bk_host_id: 4').replace('password: hunter2-of-the-cli', 'password: ‹secret›'),
  )
  const other = await to.run('targets', 'plan', config, 'targets.yaml')
  expect(other.out).toMatch(
    /update, the targets changed\n\n.*\n {2}\+ added .* 4\n {2}- removed .* 1\n {2}= unchanged .* 2\n/,
  )
  await to.targets(`${base}remoteHost: { ip: 10.0.1.2 }\n`)
  expect((await to.run('targets', 'plan', config, 'targets.yaml')).out).toMatch(
    /replace, the remote host is another\n {2}remote host {2}10\.0\.1\.2@0\n/,
  )
  expect([planned, done, again, shown, other].map(({ out, err }) => out + err).join()).not.toContain('hunter2')
})

test('deploy: status, retry, stop, start, uninstall, revoke and rollback, with their exit statuses', async () => {
  const to = await here()
  await to.targets(base)
  await to.run('targets', 'set', '-y', config, 'targets.yaml')
  await to.behave({ nodes: { 2: { state: 'failed', detail: 'no room' } } })
  await to.targets(base.replace('period: 60', 'period: 30'))
  const set = await to.run('targets', 'set', '-y', config, 'targets.yaml')
  expect([set.code, set.out]).toEqual([
    1,
    expect.stringMatching(/WARNING[^]* {2}node +state +detail\n {2}2 +failed +no room\n/),
  ])
  expect((await to.run('deploy', 'status', config)).code).toBe(1)
  await to.behave({})
  const retried = await to.run('deploy', 'retry', '-y', config, '-m', 'room was made')
  expect([retried.code, retried.out]).toEqual([
    0,
    expect.stringContaining('deployment 3: retry, applied (by admin): room was made'),
  ])
  const refused = await to.run('deploy', 'uninstall', '-y', config)
  expect([refused.code, refused.err]).toEqual([
    1,
    expect.stringContaining('is started; stop it before it is uninstalled'),
  ])
  await to.behave({ nodes: { 2: { state: 'pending' } } })
  await to.targets(base)
  expect((await to.run('targets', 'set', '-y', config, 'targets.yaml', '--no-wait')).code).toBe(2)
  expect((await to.run('deploy', 'status', config, '--json')).json()).toMatchObject({ underWay: { number: 4 } })
  expect((await to.run('deploy', 'status', config)).code).toBe(2)
  await to.behave({})
  const back = await to.run('deploy', 'status', config, '--watch')
  expect(back.code).toBe(0)
  const rolled = await to.run('deploy', 'rollback', '-y', config, '--to', '2')
  expect([rolled.code, rolled.out]).toEqual([0, expect.stringContaining('targets of deployment 5')])
  expect((await to.run('deploy', 'rollback', '-y', config, '--to', '3')).err).toContain(
    'has no deployment 3 that brought targets',
  )
  expect((await to.run('deploy', 'stop', '-y', config)).code).toBe(0)
  expect((await to.run('deploy', 'start', '-y', config)).code).toBe(0)
  expect((await to.run('deploy', 'revoke', '-y', config)).err).toContain('has no deployment under way')
  await to.run('deploy', 'stop', '-y', config)
  const gone = await to.run('deploy', 'uninstall', '-y', config)
  expect([gone.code, gone.out]).toEqual([
    0,
    expect.stringMatching(/- removed  2[^]*3 removed\n\n○ monitor\/mysql has nothing on any node\n/),
  ])
})

test('what changes a fleet shows what it means and asks; without a terminal it wants --yes, and nothing is begun', async () => {
  const to = await here()
  await to.targets(base)
  for (const args of [
    ['targets', 'set', config, 'targets.yaml'],
    ...['retry', 'stop', 'start', 'uninstall', 'revoke', 'rollback'].map((name) => ['deploy', name, config]),
  ]) {
    const blind = await to.run(...args)
    expect([blind.code, blind.out, blind.err]).toEqual([1, '', expect.stringContaining('want --yes')])
  }
  expect((await to.calls()).calls.filter((call) => call.startsWith('create'))).toEqual([])
  expect((await to.run('deploy', 'status', config, '--json')).json()).toMatchObject({ last: null })
})

test.skipIf(!hasScript)(
  `on a terminal "n" changes nothing, and "y" does what was shown${hasScript ? '' : ' (skipped: script is not here)'}`,
  async () => {
    const to = await here()
    await to.targets(base)
    const set = (answer: string) => onTerminal(to, answer, 'targets', 'set', config, 'targets.yaml')
    const [no, refused] = await set('n')
    expect([no, refused]).toEqual([
      1,
      expect.stringMatching(/\+ added {2}1[^]*create it on its nodes\?[^]*nothing was changed/),
    ])
    expect((await to.calls()).subscriptions).toEqual([])
    expect(await set('y')).toEqual([0, expect.stringContaining('SUCCESS')])
    await to.run('deploy', 'stop', config, '-y')
    const uninstall = (answer: string) => onTerminal(to, answer, 'deploy', 'uninstall', config)
    const [kept, shown] = await uninstall('n')
    expect([kept, shown]).toEqual([
      1,
      expect.stringMatching(/uninstall, take it off its nodes[^]*- removed {2}1[^]*3 removed[^]*\?/),
    ])
    expect((await to.calls()).subscriptions).toHaveLength(1)
    expect(await uninstall('y')).toEqual([0, expect.stringContaining('has nothing on any node')])
    const [stays, back] = await onTerminal(to, 'n', 'deploy', 'rollback', config, '--to', '1')
    expect([stays, back]).toEqual([
      1,
      expect.stringMatching(/create, there is nothing yet[^]*\+ added {2}2[^]*roll back/),
    ])
    expect((await to.calls()).subscriptions).toEqual([])
  },
)

test('what is wrong is said with its place; a file of installers that is none is refused at the start', async () => {
  const to = await here()
  await to.targets(base.replace('10.0.0.3', '10.0.0.300'))
  const wrong = await to.run('targets', 'plan', config, 'targets.yaml')
  expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('nodes.2.ip is "10.0.0.300"; want an address')])
  await to.targets(base.replace('installer: fleet', 'installer: other'))
  expect((await to.run('targets', 'plan', config, 'targets.yaml')).err).toContain(
    'the installer "other" is not configured for monitor/mysql',
  )
  await writeFile(join(to.cwd, 'bad.json'), '{"fleet": {"uri": "x"}}')
  const served = await to.run('serve', '--data', 'more', '--installers', 'bad.json')
  expect([served.code, served.err]).toEqual([1, expect.stringContaining('has a "fleet" that is no installer')])
})

test('F2, F63: killed in the middle of a replace and started again, it goes on: the new is there, the old is gone', async () => {
  const to = await here()
  await to.targets(`${base}remoteHost: { ip: 10.0.1.1 }\n`)
  expect((await to.run('targets', 'set', '-y', config, 'targets.yaml')).code).toBe(0)
  await to.behave({ nodes: { 2: { state: 'pending' } } })
  await to.targets(`${base}remoteHost: { ip: 10.0.1.2 }\n`)
  expect((await to.run('targets', 'set', '-y', config, 'targets.yaml', '--no-wait')).code).toBe(2)
  await vi.waitFor(async () => expect((await to.calls()).calls).toContain(`create ${config}#2`), 10_000)
  await to.stop('SIGKILL')
  await to.behave({})
  const again = await plane({ cwd: to.cwd, more: ['--installers', 'installers.json'] })
  const ended = await again.run('deploy', 'status', config, '--watch', '--json')
  expect([ended.code, ended.json()]).toMatchObject([0, { number: 2, last: { phase: 'applied', action: 'replace' } }])
  const { calls, subscriptions } = await to.calls()
  expect(subscriptions).toEqual([`${config}#2`])
  expect(calls.filter((call) => call.startsWith('create'))).toEqual([`create ${config}#1`, `create ${config}#2`])
})
