/** A control plane with a foreign node-management API beside it: a process of its own, ended by its pid. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ServeOptions } from '../src/index.ts'
import type { Pace } from '../src/targets/pace.ts'
import { ask, at, rig, type Answer, type Rig } from './http-rig.ts'

const program = fileURLToPath(new URL('programs/node-api.ts', import.meta.url))
export const config = 'monitor/mysql'
export const quick: Pace = {
  callMs: 5_000,
  upMs: 5_000,
  goneMs: 5_000,
  pollMs: 10,
  retryMs: 10,
  longestRetryMs: 50,
  inspectMs: 3_600_000,
}

/** B's base: version 1.1, nodes h1, h2, h3 as another system writes them, period 60. */
export const base = {
  kind: 'INSTANCE',
  nodes: [{ bk_host_id: 1 }, { bk_host_id: 2 }, { bk_host_id: 3 }] as unknown[],
  package: { name: 'mysql', version: '1.1' },
  parameters: { period: 60 } as Record<string, unknown>,
  installer: 'peer',
}

export interface Peer {
  readonly url: string
  calls(): Promise<{ calls: string[]; subscriptions: string[] }>
  /** What each subscription is, by its id. */
  held(): Promise<
    Record<string, { parameters: Record<string, unknown>; version: string; enabled: boolean; nodes: string[] }>
  >
  behave(how: object): Promise<void>
  close(): Promise<void>
}

export async function peer(token?: string): Promise<Peer> {
  const child = spawn(process.execPath, [program, ...(token === undefined ? [] : [token])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = `http://127.0.0.1:${await portOf(child)}`
  return {
    url,
    calls: async () => (await ask(url, '/calls')).json(),
    held: async () => (await ask(url, '/held')).json(),
    behave: async (how) => void (await ask(url, '/behave', { method: 'POST', body: how })),
    close: () => new Promise((resolve) => (child.once('exit', () => resolve()), child.kill('SIGKILL'))),
  }
}

async function portOf(child: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the peer ended with ${code}`)))
    child.stdout?.once('data', (text: Buffer) => resolve(Number(text.toString())))
  })
}

export interface TargetsRig {
  readonly plane: Rig
  readonly peer: Peer
  get(path?: string): Promise<Answer>
  /** Targets against the ones that hold. */
  put(targets: object, headers?: Record<string, string>): Promise<Answer>
  post(path: string, body?: object): Promise<Answer>
  /** As `put`, and waits for the end of what comes of it. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  deployed(targets: object): Promise<any>
  /** Waits until nothing is under way, or it is held. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  settled(): Promise<any>
  /** Those so far are forgotten. */
  newCalls(): Promise<string[]>
  close(): Promise<void>
}

const secret = 'peer-token-of-the-tests'

export async function targetsRig(
  pace: Partial<Pace> = {},
  options: Partial<ServeOptions> = {},
  deploy: ServeOptions['deploy'] = {},
): Promise<TargetsRig> {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-targets-'))
  const tokenFile = join(folder, 'token')
  await writeFile(tokenFile, `${secret}\n`, { mode: 0o600 })
  const other = await peer(secret)
  const installers = { peer: { url: other.url, tokenFile, configs: ['monitor'] } }
  const plane = await rig({ ...options, deploy: { ...deploy, installers, pace: { ...quick, ...pace } } })
  await plane.ask('/v1/configs', { method: 'POST', body: { name: config } })
  let seen = 0
  const made: TargetsRig = {
    plane,
    peer: other,
    get: (path = '') => plane.ask(at(config, `/targets${path}`)),
    post: (path, body = {}) => plane.ask(at(config, `/targets/${path}`), { method: 'POST', body }),
    async put(targets, headers) {
      const etag = String((await made.get()).headers.etag)
      return await plane.ask(at(config, '/targets'), {
        method: 'PUT',
        body: targets,
        headers: headers ?? { 'if-match': etag },
      })
    },
    async deployed(targets) {
      const answer = await made.put(targets)
      if (answer.status !== 202) throw new Error(answer.text)
      return await made.settled()
    },
    async settled() {
      for (;;) {
        const status = (await made.get('/status')).json()
        if (status.underWay === null || status.underWay.held !== null) return status
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    async newCalls() {
      const { calls } = await other.calls()
      const fresh = calls.slice(seen)
      seen = calls.length
      return fresh
    },
    async close() {
      await plane.close()
      await other.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return made
}
