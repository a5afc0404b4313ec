/**
 * What `npm start` runs, as processes: what the command line publishes reaches all three gateways, and the next start
 * finds it.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..', '..')
const cli = join(root, 'packages', 'cli', 'src', 'main.ts')
const config = 'shop/gateway/prod'
const content = `/v1/configs/${encodeURIComponent(config)}/content`

/** What `npm start` ends in, after the packages are installed and built. */
function startCommand(): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
  const [, command = ''] = /&& exec node (.*)$/.exec(scripts.start) ?? []
  return command.split(' ')
}

function started(dir: string): ChildProcess {
  return spawn(process.execPath, startCommand(), {
    cwd: root,
    env: { ...process.env, FLEET_RUN_DIR: dir },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group of its own, as a terminal makes one.
    detached: true,
  })
}

/** Ends with what it said, as a start that fails does. */
async function ended(child: ChildProcess): Promise<{ code: number | null; errors: string }> {
  onTestFinished(() => void child.kill('SIGKILL'))
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text))
  child.stdout?.resume()
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, errors }
}

/** The command line, as the tour says to use it. */
async function midflight(url: string, token: string, ...args: string[]): Promise<{ code: number; out: string }> {
  const env = { ...process.env, MIDFLIGHT_URL: url, MIDFLIGHT_TOKEN: token, NO_COLOR: '1' }
  return await new Promise((resolve) => {
    execFile(process.execPath, ['--conditions=midflight-source', cli, ...args], { env }, (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out: out + err }),
    )
  })
}

interface TourNode {
  readonly name: string
  readonly address: string
  readonly pid: number
}

async function tour(dir: string) {
  const child = started(dir)
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8')
    stream?.on('data', (text: string) => (out += text))
  }
  const exit = once(child, 'exit')
  let nodes: readonly TourNode[] = []
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exit
    // They notice by themselves that it is gone. The directory, which they write to, is removed after that.
    await gone(nodes)
  })
  const shown = (text: string | RegExp) => expect.poll(() => out, { timeout: 60_000, interval: 20 }).toMatch(text)
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

const limits = (nodes: readonly TourNode[]) =>
  Promise.all(nodes.map(async ({ address }) => (await fetch(`${address}/api/users`)).headers.get('x-ratelimit-limit')))

async function gone(nodes: readonly TourNode[]): Promise<void> {
  await expect.poll(() => nodes.filter(({ pid }) => isAlive(pid)), { timeout: 60_000 }).toEqual([])
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('what the command line publishes reaches all three; Ctrl-C ends everything, and the next start finds it as it was', async () => {
  const dir = await directory()
  const first = await tour(dir)
  for (const { name } of first.nodes) await first.shown(`node ${name}: release 1 APPLIED`)
  expect(await limits(first.nodes)).toEqual(['1000', '1000', '1000'])
  const token = (await readFile(join(dir, 'admin-token'), 'utf8')).trim()
  const file = join(dir, 'gateway.yaml')
  const publish = async (from: string, to: string, ...more: string[]) => {
    await writeFile(file, (await readFile(file, 'utf8')).replace(`limit: ${from}\n`, `limit: ${to}\n`))
    return await midflight(first.url, token, 'publish', config, file, '--yes', ...more)
  }

  const published = await publish('1000', '2', '-m', 'two a minute')
  expect(published.out).toContain('~ rules.users.limit  1000 → 2')
  expect([published.code, published.out]).toEqual([0, expect.stringContaining('release 2 runs on all 3 nodes')])
  await first.shown('release 2 by admin: two a minute')
  for (const { name } of first.nodes) await first.shown(`node ${name}: release 2 APPLIED`)
  expect(await limits(first.nodes)).toEqual(['2', '2', '2'])
  await first.shown(/requests of this minute: a \d+ of 2, b \d+ of 2, c \d+ of 2; answers since the last line: /)
  // The trickle meets it.
  await first.shown(/answers since the last line: .*\d+ × 429/)

  const refused = await publish('2', '0')
  expect([refused.code, refused.out]).toEqual([1, expect.stringContaining('rules.users.limit is 0; want an integer')])
  expect(await limits(first.nodes)).toEqual(['2', '2', '2'])

  // A secret is a reference in the release, and a token is on no terminal.
  const released = await fetch(`${first.url}${content}`, { headers: { authorization: `Bearer ${token}` } })
  expect(await released.text()).toContain('${file:orders-token}')
  expect((await fetch(`${first.nodes[0]?.address}/api/orders`)).status).toBe(200)
  expect(first.out()).not.toContain(token)
  expect((await stat(join(dir, 'admin-token'))).mode & 0o777).toBe(0o600)

  const uids = async (url: string) => {
    const { out } = await midflight(url, token, 'nodes', config, '--json')
    const { nodes } = JSON.parse(out) as { nodes: { uid: string; labels: { node: string } }[] }
    return nodes.map(({ uid, labels }) => `${labels.node} ${uid}`).toSorted()
  }
  const before = await uids(first.url)
  expect(before).toHaveLength(3)
  const addresses = first.nodes.map(({ address }) => address)

  // Ctrl-C goes to the nodes as well.
  process.kill(-(first.child.pid as number), 'SIGINT')
  expect(await first.exit).toEqual([0, null])
  expect(first.out()).not.toContain('ended (')
  expect(first.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(first.out()).toMatch(/closed\n$/)

  const second = await tour(dir)
  expect([second.url, second.nodes.map(({ address }) => address)]).toEqual([first.url, addresses])
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 2 APPLIED`)
  expect(await limits(second.nodes)).toEqual(['2', '2', '2'])
  expect(await uids(second.url)).toEqual(before)
  expect((await midflight(second.url, token, 'history', config)).out).toMatch(/ 2 .* two a minute\n.* 1 .* first\n/)
  const back = await midflight(second.url, token, 'rollback', config, '--yes')
  expect([back.code, back.out]).toEqual([0, expect.stringContaining('release 3 runs on all 3 nodes')])
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 3 APPLIED`)
  expect(await limits(second.nodes)).toEqual(['1000', '1000', '1000'])
  second.child.kill('SIGTERM')
  expect(await second.exit).toEqual([0, null])
  expect(second.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
}, 240_000)

test('a gateway that was killed is said to be, and is started again at its address; one fleet runs in a directory', async () => {
  const dir = await directory()
  const { child, shown, nodes, out, url, exit } = await tour(dir)
  const killed = nodes[1] as TourNode
  process.kill(killed.pid, 'SIGKILL')
  await shown('node b ended (SIGKILL); it is started again')
  await shown(/node b serves again, process \d+/)
  const pid = Number(/node b serves again, process (\d+)/.exec(out())?.[1])
  expect((await fetch(`${killed.address}/api/users`)).status).toBe(200)

  const other = await ended(started(dir))
  expect(other.code).toBe(1)
  expect(other.errors).toContain(`The fleet runs already: its control plane is at ${url}, and Ctrl-C`)

  child.kill('SIGINT')
  expect(await exit).toEqual([0, null])
  expect(isAlive(pid)).toBe(false)
}, 240_000)

test('ports that are taken by now are said to be, and others are used; tokens that are lost are made anew', async () => {
  const dir = await directory()
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  await writeFile(join(dir, 'ports.json'), JSON.stringify({ 'control-plane': port, a: port, b: 'nonsense' }))
  const { child, shown, exit, url } = await tour(dir)
  await shown(`Port ${port} is taken by another program: the control plane is at ${new URL(url).port} now.`)
  child.kill('SIGINT')
  expect(await exit).toEqual([0, null])

  await Promise.all(['admin-token', 'agent-token'].map((name) => rm(join(dir, name))))
  const again = await tour(dir)
  for (const { name } of again.nodes) await again.shown(`node ${name}: release 1 APPLIED`)
  again.child.kill('SIGINT')
  expect(await again.exit).toEqual([0, null])
}, 240_000)

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
}, 240_000)

test('what cannot start says why and where, with exit status 1', async () => {
  const dir = await directory()
  await writeFile(join(dir, 'gateway.yaml'), 'server: { port: 0 }\n')
  const { code, errors } = await ended(started(dir))
  expect(code).toBe(1)
  expect(errors).toContain('upstreams')
  expect(errors).toContain(dir)
})
