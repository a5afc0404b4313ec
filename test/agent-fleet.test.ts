/** Both agents, the one in `midflight/agent` and the one in Python, with the real control plane: the page holds for all three. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serve, type ControlPlane } from '@midflight/control-plane'
import { componentsFor, start } from 'midflight'
import { controlPlane } from 'midflight/agent'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import * as z from 'zod'

const config = 'shop/gateway/prod'
const schema = z.object({ limit: z.number().min(1) })
const { value } = componentsFor(schema)
const python = fileURLToPath(new URL('python-agent/agent.py', import.meta.url))
const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'midflight-fleet-'))
  closing.push(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A control plane with one config, and its doors for a publisher and for agents. */
async function plane(dataDir: string, port = 0) {
  let admin = ''
  const served: ControlPlane = await serve({
    dataDir,
    port,
    logger: pino({ level: 'silent' }),
    onAdminToken: (secret) => (admin = secret),
    closeMs: 1_000,
  })
  let closed: Promise<void> | undefined
  const close = () => (closed ??= served.close())
  closing.push(close)
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${served.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return { headers: answer.headers, body: (text === '' ? null : JSON.parse(text)) as never }
  }
  const under = `/v1/configs/${encodeURIComponent(config)}`
  let etag: string | null = null
  return {
    url: served.url,
    port: Number(new URL(served.url).port),
    close,
    call,
    under,
    token: () => admin,
    useToken: (secret: string) => (admin = secret),
    publish: async (content: unknown) => {
      etag ??= await call('GET', under).then(
        ({ headers }) => headers.get('etag'),
        () => null,
      )
      const held: Record<string, string> = etag === null ? { 'if-none-match': '*' } : { 'if-match': etag }
      etag = (await call('PUT', `${under}/content`, content, held)).headers.get('etag')
    },
    nodes: async () =>
      (
        (await call('GET', `${under}/nodes`)).body as {
          readonly items: readonly { uid: string; status: string; runs: { number: number } | null }[]
        }
      ).items,
  }
}

type Plane = Awaited<ReturnType<typeof plane>>

async function program({ url, token }: Plane, stateDir: string) {
  const applied: number[] = []
  const source = controlPlane({ url, config, stateDir, token })
  const limit = value({ name: 'limit', path: 'limit', apply: (next) => void applied.push(next) })
  const engine = await start({ schema, sources: [source], components: [limit], logger: false, retries: { limit: 0 } })
  let closed: Promise<void> | undefined
  const close = () => (closed ??= engine.close())
  closing.push(close)
  return { engine, source, applied, close }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}

const all = async (fleet: Plane, number: number, status = 'APPLIED') => {
  const nodes = await fleet.nodes()
  return nodes.length > 0 && nodes.every((node) => node.status === status && node.runs?.number === number)
}

test('R1: one publish reaches three programs, and the control plane knows that it is in use', async () => {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1000 })
  const programs = await Promise.all([1, 2, 3].map(async () => program(fleet, await directory())))
  await until(() => programs.every(({ source }) => source.status().via === 'websocket'))
  await fleet.publish({ limit: 500 })
  await until(() => all(fleet, 2))
  expect(await fleet.nodes()).toHaveLength(3)
  for (const { engine, applied } of programs) {
    expect(engine.live.limit).toBe(500)
    expect(applied).toEqual([1000, 500])
  }
})

test('R2, R3: a refusal and its reason are known, and a program that was away lands on the newest', async () => {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1 })
  const stateDir = await directory()
  const first = await program(fleet, stateDir)
  await until(() => all(fleet, 1))
  await fleet.publish({ limit: 0 })
  await until(async () => (await fleet.nodes()).every(({ status, runs }) => status === 'FAILED' && runs?.number === 1))
  expect(first.engine.live.limit).toBe(1)
  await first.close()
  await fleet.publish({ limit: 3 })
  await fleet.publish({ limit: 4 })
  const second = await program(fleet, stateDir)
  expect(second.engine.live.limit).toBe(4)
  await until(() => all(fleet, 4))
  expect(await fleet.nodes()).toHaveLength(1)
})

test('I7: the control plane ends and begins anew: programs run on, start without it, and find it again', async () => {
  const dataDir = await directory()
  let fleet = await plane(dataDir)
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1 })
  const { port } = fleet
  const secret = fleet.token()
  const stateDir = await directory()
  const running = await program(fleet, await directory())
  const stopped = await program(fleet, stateDir)
  await until(() => all(fleet, 1))
  await stopped.close()
  await fleet.close()

  const without = await program(fleet, stateDir)
  expect(without.engine.live.limit).toBe(1)
  expect(running.engine.live.limit).toBe(1)

  fleet = await plane(dataDir, port)
  fleet.useToken(secret)
  await fleet.publish({ limit: 2 })
  await until(() => all(fleet, 2))
  for (const { engine } of [running, without]) expect(engine.live.limit).toBe(2)
})

test('a state directory that was copied: the second node is turned away, says so, runs on', async () => {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1 })
  const stateDir = await directory()
  const first = await program(fleet, stateDir)
  await until(() => all(fleet, 1))
  const copy = await directory()
  // As from another machine: what is copied is files; a socket is none.
  await cp(join(stateDir, 'agent'), join(copy, 'agent'), {
    recursive: true,
    filter: async (path) => !(await stat(path)).isSocket(),
  })
  const second = await program(fleet, copy)
  expect(second.source.status().uid).toBe(first.source.status().uid)
  await until(() => second.engine.status().warnings.some((text) => text.includes('Two processes have the same uid')))
  await fleet.publish({ limit: 2 })
  await until(() => all(fleet, 2))
  expect(first.source.status().via).toBe('websocket')
  expect(second.source.status()).toMatchObject({ via: 'nothing', runs: { number: 1 } })
  expect(second.engine.live.limit).toBe(1)
  expect(await fleet.nodes()).toHaveLength(1)
})

test('the control plane knows what the components of a node can take while they run', async () => {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1 })
  const { source } = await program(fleet, await directory())
  await until(() => all(fleet, 1))
  await until(() => source.status().via === 'websocket')
  expect(await fleet.nodes()).toMatchObject([{ components: [{ name: 'limit', hot: 'full', restartFor: [] }] }])
})

const skipped = hasPython ? '' : ' (skipped: there is no python3 of 3.8 or later here)'
test.skipIf(!hasPython)(`the agent in Python takes releases from it by long poll${skipped}`, async () => {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  await fleet.publish({ limit: 1 })
  const folder = await directory()
  const out = join(folder, 'config.json')
  const files = ['--out', out, '--state', join(folder, 'state.json')]
  const args = ['-B', python, '--url', fleet.url, '--config', config, '--token', fleet.token(), ...files]
  const child: ChildProcess = spawn('python3', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  closing.push(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  await until(() => all(fleet, 1))
  await fleet.publish({ limit: 2 })
  await until(() => all(fleet, 2))
  expect(JSON.parse(await readFile(out, 'utf8'))).toEqual({ limit: 2 })
  expect(errors).toBe('')
})
