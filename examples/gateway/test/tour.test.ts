/** What `npm run gateway` runs, as a process: the tour's addresses work, an edit of its file takes effect, Ctrl-C ends it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const script = join(import.meta.dirname, '..', 'src', 'tour.ts')

async function tour(dir: string) {
  const child = spawn(process.execPath, ['--conditions=midflight-source', script], {
    env: { ...process.env, GATEWAY_RUN_DIR: dir },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => (out += text))
  }
  const shown = (text: string | RegExp) => expect.poll(() => out, { timeout: 20_000, interval: 20 }).toMatch(text)
  await shown('Ctrl-C')
  const [, gateway = ''] = /gateway {3}(http:\S+)/.exec(out) ?? []
  const [, admin = ''] = /admin {5}(http:\S+)/.exec(out) ?? []
  return { child, shown, gateway, admin, out: () => out, exit: once(child, 'exit') }
}

async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'tour-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

test('the tour: addresses, an edit, a bad edit, Ctrl-C', async () => {
  const dir = await directory()
  const { child, shown, gateway, admin, exit } = await tour(dir)
  const file = join(dir, 'gateway.yaml')
  const limit = async () => (await fetch(`${gateway}/api/users`)).headers.get('x-ratelimit-limit')
  const replace = async (from: string, to: string) => {
    const text = await readFile(file, 'utf8')
    expect(text).toContain(from)
    await writeFile(file, text.replace(from, to))
  }

  expect(await limit()).toBe('1000')
  expect((await fetch(`${gateway}/api/orders`)).status).toBe(200)
  expect(await (await fetch(`${admin}/status`)).text()).toContain('running')
  expect(await (await fetch(`${admin}/config`)).text()).not.toContain('Bearer')

  await replace('limit: 1000', 'limit: 3')
  await expect.poll(limit, { timeout: 10_000 }).toBe('3')
  await shown('rules.users.limit: 1000 → 3')

  await replace('limit: 3', 'limit: 0')
  await shown(/gateway\.yaml:\d+:\d+ rules\S* is 0/)
  expect(await limit()).toBe('3')

  await replace('limit: 0', 'limit: 4')
  await expect.poll(limit, { timeout: 10_000 }).toBe('4')
  await replace('gateway.log', 'no/such/directory.log')
  await shown('rolled back, the old configuration is live everywhere: log failed')

  child.kill('SIGINT')
  expect(await exit).toEqual([0, null])
})

test('the edited file is kept on the second start, and SIGTERM ends it too', async () => {
  const dir = await directory()
  const first = await tour(dir)
  const file = join(dir, 'gateway.yaml')
  await writeFile(file, (await readFile(file, 'utf8')).replace('limit: 1000', 'limit: 77'))
  await first.shown('1000 → 77')
  first.child.kill('SIGTERM')
  expect(await first.exit).toEqual([0, null])

  const second = await tour(dir)
  expect((await fetch(`${second.gateway}/api/users`)).headers.get('x-ratelimit-limit')).toBe('77')
  second.child.kill('SIGINT')
  expect(await second.exit).toEqual([0, null])
})
