/** Buses at the command line: a control plane and an agent as processes, with a real NATS between them. What is said over a bus is `test/bus-fleet`. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { NatsServer, withoutNats } from '../../engine/test/source-nats-rig.ts'
import { agentToken, content, plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

const config = 'shop/gateway'

test.skipIf(withoutNats)(
  `a release reaches an agent without a connection over a bus; the password is in a file${withoutNats ? ` (skipped: ${withoutNats})` : ''}`,
  async () => {
    const server = await NatsServer.start()
    onTestFinished(() => server.close())
    const cwd = await folder({ 'gateway.yaml': content, 'bus.password': 'right\n' })
    const bus = `nats://admin@${new URL(server.url).host}?password-file=${join(cwd, 'bus.password')}`
    const to = await plane({ cwd, more: ['--bus', bus, '--bus-reports'] })
    await to.run('config', 'create', config)
    await to.run('publish', config, 'gateway.yaml', '-y', '--no-wait')
    const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: await agentToken(to) }
    const args = ['agent', config, '--to', 'out.json', '--bus', bus, '--no-websocket', '--bus-reports']
    const child = spawned(args, { cwd, env })
    const ran = finished(child)
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ran
    })
    const seen = lines(child)
    await seen.until((line) => /started/.test(line))
    await vi.waitUntil(async () => (await to.run('nodes', config)).out.includes('APPLIED'), { timeout: 60_000 })
    await writeFile(join(cwd, 'gateway.yaml'), content.replace('info', 'debug'))
    const published = await to.run('publish', config, 'gateway.yaml', '-y')
    expect([published.code, published.out]).toEqual([0, expect.stringContaining('release 2 runs on the one node')])
    expect(JSON.parse(await readFile(join(cwd, 'out.json'), 'utf8'))).toMatchObject({ log: { level: 'debug' } })
    child.kill('SIGTERM')
    expect(await ran).toMatchObject({ code: 0, err: '' })
    expect(await to.stop()).toMatchObject({ code: 0 })
  },
)

test.each([
  ['amqp://host:5672', 'of the kind amqp; want nats://host:4222, redis://host:6379 or kafka://host:9092'],
  ['host:4222', 'no address of a bus; want nats://host:4222'],
  ['', 'no address of a bus'],
  [
    'nats://user:canary-hunter2@host',
    'holds a password, which others on this machine can see; want ?password-file=PATH',
  ],
  ['nats://host/a', 'has a path'],
  ['nats://host?prefix=a%20b', 'prefix is "a b"'],
  ['nats://host?pasword-file=x', 'has the option pasword-file; want'],
  ['redis://a,b', 'names several hosts'],
  ['kafka://host?mechanism=MD5', 'has the mechanism "MD5"; want PLAIN'],
  ['nats://host?password-file=/nowhere/at/all', '/nowhere/at/all cannot be read (ENOENT)'],
])('a bus at %s is refused before anything is begun', async (bus, why) => {
  const cwd = await folder()
  for (const args of [
    ['serve', '--data', 'data', '--port', '0', '--bus', bus],
    ['agent', config, '--url', 'http://127.0.0.1:9', '--to', 'out.json', '--bus', bus],
  ]) {
    const { code, out, err } = await midflight(args, { cwd })
    expect([code, out, err]).toEqual([expect.any(Number), '', expect.stringContaining(why)])
    expect(code).toBeGreaterThan(0)
    expect(err).not.toContain('canary')
  }
})

test('what only means something with a bus is refused without one', async () => {
  const cwd = await folder()
  const serve = ['serve', '--data', 'data', '--port', '0']
  expect((await midflight([...serve, '--bus-reports'], { cwd })).err).toContain('--bus-reports is given without a bus')
  expect((await midflight([...serve, '--bus-words-only'], { cwd })).err).toContain('is given without a bus')
  const agent = ['agent', config, '--url', 'http://127.0.0.1:9', '--to', 'out.json', '--bus-reports']
  expect((await midflight(agent, { cwd })).err).toContain('--bus-reports is given without a bus')
})
