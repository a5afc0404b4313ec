/**
 * F1: the control plane is killed at some moment under a stream of publishes and of what nodes say, and started again:
 * records are written later than the history, and what is said of the fleet must be true all the same. The nodes are
 * played here, by HTTP; after each start they say what agents say after a reconnect, hello and their last report.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { Chance } from '../../../test/simulation/world.ts'
import { ask, at, hello, type Question } from './http-rig.ts'

const name = 'shop'
const program = fileURLToPath(new URL('./programs/http-server.ts', import.meta.url))
const rounds = process.env['MIDFLIGHT_LONG'] === '1' ? 20 : 3

interface Runs {
  readonly number: number
  readonly digest: string
}

interface Node {
  readonly uid: string
  runs: Runs | null
  seen: number
  status: string
  last: { readonly number: number; readonly status: string } | undefined
}

async function start(dataDir: string) {
  const child = spawn(process.execPath, ['--conditions=midflight-source', '--no-warnings', program, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  const line = await new Promise<string>((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (text.includes('\n')) resolve(text)
    })
    child.on('exit', (code) => reject(new Error(`exit ${code}`)))
  })
  const { url, secret } = JSON.parse(line) as { url: string; secret: string | null }
  const kill = async () => {
    child.kill('SIGKILL')
    await gone
  }
  return { url, secret, kill }
}

test('F1: after a kill at any moment nodes are said to run what they run, and each attempt stands in the history once', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'midflight-records-'))
  onTestFinished(async () => await rm(dataDir, { recursive: true, force: true }))
  const chance = new Chance(1)
  const nodes = Array.from({ length: 12 }, (_, i): Node => {
    const uid = `${String(i % 3).repeat(8)}-0000-4000-8000-${String(i).padStart(12, '0')}`
    return { uid, runs: null, seen: 0, status: 'UNSET', last: undefined }
  })
  const heads: Runs[] = []
  let token = ''
  for (let round = 0; round < rounds; round++) {
    const plane = await start(dataDir)
    onTestFinished(plane.kill)
    token = plane.secret ?? token
    const call = async (path: string, question: Question = {}) => {
      const answer = await ask(plane.url, path, { token, ...question })
      if (answer.status >= 400) throw new Error(`${path}: ${answer.status} ${answer.text}`)
      return answer
    }
    const view = async (uid: string) => (await call(`/v1/nodes/${uid}`)).json()
    if (round === 0) await call('/v1/configs', { method: 'POST', body: { name } })
    // Before anybody has said anything: nothing is claimed that was never so.
    for (const { uid, seen, runs } of round === 0 ? [] : nodes) {
      const { node } = await view(uid)
      expect(node.runs?.number ?? 0).toBeLessThanOrEqual(runs?.number ?? 0)
      expect(node.seen ?? 0).toBeLessThanOrEqual(seen)
    }
    const say = async (node: Node) => {
      const { uid, runs, seen, status, last } = node
      const body = { ...hello(uid, name, runs), seen: seen || null, status }
      await call(`/v1/agent/${name}/heartbeat`, { method: 'POST', body })
      if (last) await call(`/v1/agent/${name}/report?uid=${uid}`, { method: 'POST', body: last })
    }
    for (const node of nodes) await say(node)
    for (const { uid, runs, seen, status } of nodes) {
      const { node, attempts } = await view(uid)
      expect(node).toMatchObject({ runs, status, ...(seen > 0 && { seen }) })
      const tried = attempts.map(
        ({ number, attempt, status: to }: { number: number; attempt: number; status: string }) =>
          [number, attempt, to].join(),
      )
      expect(new Set(tried).size, tried.join(' ')).toBe(tried.length)
      if (seen > 0) expect(attempts[0]).toMatchObject({ number: seen, status })
    }
    const { applied } = (await call(at(name, '/nodes/summary'))).json()
    const head = heads.at(-1)?.number
    expect(applied).toBe(nodes.filter(({ runs }) => runs !== null && runs.number === head).length)

    const publish = async () => {
      const headers: Record<string, string> = heads.length === 0 ? { 'if-none-match': '*' } : { 'if-match': '*' }
      const body = { number: heads.length + 1 }
      await call(at(name, '/content'), { method: 'PUT', body, headers })
      heads.push((await call(at(name))).json().head as Runs)
    }
    for (let i = 2 + chance.int(3); i > 0; i--) {
      await publish()
      const { number, digest } = heads.at(-1) as Runs
      for (const node of nodes) {
        if (chance.is(0.2)) continue
        const isWell = chance.is(0.8)
        const detail = isWell ? {} : { detail: `no room for ${number}` }
        node.status = isWell ? 'APPLIED' : 'FAILED'
        node.seen = number
        if (isWell) node.runs = { number, digest }
        const about = { type: 'report', number, digest, attempt: 1, at: new Date().toISOString() }
        node.last = { ...about, status: node.status, ...detail }
        await call(`/v1/agent/${name}/report?uid=${node.uid}`, { method: 'POST', body: node.last })
        if (chance.is(0.1)) await say(node)
      }
      await new Promise((resolve) => setTimeout(resolve, chance.int(900)))
    }
    await plane.kill()
  }
}, 240_000)
