/** A control plane that was restored from an older backup, under a fleet that has gone on since: what it takes to be back. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { restoreStore, serve } from '@midflight/control-plane'
import { componentsFor, start } from 'midflight'
import { controlPlane } from 'midflight/agent'
import { pino } from 'pino'
import { afterEach, expect, test, vi } from 'vitest'
import * as z from 'zod'
import { freePort } from './rig/free-ports.ts'

const config = 'shop/gateway/prod'
const schema = z.object({ limit: z.number() })
const { value } = componentsFor(schema)
const twoPhase = { kind: 'two-phase', bakeMs: 0, gates: [], prepareMs: 2_000, applyMs: 2_000 }

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'midflight-restored-'))
  closing.push(() => rm(path, { recursive: true, force: true }))
  return path
}

test('I5, I10: restored from an older backup it is listened to again, once its numbers are above those that nodes run', async () => {
  const port = await freePort()
  let admin = ''
  const up = async (dataDir: string) => {
    const logger = pino({ level: 'silent' })
    const onAdminToken = (secret: string) => void (admin = secret)
    const served = await serve({ dataDir, port, logger, onAdminToken, closeMs: 500 })
    closing.push(() => served.close())
    return served
  }
  const under = `/v1/configs/${encodeURIComponent(config)}`
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return { etag: answer.headers.get('etag'), body: (await answer.json()) as never }
  }
  const publish = async (limit: number, strategy?: object) => {
    const { etag } = await call('GET', under)
    const query = strategy ? `?strategy=${encodeURIComponent(JSON.stringify(strategy))}` : ''
    await call(
      'PUT',
      `${under}/content${query}`,
      { limit },
      etag === null ? { 'if-none-match': '*' } : { 'if-match': etag },
    )
  }
  const phase = async (number: number) =>
    ((await call('GET', `${under}/rollouts/${number}`)).body as { phase: string }).phase
  const through = async (number: number) =>
    await vi.waitFor(async () => expect(await phase(number)).toBe('completed'), { timeout: 10_000, interval: 50 })

  const dataDir = await folder()
  let served = await up(dataDir)
  await call('POST', '/v1/configs', { name: config })
  await publish(1)
  const source = controlPlane({ url: served.url, config, stateDir: await folder(), token: () => admin })
  const limit = value({ name: 'limit', path: 'limit', apply: () => {} })
  const engine = await start({ schema, sources: [source], components: [limit], logger: false, retries: { limit: 0 } })
  closing.push(() => engine.close())
  const backup = join(await folder(), 'copy.db')
  await served.store.backup(backup)
  for (const number of [2, 3]) {
    await served.close()
    served = await up(dataDir)
    await vi.waitFor(() => expect(source.status().via).toBe('websocket'), 20_000)
    await publish(number, twoPhase)
    await through(number)
  }
  await served.close()

  const restored = join(await folder(), 'data')
  restoreStore(backup, restored)
  served = await up(restored)
  await vi.waitFor(() => expect(source.status().via).toBe('websocket'), 20_000)
  // The numbers 2 and 3 are known to the node with other contents; it takes neither, and says so.
  await publish(20, { kind: 'instant' })
  await publish(30, { kind: 'instant' })
  expect(engine.live).toEqual({ limit: 3 })
  await publish(40, twoPhase)
  await through(4)
  expect(engine.live).toEqual({ limit: 40 })
}, 90_000)
