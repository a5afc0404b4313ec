/** The second agent, in Python, written from docs/protocol.md alone: it and the fake control plane understand each other. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import type { Json } from '../src/json.ts'
import { Rig } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'

const program = fileURLToPath(new URL('../../../test/python-agent/agent.py', import.meta.url))
const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0
const skipped = hasPython ? '' : ' (skipped: there is no python3 of 3.8 or later here)'

const rig = new Rig()
const running = new Set<ChildProcess>()
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL')
  await rig.close()
})

describe.skipIf(!hasPython)(`an agent in Python${skipped}`, () => {
  const plane = async (options?: FakeOptions) =>
    rig.add(await FakeControlPlane.listen({ pacing: { heartbeatMs: 2_000 }, ...options }))

  const started = (url: string, directory: string, more: readonly string[] = []) => {
    const out = join(directory, 'config.json')
    const state = join(directory, 'state.json')
    const args = ['-B', program, '--url', url, '--config', 'shop/gateway/prod', '--out', out, '--state', state, ...more]
    const child = spawn('python3', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    running.add(child)
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    return {
      out,
      errors: () => errors,
      kill: async () => {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
        running.delete(child)
      },
    }
  }
  const content = async (path: string) => JSON.parse(await readFile(path, 'utf8')) as Json
  const rules = (limit: number) => ({
    rules: Array.from({ length: 300 }, (_, i) => ({ id: `r${i}`, limit: i === 7 ? limit : i + 0.5, text: '€ "x"' })),
  })

  test('takes a whole and then a delta onto a large configuration, checks both digests, and reports', async () => {
    const fake = await plane({ token: 'secret' })
    fake.publish(rules(1))
    const { out, errors } = started(fake.url, await rig.directory(), ['--token', 'secret'])
    await fake.heard('report', (r) => r.number === 1 && r.status === 'APPLIED')
    expect(await content(out)).toEqual(rules(1))
    expect((await stat(out)).mode & 0o777).toBe(0o600)
    let delta = ''
    fake.frames = (text) => ((delta += text), [text])
    fake.publish(rules(2))
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(await content(out)).toEqual(rules(2))
    expect(delta).toContain('"kind":"delta"')
    expect(fake.reports(2)).toEqual(['RECEIVED', 'APPLYING', 'APPLIED'])
    expect(errors()).toBe('')
  })

  test('asks for the whole when the delta does not fit', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { out } = started(fake.url, await rig.directory())
    await fake.heard('report', (r) => r.number === 1 && r.status === 'APPLIED')
    fake.frames = (text) => [text.replace(/"patch":\[.*\]/, '"patch":[{"op":"replace","path":"/limit","value":99}]')]
    fake.publish({ limit: 2 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(await content(out)).toEqual({ limit: 2 })
  })

  test('refuses a whole that does not come to its digest, and stays on what it has', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { out } = started(fake.url, await rig.directory())
    await fake.heard('report', (r) => r.number === 1 && r.status === 'APPLIED')
    fake.deltas = false
    fake.publish({ limit: 2 }, { digest: `sha256:${'0'.repeat(64)}` })
    const report = await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    expect(report.detail).toContain('want sha256:0000')
    expect(await content(out)).toEqual({ limit: 1 })
  })

  test('I5, I7: starts from its disk while the control plane is away, never goes back, and converges', async () => {
    const directory = await rig.directory()
    let fake = await plane()
    for (const limit of [1, 2, 3]) fake.publish({ limit })
    const first = started(fake.url, directory)
    await fake.heard('report', (r) => r.number === 3 && r.status === 'APPLIED')
    const { uid } = await fake.heard('hello')
    // Its report came before the file that `kill` could cut: what it keeps was written before it spoke.
    await first.kill()
    const { port, releases, url } = fake
    await fake.close()
    const second = started(url, directory)
    fake = await plane({ port, releases: releases.slice(0, 2) })
    const hello = await fake.heard('hello')
    expect(hello).toMatchObject({ uid, runs: { number: 3 }, status: 'APPLIED' })
    expect(await content(second.out)).toEqual({ limit: 3 })
    for (const limit of [4, 5]) fake.releases.push(fake.made({ limit }, { number: limit }))
    fake.pushAll()
    await fake.heard('report', (r) => r.number === 5 && r.status === 'APPLIED')
    expect(await content(second.out)).toEqual({ limit: 5 })
  })

  test('its digest agrees with every vector of the Digest section', () => {
    const vectors = readFileSync(new URL('vectors/digest.json', import.meta.url), 'utf8')
    const code = `import sys, json
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import agent
print(json.dumps([v["name"] for v in json.load(sys.stdin) if agent.digest(json.loads(v["json"])) != v["digest"]]))`
    const run = spawnSync('python3', ['-c', code, join(program, '..')], { input: vectors, encoding: 'utf8' })
    expect(run.stderr).toBe('')
    expect(JSON.parse(run.stdout)).toEqual([])
  })
})
