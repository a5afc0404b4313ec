/** What `npm run fleet` runs, as a process: a release reaches all three gateways, and a second start finds it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const script = join(import.meta.dirname, '..', 'src', 'tour.ts')
const content = '/v1/configs/shop%2Fgateway%2Fprod/content'

interface TourNode {
  readonly name: string
  readonly address: string
  readonly pid: number
}

async function tour(dir: string) {
  const child = spawn(process.execPath, ['--conditions=midflight-source', script], {
    env: { ...process.env, FLEET_RUN_DIR: dir },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => (out += text))
  }
  const exit = once(child, 'exit')
  let nodes: readonly TourNode[] = []
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exit
    // They notice by themselves that it is gone. The directory, which they write to, is removed after that.
    await gone(nodes)
  })
  const shown = (text: string | RegExp) => expect.poll(() => out, { timeout: 25_000, interval: 20 }).toMatch(text)
  await shown('Ctrl-C')
  const url = /control plane {3}(http:\S+)/.exec(out)?.[1] ?? ''
  nodes = [...out.matchAll(/node (\w) {10}(http:\S+) {3}process (\d+)/g)].map(
    ([, name = '', address = '', pid]): TourNode => ({ name, address, pid: Number(pid) }),
  )
  expect(nodes.map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  return { child, shown, url, nodes, out: () => out, exit }
}

async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'fleet-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }))
  return dir
}

async function patch(url: string, token: string, value: number, message: string): Promise<number> {
  const answer = await fetch(`${url}${content}?message=${message}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${token}`, 'if-match': '*', 'content-type': 'application/json-patch+json' },
    body: JSON.stringify([{ op: 'replace', path: '/rules/0/limit', value }]),
  })
  await answer.arrayBuffer()
  return answer.status
}

const limits = (nodes: readonly TourNode[]) =>
  Promise.all(nodes.map(async ({ address }) => (await fetch(`${address}/api/users`)).headers.get('x-ratelimit-limit')))

async function gone(nodes: readonly TourNode[]): Promise<void> {
  await expect.poll(() => nodes.filter(({ pid }) => isAlive(pid)), { timeout: 20_000 }).toEqual([])
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a release reaches all three gateways, Ctrl-C ends everything, and the next start finds it as it was', async () => {
  const dir = await directory()
  const first = await tour(dir)
  for (const { name } of first.nodes) await first.shown(`node ${name}: release 1 APPLIED`)
  expect(await limits(first.nodes)).toEqual(['1000', '1000', '1000'])
  const token = (await readFile(join(dir, 'admin-token'), 'utf8')).trim()

  expect(await patch(first.url, token, 77, 'slower')).toBe(201)
  await first.shown('release 2 by admin: slower')
  for (const { name } of first.nodes) await first.shown(`node ${name}: release 2 APPLIED`)
  expect(await limits(first.nodes)).toEqual(['77', '77', '77'])
  await first.shown(/requests of this minute: a \d+ of 77, b \d+ of 77, c \d+ of 77/)

  expect(await patch(first.url, token, 0, 'bad')).toBe(422)
  expect(await limits(first.nodes)).toEqual(['77', '77', '77'])

  // A secret is a reference in the release, and a token is on no terminal.
  const released = await fetch(`${first.url}${content}`, { headers: { authorization: `Bearer ${token}` } })
  expect(await released.text()).toContain('${file:orders-token}')
  expect((await fetch(`${first.nodes[0]?.address}/api/orders`)).status).toBe(200)
  expect(first.out()).not.toContain(token)
  expect((await stat(join(dir, 'admin-token'))).mode & 0o777).toBe(0o600)

  first.child.kill('SIGINT')
  expect(await first.exit).toEqual([0, null])
  expect(first.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(first.out()).toMatch(/closed\n$/)

  const second = await tour(dir)
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 2 APPLIED`)
  expect(await limits(second.nodes)).toEqual(['77', '77', '77'])
  expect(await patch(second.url, token, 78, 'again')).toBe(201)
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 3 APPLIED`)
  second.child.kill('SIGTERM')
  expect(await second.exit).toEqual([0, null])
  expect(second.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
}, 90_000)

test('I7: while the control plane does not answer, the gateways do; killed, it leaves no node behind', async () => {
  const dir = await directory()
  const { child, nodes, exit } = await tour(dir)
  child.kill('SIGSTOP')
  for (const { address } of nodes) {
    const answer = await fetch(`${address}/_limits`)
    expect(await answer.json()).toMatchObject([{ id: 'users', limit: 1000 }, { id: 'orders' }])
  }
  child.kill('SIGKILL')
  expect(await exit).toEqual([null, 'SIGKILL'])
  await gone(nodes)
}, 60_000)

test('what cannot start says why and where, with exit status 1', async () => {
  const dir = await directory()
  await writeFile(join(dir, 'gateway.yaml'), 'server: { port: 0 }\n')
  const child = spawn(process.execPath, ['--conditions=midflight-source', script], {
    env: { ...process.env, FLEET_RUN_DIR: dir },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  expect(await once(child, 'close')).toEqual([1, null])
  expect(errors).toContain('upstreams')
  expect(errors).toContain(dir)
})
