/** Buses at the command line: a control plane and an agent as processes, with a real NATS between them. What is said over a bus is `test/bus-fleet`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { selfSigned } from '../../engine/test/self-signed.ts'
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
  ['nats://user:canary-hunter2@host', 'holds a password, which others may see; want ?password-file=PATH'],
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

test.skipIf(withoutNats)(
  `a bus that is not there when the control plane starts is said at once, and so is that it came${withoutNats ? ` (skipped: ${withoutNats})` : ''}`,
  async () => {
    // A server, so that it is known where another one is going to be.
    const server = await NatsServer.start()
    onTestFinished(() => server.close())
    const bus = `nats://admin@${new URL(server.url).host}`
    await server.stop()
    const cwd = await folder({ 'bus.password': 'right\n' })
    const args = ['serve', '--data', 'data', '--port', '0', '--admin-token-file', 'token', '--log-level', 'info']
    const child = spawned([...args, '--bus', `${bus}?password-file=${join(cwd, 'bus.password')}`], { cwd })
    let err = ''
    child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()))
    const ran = finished(child)
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ran
    })
    const [found = ''] = await lines(child).until((line) => line.includes('control plane at'))
    const url = /http:\/\/[\d.:]+/.exec(found)?.[0] ?? ''
    await vi.waitUntil(() => err.includes('the bus is away'), { timeout: 60_000 })
    const warned = JSON.parse(err.split('\n').find((line) => line.includes('the bus is away')) ?? '') as object
    expect(warned).toMatchObject({
      level: 40,
      bus: expect.stringContaining('nats://'),
      why: expect.stringMatching(/./),
    })
    expect(err.match(/the bus is away/g)).toHaveLength(1)
    const token = (await readFile(join(cwd, 'token'), 'utf8')).trim()
    const metrics = async () =>
      await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })).text()
    expect(await metrics()).toMatch(/^midflight_bus_away\{bus="nats:[^"]+"\} 1$/m)
    await server.start()
    await vi.waitUntil(() => err.includes('the bus is reached again'), { timeout: 60_000 })
    expect(await metrics()).toMatch(/^midflight_bus_away\{bus="nats:[^"]+"\} 0$/m)
  },
)

test('what only means something with a bus is refused without one', async () => {
  const cwd = await folder()
  const serve = ['serve', '--data', 'data', '--port', '0']
  expect((await midflight([...serve, '--bus-reports'], { cwd })).err).toContain('--bus-reports is given without a bus')
  expect((await midflight([...serve, '--bus-words-only'], { cwd })).err).toContain('is given without a bus')
  const agent = ['agent', config, '--url', 'http://127.0.0.1:9', '--to', 'out.json', '--bus-reports']
  expect((await midflight(agent, { cwd })).err).toContain('--bus-reports is given without a bus')
})

describe('a sidecar and an agent behind an authority of their own', () => {
  const yaml = (url: string, more: string) => `controlPlane:
  url: ${url}
  config: shop/gateway
  tokenFile: agent.token
${more}programs:
  - generic:
      name: app
      directory: app
      files: [{ path: app.json, from: '', as: json }]
`

  /** A control plane by https, with the bus, and a config whose first release is there. */
  async function secured(bus: readonly string[] = []) {
    const cwd = await folder({ 'gateway.yaml': content })
    const made = selfSigned(cwd)
    const to = await plane({ cwd, more: ['--tls-cert', made.cert, '--tls-key', made.key, ...bus] })
    const as = (...args: string[]) =>
      midflight(args, {
        cwd,
        env: { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, NODE_EXTRA_CA_CERTS: made.cert },
      })
    await as('config', 'create', config)
    await as('publish', config, 'gateway.yaml', '-y', '--no-wait')
    await mkdir(join(cwd, 'side/app'), { recursive: true })
    const token = (await as('token', 'create', 'nodes', '--role', 'agent')).out.trim()
    await writeFile(join(cwd, 'side/agent.token'), token)
    await writeFile(join(cwd, 'side/ca.pem'), made.pem)
    return { cwd, to, as, token }
  }

  test.skipIf(withoutNats)(
    `a sidecar trusts the ca of its file and hears releases over its bus, also with TLS; paths count from the file${withoutNats ? ` (skipped: ${withoutNats})` : ''}`,
    async () => {
      const server = await NatsServer.start({ tls: true })
      onTestFinished(() => server.close())
      const keys = await folder({ 'bus.pem': server.ca ?? '', 'bus.password': 'right\n' })
      const at = `tls://admin@${new URL(server.url).host}`
      const files = `?ca=${join(keys, 'bus.pem')}&password-file=${join(keys, 'bus.password')}`
      const { cwd, to, as } = await secured(['--bus', `${at}${files}`, '--bus-reports'])
      await writeFile(join(cwd, 'side/bus.pem'), server.ca ?? '')
      await writeFile(join(cwd, 'side/bus.password'), 'right\n')
      const ways = `  ca: ca.pem
  bus: ${at}?ca=bus.pem&password-file=bus.password
  busReports: true
  websocket: false
`
      await writeFile(join(cwd, 'side/sidecar.yaml'), yaml(to.url, ways))
      const asked = { cwd, env: { MIDFLIGHT_TOKEN: to.admin } }
      const dry = await midflight(['sidecar', 'side/sidecar.yaml', '--dry-run'], asked)
      expect([dry.code, dry.err]).toEqual([2, ''])
      const subjects: string[] = []
      const listening = server.admin.connection.subscribe('midflight.>', {
        callback: (_, { subject }) => void subjects.push(subject),
      })
      await server.admin.connection.flush()
      const child = spawned(['sidecar', 'side/sidecar.yaml'], { cwd })
      const ran = finished(child)
      onTestFinished(async () => {
        child.kill('SIGKILL')
        await ran
      })
      await lines(child).until((line) => /started/.test(line))
      await vi.waitUntil(async () => (await as('nodes', config)).out.includes('APPLIED'), { timeout: 60_000 })
      await writeFile(join(cwd, 'gateway.yaml'), content.replace('info', 'debug'))
      expect((await as('publish', config, 'gateway.yaml', '-y')).out).toContain('release 2 runs on the one node')
      expect(JSON.parse(await readFile(join(cwd, 'side/app/app.json'), 'utf8'))).toMatchObject({
        log: { level: 'debug' },
      })
      expect(new Set(subjects)).toEqual(new Set(['midflight.releases.shop.gateway', 'midflight.reports']))
      listening.unsubscribe()
      child.kill('SIGTERM')
      expect(await ran).toMatchObject({ code: 0, err: '' })
    },
  )

  test('an agent trusts the --ca that it is given; without it neither speaks to the control plane', async () => {
    const { cwd, to, token } = await secured()
    const env = { MIDFLIGHT_TOKEN: token, MIDFLIGHT_URL: to.url }
    const agent = (...more: string[]) =>
      midflight(['agent', config, '--to', 'out.json', '--once', ...more], { cwd, env })
    expect(await agent()).toMatchObject({ code: 1, err: expect.stringContaining('self-signed certificate') })
    expect(await agent('--ca', 'side/ca.pem')).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(await readFile(join(cwd, 'out.json'), 'utf8'))).toMatchObject({ log: { level: 'info' } })
    await writeFile(join(cwd, 'side/sidecar.yaml'), yaml(to.url, ''))
    const once = await midflight(['sidecar', 'side/sidecar.yaml', '--once'], { cwd })
    expect(once).toMatchObject({ code: 1, err: expect.stringContaining('self-signed certificate') })
  })

  test.each([
    ['ca: no.pem', /sidecar\.yaml:5:7 controlPlane\.ca is "no\.pem"; \S+\/side\/no\.pem cannot be read \(ENOENT\)/],
    ['ca: agent.token', /sidecar\.yaml:5:7 controlPlane\.ca .*agent\.token holds no certificate; want PEM/],
    ['bus: amqp://host', /sidecar\.yaml:5:8 controlPlane\.bus .*want nats:\/\/host:4222, redis/],
    ['bus: nats://u:canary-hunter2@host', /sidecar\.yaml:5:8 controlPlane\.bus .*want \?password-file=PATH/],
    ['bus: nats://host?password-file=no', /sidecar\.yaml:5:8 controlPlane\.bus .*no cannot be read \(ENOENT\)/],
    ['busReports: true', /sidecar\.yaml:5:15 controlPlane\.busReports .*without a bus; want bus too/],
    ['websocket: maybe', /sidecar\.yaml:5:14 controlPlane\.websocket is "maybe"; want/],
    ['buses: []', /sidecar\.yaml:5:10 controlPlane\.buses is not a known key[\s\S]*did you mean "bus"/],
  ])('in sidecar.yaml %s is told with its place, and no password', async (line, said) => {
    const cwd = await folder()
    await mkdir(join(cwd, 'side/app'), { recursive: true })
    await writeFile(join(cwd, 'side/agent.token'), 'none')
    await writeFile(join(cwd, 'side/sidecar.yaml'), yaml('https://127.0.0.1:9', `  ${line}\n`))
    const { code, out, err } = await midflight(['sidecar', 'side/sidecar.yaml', '--check'], { cwd })
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(said)
    expect(err).not.toContain('canary')
  })
})
