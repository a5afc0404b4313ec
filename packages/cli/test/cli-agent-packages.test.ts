/** Packages brought to real agents by the command line alone: no code of the operator but a command that starts and stops. */
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { agentToken, plane, type Plane } from './fleet-rig.ts'
import { finished, lines, spawned } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

const config = 'monitor/mysql'
const canary = 'canary-hunter2'
const targets = (version: string, over = ''): string => `kind: INSTANCE
nodes: [{ id: h1 }, { ip: 10.0.0.2 }]
package: { name: mysql, version: '${version}', files: { etc/mysql.conf: "port 3306\\n" } }
parameters: { period: 60, login: { user: monitor, password: ${canary} } }
secrets: [login.password]
${over}`

/** Says what it was asked, and its environment; refuses what has the version `bad`, quoting what it read. */
const hook = `#!/bin/sh
echo "$1 $2 $3" >> "$(dirname "$0")/$(basename "$(dirname "$(dirname "$4")")").log"
env > "$(dirname "$0")/env.log"
test "$1 $3" != "start bad" || { cat "$4/parameters.json" | tr -d '\\n'; exit 3; }
sleep 300 &
`

interface Node {
  readonly pid: number
  stop(signal: NodeJS.Signals): Promise<unknown>
}

async function here(): Promise<
  Plane & { node(id: string, ...more: string[]): Promise<Node>; log(id: string): Promise<string[]> }
> {
  const to = await plane()
  const token = await agentToken(to)
  await writeFile(join(to.cwd, 'hook.sh'), hook)
  await chmod(join(to.cwd, 'hook.sh'), 0o755)
  for (const name of [config, 'nodes/h1', 'nodes/h2']) expect((await to.run('config', 'create', name)).code).toBe(0)
  return {
    ...to,
    async node(id, ...more) {
      const words = [
        'agent',
        `nodes/${id}`,
        '--packages',
        `${id}/packages`,
        '--package-command',
        './hook.sh',
        '--json',
        ...more,
      ]
      const child = spawned(words, { cwd: to.cwd, env: { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: token } })
      const ran = finished(child)
      onTestFinished(async () => {
        child.kill('SIGKILL')
        await ran
      })
      await lines(child).until((line) => line.includes('committed'))
      return { pid: child.pid ?? 0, stop: async (signal) => (child.kill(signal), await ran) }
    },
    log: async (id) => (await readFile(join(to.cwd, `${id}.log`), 'utf8').catch(() => '')).trim().split('\n'),
  }
}

test('packages come to nodes without code of the operator: written, started, changed, stopped, taken away', async () => {
  const to = await here()
  await to.node('h1')
  await to.node('h2', '--label', 'ip=10.0.0.2')
  await writeFile(join(to.cwd, 't.yaml'), targets('1.1'))
  const set = await to.run('targets', 'set', '-y', config, 't.yaml')
  expect([set.code, set.err, set.out]).toEqual([0, '', expect.stringContaining('SUCCESS')])
  const folder = join(to.cwd, 'h2/packages', encodeURIComponent(`${config}#1`))
  expect(await readFile(join(folder, 'files/etc/mysql.conf'), 'utf8')).toBe('port 3306\n')
  expect(JSON.parse(await readFile(join(folder, 'parameters.json'), 'utf8'))).toMatchObject({
    login: { password: canary },
  })
  expect(await to.log('h1')).toEqual(['start mysql 1.1'])
  expect(await readFile(join(to.cwd, 'env.log'), 'utf8')).not.toContain('MIDFLIGHT')
  await writeFile(join(to.cwd, 't.yaml'), targets('1.2').replace('{ id: h1 }, ', ''))
  const less = await to.run('targets', 'set', '-y', config, 't.yaml')
  expect([less.code, less.out]).toEqual([0, expect.stringMatching(/~ updated +h2[^]*- removed +h1[^]*SUCCESS/)])
  expect(await to.log('h1')).toEqual(['start mysql 1.1', 'stop mysql 1.1'])
  expect(await to.log('h2')).toEqual(['start mysql 1.1', 'stop mysql 1.1', 'start mysql 1.2'])
  expect(await readdir(join(to.cwd, 'h1/packages'))).toEqual(['.midflight-packages'])
  expect((await to.run('deploy', 'stop', '-y', config)).code).toBe(0)
  expect((await to.run('deploy', 'uninstall', '-y', config)).code).toBe(0)
  expect(await readdir(join(to.cwd, 'h2/packages'))).toEqual(['.midflight-packages'])
})

test('what its command refuses is put back, said with its name, and no secret of it is told anywhere', async () => {
  const to = await here()
  await to.node('h1')
  await to.node('h2', '--label', 'ip=10.0.0.2')
  await writeFile(join(to.cwd, 't.yaml'), targets('1.1'))
  await to.run('targets', 'set', '-y', config, 't.yaml')
  // Another config brings what does not start to the same node.
  expect((await to.run('config', 'create', 'shop/agent')).code).toBe(0)
  await writeFile(join(to.cwd, 'other.yaml'), targets('bad').replace('mysql', 'shop').replace(', { ip: 10.0.0.2 }', ''))
  const bad = await to.run('targets', 'set', '-y', 'shop/agent', 'other.yaml')
  expect([bad.code, bad.out]).toEqual([
    1,
    expect.stringContaining('package shop/agent#1 does not start: ./hook.sh ended with 3'),
  ])
  const well = await to.run('deploy', 'status', config)
  expect([well.code, well.out]).toEqual([0, expect.stringContaining('SUCCESS')])
  // A change of the first that cannot come, as the other is in the way.
  await writeFile(join(to.cwd, 't.yaml'), targets('1.2'))
  const held = await to.run('targets', 'set', '-y', config, 't.yaml')
  expect([held.code, held.out]).toEqual([
    1,
    expect.stringMatching(/WARNING[^]* h1 +failed +package shop\/agent#1 comes with it, and is not taken/),
  ])
  const told = [bad, well, held]
  for (const words of [
    ['targets', 'show', config],
    ['deploy', 'status', 'shop/agent', '--json'],
    ['history', 'nodes/h1'],
    ['history', 'nodes/h1', '--json'],
    ['diff', 'nodes/h1@1', 'nodes/h1@2'],
    ['blame', 'nodes/h1', 'deployments'],
    ['nodes', 'nodes/h1', '--json'],
    ['audit', '--json'],
  ])
    told.push(await to.run(...words))
  const metrics = await fetch(`${to.url}/metrics`, { headers: { authorization: `Bearer ${to.admin}` } })
  const all = [...told.map(({ out, err }) => out + err), await metrics.text()].join('\n')
  expect(all.split('\n').filter((line) => line.includes(canary))).toEqual([])
  // With the other out of the way it is what it is to be.
  await to.run('deploy', 'stop', '-y', 'shop/agent')
  await to.run('deploy', 'uninstall', '-y', 'shop/agent')
  expect((await to.run('deploy', 'retry', '-y', config)).code).toBe(0)
})

test('F1: an agent that is killed starts again with what it is to have, and what works is not stopped by its end', async () => {
  const to = await here()
  const first = await to.node('h1')
  await writeFile(join(to.cwd, 't.yaml'), targets('1.1').replace(', { ip: 10.0.0.2 }', ''))
  expect((await to.run('targets', 'set', '-y', config, 't.yaml')).code).toBe(0)
  await first.stop('SIGKILL')
  await writeFile(join(to.cwd, 't.yaml'), targets('1.2').replace(', { ip: 10.0.0.2 }', ''))
  expect((await to.run('targets', 'set', '-y', config, 't.yaml', '--no-wait')).code).toBe(2)
  const second = await to.node('h1')
  await vi.waitFor(async () => expect((await to.run('deploy', 'status', config)).code).toBe(0), 30_000)
  expect(await to.log('h1')).toEqual(['start mysql 1.1', 'start mysql 1.2'])
  await second.stop('SIGTERM')
  expect(await to.log('h1')).toEqual(['start mysql 1.1', 'start mysql 1.2'])
})

test.each([
  [['nodes/h1'], 'neither --to nor --packages is given'],
  [['shop/gateway', '--packages', 'p'], '--packages is for a config nodes/ID'],
  [['nodes/h1', '--to', 'x.json', '--package-command', 'x'], '--package-command is given without --packages'],
  [['nodes/h1', '--packages', 'p', '--package-command', ' '], '--package-command is empty'],
  [['nodes/h1', '--packages', 'p', '--reload-url', 'http://127.0.0.1/'], 'want --to'],
])('what cannot be is refused before anything is made: %j', async (words, why) => {
  const ran = await finished(spawned(['agent', ...words, '--url', 'http://127.0.0.1:9']))
  expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(why)])
})
