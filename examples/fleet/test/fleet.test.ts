/**
 * What `npm start` runs, as processes, and the tour that it prints, as it is printed: a good change reaches all three
 * gateways, a bad one only the first, and the next start finds it all.
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

/** For the shell: `npx midflight` is the one of this checkout, and is not asked whether it is sure. */
const prelude = `
npx() {
  shift
  case $1 in publish | rollback) set -- "$@" --yes ;; esac
  '${process.execPath}' --conditions=midflight-source '${cli}' "$@"
}
`

/** The commands of each step that the tour shows, by its number: what is indented further is said about them. */
function stepsIn(out: string): Map<number, string> {
  const steps = new Map<number, string>()
  let number = 0
  for (const line of (/^Try, [^]*?\n([^]*?)^Ctrl-C/m.exec(out)?.[1] ?? '').split('\n')) {
    const [, first, command] = /^ {1,2}(\d+)\. (.*)$/.exec(line) ?? []
    if (first !== undefined) number = Number(first)
    const before = steps.get(number) ?? ''
    const next = command ?? (/^ {5}\S/.test(line) || before.endsWith('\\\n') ? line.trim() : undefined)
    if (next !== undefined) steps.set(number, `${before}${next}\n`)
  }
  return steps
}

/** Typed into a shell one after the other. @returns the exit status of the last, and all that they said. */
async function typed(...commands: string[]): Promise<{ code: number; out: string }> {
  const env = { ...process.env, NO_COLOR: '1' }
  return await new Promise((resolve) => {
    execFile('sh', ['-c', prelude + commands.join('\n')], { cwd: root, env }, (error, out, err) =>
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

/** Each limit that a gateway has come to run, as its own journal has it. */
async function limitsTaken(dir: string, name: string): Promise<number[]> {
  const journal = await readFile(join(dir, 'nodes', name, 'state', 'events.jsonl'), 'utf8')
  return [...journal.matchAll(/"path":"rules\.users\.limit","before":\d+,"after":(\d+)/g)].map(([, to]) => Number(to))
}

const traffic = async ({ address }: TourNode) =>
  (await (await fetch(`${address}/_traffic`)).json()) as {
    release: number
    total: { answered: number; refused: number; failed: number }
  }

test('F60: the tour: a bad change is caught at the first gateway while the others answer; the next start finds it all', async () => {
  const dir = await directory()
  const first = await tour(dir)
  for (const { name } of first.nodes) await first.shown(`node ${name}: release 1 APPLIED`)
  const token = (await readFile(join(dir, 'admin-token'), 'utf8')).trim()
  const steps = stepsIn(first.out())
  const [login = ''] = (steps.get(1) ?? '').split('\n')
  const step = (number: number) => steps.get(number) ?? 'false'
  const asked = async (path: string) => {
    const url = `${first.url}/v1/configs/${encodeURIComponent(config)}${path}`
    return (await fetch(url, { headers: { authorization: `Bearer ${token}` } })).json()
  }

  expect((await typed(step(1))).out).toContain('x-ratelimit-limit: 1000')

  const good = await typed(login, step(2))
  expect(good.out).toContain('~ rules.users.limit  1000 → 500')
  expect(good.out).toMatch(/1 {2}name=a: 1 node, watched for 5\.0 s\n +2 {2}all others: 2 nodes/)
  expect([good.code, good.out]).toEqual([0, expect.stringContaining('release 2 runs on all 3 nodes')])
  await first.shown('release 2 by admin: five hundred')
  await first.shown(/a: release 2, \d+ of 500, .* \| b: release 1, \d+ of 1000, .* \| c: release 1, \d+ of 1000, /)
  await first.shown('rollout of release 2: completed')
  expect(await limits(first.nodes)).toEqual(['500', '500', '500'])

  // On a busy machine the requests that show it may take longer than a person would want to look on.
  const bad = await typed(login, step(3).replace('--bake 5s', '--bake 60s'))
  expect([bad.code, bad.out]).toEqual([1, expect.stringContaining(`✖ ${config} 3 was rolled back (staged, by admin`)])
  expect(bad.out).toMatch(/a: of the last \d+ requests \d+ refused with 429; want at most 50 %/)
  expect(bad.out).toContain('release 4 is in use now, which holds what release 2 held')
  await first.shown('release 4 by midflight: back to release 2: 1 node unhealthy')
  // The way back may have begun by then, also between what a line says of one node and of that node's limit.
  await first.shown(
    /a: release [34], \d+ of \d+, [^|]*429 \| b: release [24], \d+ of 500, .* \| c: release [24], \d+ of 500, /,
  )
  await first.shown('rollout of release 3: was rolled back, release 4 is in use')
  expect(await limits(first.nodes)).toEqual(['500', '500', '500'])
  // By the control plane, by the gateways' counters, and by what each of them has kept of what it ran.
  expect(await asked('/rollouts/3')).toMatchObject({
    phase: 'rolled-back',
    failure: { kind: 'nodes', step: 0, nodes: [{ node: 'a', reason: expect.stringContaining('refused with 429') }] },
    from: { number: 2 },
    rollback: { number: 4 },
  })
  const [a, ...others] = await Promise.all(first.nodes.map(traffic))
  expect(a).toMatchObject({ release: 4, total: { failed: 0 } })
  expect(a?.total.refused).toBeGreaterThan(0)
  for (const other of others) expect(other).toMatchObject({ release: 4, total: { refused: 0, failed: 0 } })
  expect(first.out()).not.toMatch(/[bc]: release 3|[bc]: release \d+, [^|\n]*(× [45]|no answer)/)
  expect(await limitsTaken(dir, 'a')).toEqual([500, 3, 500])
  for (const name of ['b', 'c']) expect(await limitsTaken(dir, name)).toEqual([500])

  const looked = await typed(login, step(4))
  expect(looked.out).toMatch(/why at step 1 of 2: 1 node unhealthy\n +a: of the last/)
  expect(looked.out).toMatch(/name=a .* 4 +APPLIED[^]*name=b .* 4 +APPLIED[^]*name=c .* 4 +APPLIED/)

  const both = await typed(login, step(5))
  expect([both.code, both.out]).toEqual([0, expect.stringContaining('release 5 runs on all 3 nodes')])
  expect(both.out).toMatch(
    /5 completed \(two-phase.*\n.*all nodes\n +release 5 and the one before ran side by side for/,
  )
  expect(await limits(first.nodes)).toEqual(['800', '800', '800'])

  const refused = await typed(login, step(6))
  expect([refused.code, refused.out]).toEqual([1, expect.stringContaining('rules.users.limit is 0; want an integer')])
  expect(await limits(first.nodes)).toEqual(['800', '800', '800'])

  const back = await typed(login, step(7))
  expect([back.code, back.out]).toEqual([0, expect.stringContaining('release 6 runs on all 3 nodes')])
  expect(await limits(first.nodes)).toEqual(['500', '500', '500'])

  const before = await typed(login, step(8))
  expect(before.out).toMatch(
    / 4 .* midflight .* back to release 2: 1 node unhealthy\n.* 3 .* admin .* three a minute\n/,
  )
  expect(before.out).toMatch(/rules\.users\.limit/)

  // A secret is a reference in the release, and a token is on no terminal.
  expect(JSON.stringify(await asked('/content'))).toContain('${file:orders-token}')
  expect((await fetch(`${first.nodes[0]?.address}/api/orders`)).status).toBe(200)
  expect(first.out()).not.toContain(token)
  expect((await stat(join(dir, 'admin-token'))).mode & 0o777).toBe(0o600)

  const nodesNow = async (out: Promise<{ out: string }>) => {
    const { nodes } = JSON.parse((await out).out) as { nodes: { uid: string; labels: { name: string } }[] }
    return nodes.map(({ uid, labels }) => `${labels.name} ${uid}`).toSorted()
  }
  const uids = await nodesNow(typed(login, `npx midflight nodes ${config} --json`))
  expect(uids).toHaveLength(3)
  const rollouts = (await typed(login, `npx midflight rollout list ${config} --json`)).out
  expect(rollouts).toContain('rolled-back')
  const addresses = first.nodes.map(({ address }) => address)

  // Ctrl-C goes to the nodes as well.
  process.kill(-(first.child.pid as number), 'SIGINT')
  expect(await first.exit).toEqual([0, null])
  expect(first.out()).not.toContain('ended (')
  expect(first.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(first.out()).toMatch(/closed\n$/)

  const second = await tour(dir)
  expect([second.url, second.nodes.map(({ address }) => address)]).toEqual([first.url, addresses])
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 6 APPLIED`)
  expect(await limits(second.nodes)).toEqual(['500', '500', '500'])
  expect(await nodesNow(typed(login, `npx midflight nodes ${config} --json`))).toEqual(uids)
  expect((await typed(login, `npx midflight rollout list ${config} --json`)).out).toBe(rollouts)
  expect((await typed(login, `npx midflight history ${config}`)).out).toMatch(/ 3 .* three a minute\n[^]* 1 .* first\n/)
  expect((await typed(login, step(11))).code).toBe(0)
  for (const { name } of second.nodes) await second.shown(`node ${name}: release 7 APPLIED`)
  expect(await limits(second.nodes)).toEqual(['600', '600', '600'])
  // Who says nothing of the way is not at the mercy of it.
  const silent = await typed(
    login,
    step(6)
      .replace(/limit: 0/, 'limit: 400')
      .replace('npx midflight publish', '$& --dry-run'),
  )
  expect(silent.out).toMatch(/steps {2}(staged|all-at-once) \(by its risk\)\n +1 .*watched for/)
  second.child.kill('SIGTERM')
  expect(await second.exit).toEqual([0, null])
  expect(second.nodes.filter(({ pid }) => isAlive(pid))).toEqual([])
}, 360_000)

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
