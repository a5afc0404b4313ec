/** Rollouts end to end: the real control plane, real engines, real sockets. What a node by itself does is `agent-vote-engine`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serve } from '@midflight/control-plane'
import { componentsFor, start } from 'midflight'
import { controlPlane, type ControlPlaneOptions } from 'midflight/agent'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import * as z from 'zod'

const config = 'shop/gateway/prod'
const schema = z.object({ limit: z.number().min(1) })
const { value } = componentsFor(schema)

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'midflight-rollout-'))
  closing.push(() => rm(path, { recursive: true, force: true }))
  return path
}

interface Node {
  readonly uid: string
  readonly status: string
  readonly runs: { readonly number: number } | null
  readonly health?: { readonly ok: boolean; readonly detail?: string }
}

/** A control plane with one config. */
async function plane() {
  let admin = ''
  const served = await serve({
    dataDir: await directory(),
    port: 0,
    logger: pino({ level: 'silent' }),
    onAdminToken: (secret) => (admin = secret),
    closeMs: 1_000,
  })
  closing.push(() => served.close())
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
  await call('POST', '/v1/configs', { name: config })
  return {
    url: served.url,
    token: () => admin,
    publish: async (content: unknown, strategy?: object) => {
      const etag = (await call('GET', under)).headers.get('etag')
      const held: Record<string, string> = etag === null ? { 'if-none-match': '*' } : { 'if-match': etag }
      const query = strategy ? `?strategy=${encodeURIComponent(JSON.stringify(strategy))}` : ''
      await call('PUT', `${under}/content${query}`, content, held)
    },
    nodes: async () => ((await call('GET', `${under}/nodes`)).body as { readonly items: readonly Node[] }).items,
    phase: async (number: number) =>
      ((await call('GET', `${under}/rollouts/${number}`)).body as { readonly phase: string }).phase,
  }
}

async function program({ url, token }: Awaited<ReturnType<typeof plane>>, more: Partial<ControlPlaneOptions> = {}) {
  const applied: number[] = []
  const source = controlPlane({ url, config, stateDir: await directory(), token, ...more })
  const limit = value({
    name: 'limit',
    path: 'limit',
    validate: (next) => (next === 13 ? ['13 brings bad luck here'] : []),
    apply: (next) => void applied.push(next),
  })
  const engine = await start({ schema, sources: [source], components: [limit], logger: false, retries: { limit: 0 } })
  closing.push(() => engine.close())
  await until(() => source.status().via === 'websocket')
  return { engine, source, applied }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}

const allRun = async (fleet: Awaited<ReturnType<typeof plane>>, number: number) =>
  (await fleet.nodes()).every(({ status, runs }) => status === 'APPLIED' && runs?.number === number)

const twoPhase = { kind: 'two-phase', bakeMs: 0, gates: [] }

test('R6: all vote yes, and all run it', async () => {
  const fleet = await plane()
  await fleet.publish({ limit: 1 })
  const programs = await Promise.all([1, 2, 3].map(async () => program(fleet)))
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, twoPhase)
  await until(async () => (await fleet.phase(2)) === 'completed')
  await until(() => allRun(fleet, 2))
  for (const { applied } of programs) expect(applied).toEqual([1, 2])
})

test('R6: one says no, and nobody has ever run it', async () => {
  const fleet = await plane()
  await fleet.publish({ limit: 1 })
  const programs = await Promise.all([1, 2, 3].map(async () => program(fleet)))
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 13 }, twoPhase)
  await until(async () => (await fleet.phase(2)) === 'rolled-back')
  await until(() => programs.every(({ source }) => source.status().runs?.number === 3))
  for (const { engine, applied } of programs) {
    expect(applied).toEqual([1])
    expect(engine.live.limit).toBe(1)
  }
})

test('what is to be confirmed is confirmed once the rollout is through, and stays', async () => {
  const fleet = await plane()
  await fleet.publish({ limit: 1 })
  const one = await program(fleet)
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, { ...twoPhase, revertMs: 2_000 })
  await until(async () => (await fleet.phase(2)) === 'completed')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(one.engine.live.limit).toBe(2)
  expect(one.source.status().status).toBe('APPLIED')
})

test('a node that is not well with it takes all back', async () => {
  const fleet = await plane()
  await fleet.publish({ limit: 1 })
  let limit = () => 0
  const check = () => {
    if (limit() === 2) throw new Error('the queue is full')
  }
  const one = await program(fleet, { probe: { check, everyMs: 200 } })
  limit = () => one.engine.live.limit
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, { ...twoPhase, bakeMs: 5_000 })
  await until(async () => (await fleet.phase(2)) === 'rolled-back')
  expect(one.applied).toEqual([1, 2, 1])
  await until(async () => (await fleet.nodes()).every(({ health }) => health?.ok === true))
})
