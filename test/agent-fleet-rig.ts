/** Programs with a real engine that follow a real control plane, in one process. Whatever a test opens is closed after it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serve } from '@midflight/control-plane'
import { componentsFor, start } from 'midflight'
import { controlPlane, type ControlPlaneOptions } from 'midflight/agent'
import { pino } from 'pino'
import { afterEach } from 'vitest'
import * as z from 'zod'

export const config = 'shop/gateway/prod'
const schema = z.object({ limit: z.number().min(1) })
const { value } = componentsFor(schema)

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

export function closeLater(close: () => Promise<unknown>): void {
  closing.push(close)
}

/** @returns `close`, which closes once, and is called after the test. */
function closedOnce(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined
  const once = () => (closed ??= close())
  closeLater(once)
  return once
}

export async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'midflight-fleet-'))
  closeLater(() => rm(path, { recursive: true, force: true }))
  return path
}

export interface Node {
  readonly uid: string
  readonly status: string
  readonly runs: { readonly number: number } | null
  readonly health?: { readonly ok: boolean; readonly detail?: string }
}

export type Plane = Awaited<ReturnType<typeof plane>>

/** A control plane with one config. */
export async function fresh(): Promise<Plane> {
  const fleet = await plane(await directory())
  await fleet.call('POST', '/v1/configs', { name: config })
  return fleet
}

/** One that may have been there before: then it wants the token that it had, by `useToken`. */
export async function plane(dataDir: string, port = 0) {
  let admin = ''
  const served = await serve({
    dataDir,
    port,
    logger: pino({ level: 'silent' }),
    onAdminToken: (secret) => (admin = secret),
    closeMs: 1_000,
  })
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
  return {
    url: served.url,
    dataDir,
    port: Number(new URL(served.url).port),
    close: closedOnce(() => served.close()),
    call,
    token: () => admin,
    useToken: (secret: string) => (admin = secret),
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

/** One with a component that takes a limit, but for 13. */
export async function program({ url, token }: Plane, stateDir: string, more: Partial<ControlPlaneOptions> = {}) {
  const applied: number[] = []
  const source = controlPlane({ url, config, stateDir, token, ...more })
  const limit = value({
    name: 'limit',
    path: 'limit',
    validate: (next) => (next === 13 ? ['13 brings bad luck here'] : []),
    apply: (next) => void applied.push(next),
  })
  const engine = await start({ schema, sources: [source], components: [limit], logger: false, retries: { limit: 0 } })
  return { engine, source, applied, close: closedOnce(() => engine.close()) }
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}

export async function allRun(fleet: Plane, number: number): Promise<boolean> {
  const nodes = await fleet.nodes()
  return nodes.length > 0 && nodes.every(({ status, runs }) => status === 'APPLIED' && runs?.number === number)
}
