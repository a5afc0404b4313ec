/** `midflight agent` as a process, between a real control plane and a program that reads the file. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { agentToken, content, plane, type Plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned, type Ran } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

const config = 'shop/gateway'

async function made(): Promise<Plane> {
  const to = await plane({ cwd: await folder({ 'gateway.yaml': content }) })
  await to.run('config', 'create', config)
  await to.run('publish', config, 'gateway.yaml', '-y', '--no-wait')
  return to
}

interface Agent {
  readonly child: ChildProcess
  readonly ran: Promise<Ran>
  until(matches: RegExp): Promise<string[]>
}

async function agent(to: Plane, ...more: string[]): Promise<Agent> {
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: await agentToken(to) }
  const child = spawned(['agent', config, '--to', 'out.json', ...more], { cwd: to.cwd, env })
  const ran = finished(child)
  const seen = lines(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ran
  })
  return { child, ran, until: (matches) => seen.until((line) => matches.test(line)) }
}

const out = async (to: Plane): Promise<string> => readFile(join(to.cwd, 'out.json'), 'utf8')

test('the agent writes each release, mode 0600, and is a node of the fleet; it ends on SIGTERM with 0', async () => {
  const to = await made()
  const one = await agent(to, '--label', 'zone=a')
  await one.until(/started/)
  expect(JSON.parse(await out(to))).toMatchObject({ log: { level: 'info' } })
  expect((await stat(join(to.cwd, 'out.json'))).mode & 0o777).toBe(0o600)
  await writeFile(join(to.cwd, 'gateway.yaml'), content.replace('info', 'debug'))
  const published = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([published.code, published.out]).toEqual([0, expect.stringContaining('release 2 runs on the one node')])
  expect(JSON.parse(await out(to))).toMatchObject({ log: { level: 'debug' } })
  expect((await to.run('nodes', config)).out).toMatch(/zone=a .* APPLIED .*midflight agent/)
  one.child.kill('SIGTERM')
  const { code, out: said, err } = await one.ran
  expect([code, err]).toEqual([0, ''])
  expect(said).not.toContain('canary')
  expect((await readdir(to.cwd)).filter((name) => name.endsWith('.new'))).toEqual([])
})

test('a program that refuses the file keeps the old one, and the fleet learns why', async () => {
  const to = await made()
  const server = createServer((request, response) => {
    void out(to).then((text) => {
      response.writeHead(text.includes('debug') ? 500 : 200).end('no debugging here')
      request.resume()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/-/reload`
  const one = await agent(to, '--reload-url', url)
  await one.until(/started/)
  await writeFile(join(to.cwd, 'gateway.yaml'), content.replace('info', 'debug'))
  const published = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([published.code, published.out]).toEqual([2, expect.stringContaining('answered 500: no debugging here')])
  expect(JSON.parse(await out(to))).toMatchObject({ log: { level: 'info' } })
})

test('a process is signalled by the id in its pid file; once it has gone, releases are rolled back', async () => {
  const to = await made()
  const takes = "process.on('SIGUSR2', () => console.log('again')); console.log('up'); setInterval(() => {}, 1e6)"
  const program = spawn(process.execPath, ['-e', takes])
  onTestFinished(() => void program.kill('SIGKILL'))
  const said = lines(program)
  await said.until((line) => line === 'up')
  await writeFile(join(to.cwd, 'program.pid'), `${program.pid}\n`)
  const one = await agent(to, '--reload-pid-file', 'program.pid', '--reload-signal', 'USR2')
  await said.until((line) => line === 'again')
  await one.until(/started/)
  program.kill('SIGKILL')
  await once(program, 'close')
  await writeFile(join(to.cwd, 'gateway.yaml'), content.replace('info', 'debug'))
  const published = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([published.code, published.out]).toEqual([2, expect.stringMatching(/ROLLED_BACK[^]*there is no process/)])
  expect(JSON.parse(await out(to))).toMatchObject({ log: { level: 'info' } })
})

test('a process that would be ended by the signal is not signalled', async () => {
  const to = await made()
  const program = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])
  onTestFinished(() => void program.kill('SIGKILL'))
  await writeFile(join(to.cwd, 'program.pid'), `${program.pid}\n`)
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: await agentToken(to) }
  const args = ['agent', config, '--to', 'out.json', '--once', '--reload-pid-file', 'program.pid']
  const ran = await midflight(args, { cwd: to.cwd, env })
  expect([ran.code, ran.err]).toEqual([0, expect.stringContaining('would be ended by it')])
  expect([program.exitCode, program.signalCode]).toEqual([null, null])
})

test('the agent starts from its disk while the control plane is away', async () => {
  const to = await made()
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: await agentToken(to) }
  const args = ['agent', config, '--to', 'out.json', '--once']
  expect(await midflight(args, { cwd: to.cwd, env })).toMatchObject({ code: 0 })
  await to.stop()
  await writeFile(join(to.cwd, 'out.json'), 'lost')
  expect(await midflight(args, { cwd: to.cwd, env })).toMatchObject({ code: 0 })
  expect(JSON.parse(await out(to))).toMatchObject({ log: { level: 'info' } })
})

test('a token that does not reach the config: that it was reached is said, and what to look at, whether the config is there or not', async () => {
  const to = await made()
  const token = (await to.run('token', 'create', 'elsewhere', '--role', 'agent', '--prefix', 'bank')).out.trim()
  const once = (name: string) => to.as(token, 'agent', name, '--to', 'none.json', '--once')
  const says = (name: string) =>
    `it was reached, but the token of this node (or its certificate) does not reach the config ${name}, or there is none`
  for (const name of [config, 'shop/none']) {
    const { code, err } = await once(name)
    expect([code, err]).toEqual([1, expect.stringContaining(says(name))])
    expect(err).not.toMatch(/cannot be reached|404|unknown-config/)
  }
  // A node that has a release on its disk goes on with it, and says the same.
  const first = await agent(to)
  await first.until(/started/)
  first.child.kill('SIGTERM')
  await first.ran
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: token }
  for (const way of ['--label=way=socket', '--no-websocket']) {
    const child = spawned(['agent', config, '--to', 'out.json', way], { cwd: to.cwd, env })
    const ran = finished(child)
    onTestFinished(() => void child.kill('SIGKILL'))
    const seen = await lines(child).until((line) => line.includes('does not take this node'))
    expect(seen.at(-1)).toContain(`what is live stays live: ${says(config)}`)
    child.kill('SIGTERM')
    expect((await ran).code).toBe(0)
  }
})

test('what the agent cannot use is refused before it joins', async () => {
  const env = { MIDFLIGHT_URL: 'http://127.0.0.1:1' }
  const [name, label, file, once] = await Promise.all([
    midflight(['agent', 'shop//x', '--to', 'o.json'], { env }),
    midflight(['agent', config, '--to', 'o.json', '--label', 'zone'], { env }),
    midflight(['agent', config, '--to', 'o.ini'], { env }),
    midflight(['agent', config], { env }),
  ])
  expect([name, label, file, once].map(({ code }) => code)).toEqual([1, 1, 1, 1])
  expect(name.err).toContain('has an empty segment')
  expect(label.err).toContain('--label is "zone"; want name=value')
  expect(file.err).toContain('want a name that ends in .json, .yaml or .toml')
  expect(once.err).toContain('neither --to nor --packages is given')
})

test('the fleet is told whether the program is well', async () => {
  const to = await made()
  const one = await agent(to, '--probe-command', 'false')
  await one.until(/started/)
  await vi.waitFor(
    async () => {
      const { out: shown } = await to.run('nodes', config, '--json')
      expect(JSON.parse(shown)).toMatchObject({ nodes: [{ health: { ok: false, release: 1 } }] })
    },
    { timeout: 60_000, interval: 500 },
  )
})
