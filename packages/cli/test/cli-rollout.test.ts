/** Rollouts by the command line, against a real control plane with real agents. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'
import { agentToken, change, config, made, node, plane, type Plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

/** A control plane whose release 1 runs on so many nodes. */
async function fleet(count: number, to?: Plane): Promise<Plane> {
  const here = to ?? (await made())
  await here.run('publish', config, 'gateway.yaml', '-y', '--no-wait')
  const token = await agentToken(here)
  await Promise.all(Array.from({ length: count }, () => node(here, config, token)))
  await vi.waitFor(async () => {
    const { delivery } = (await here.run('status', '--config', config, '--json')).json() as { delivery: object }
    expect(delivery).toMatchObject({ nodes: count, converged: true })
  }, 30_000)
  return here
}

test('publish in steps shows risk, nodes and steps before, follows to the end, and exits 0', async () => {
  const to = await fleet(3)
  await change(to, ['limit: 200', 'limit: 500'])
  const steps = ['--steps', '10,50', '--bake', '50ms']
  const planned = await to.run('publish', config, 'gateway.yaml', '--dry-run', ...steps)
  expect(planned.code).toBe(2)
  expect(planned.out).toMatch(/^risk {3}medium \(\d+ of 100\)\n {7}\+\d+ .*its author/m)
  expect(planned.out).toContain('nodes  3 here\n       test-node, 3 nodes: log hot, server hot\n')
  expect(planned.out).toContain('steps  staged\n       1  10 % of the nodes: 1 node, watched for 50 ms\n')
  const ran = await to.run('publish', config, 'gateway.yaml', '-y', ...steps, '--wait')
  expect([ran.code, ran.err]).toEqual([0, ''])
  expect(ran.out).toMatch(/✔ shop\/gateway 2 completed \(staged, by admin, .*\)\n {2}✔ 1 {2}10 % of the nodes\n/)
  expect(ran.out).toContain('release 2 runs on all 3 nodes')
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin }
  const watching = spawned(['watch', '--config', config], { cwd: to.cwd, env })
  onTestFinished(() => void watching.kill('SIGKILL'))
  const seen = lines(watching)
  const noted = new Promise((resolve) => watching.stderr?.once('data', resolve))
  await noted
  await change(to, ['limit: 200', 'limit: 600'])
  const both = await to.run('publish', config, 'gateway.yaml', '-y', '--two-phase', '--wait')
  expect([both.code, both.out]).toEqual([0, expect.stringMatching(/side by side for at most [\d.]+ m?s/)])
  await seen.until((line) => line.includes('▸ rollout shop/gateway 3 completed'))
  expect((await to.run('rollout', 'status', config, '3', '--json')).json()).toMatchObject({ kind: 'two-phase' })
  const many = Array.from({ length: 60 }, (_, i) => i + 1).join()
  await to.run('publish', config, 'gateway.yaml', '-y', '--force', '--steps', many, '--bake', '0s', '--wait')
  const shown = (await to.run('rollout', 'status', config)).out.split('\n')
  expect([shown.length, shown.filter((line) => line.includes('…')).length]).toEqual([9, 1])
})

test('what a node cannot take goes back: exit status 1, which node, why, and what is in use now', async () => {
  const to = await fleet(2)
  await change(to, ['info', 'warn'])
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin }
  const watching = spawned(['watch', '--config', config], { cwd: to.cwd, env })
  onTestFinished(() => void watching.kill('SIGKILL'))
  const seen = lines(watching)
  await new Promise((resolve) => watching.stderr?.once('data', resolve))
  const ran = await to.run('publish', config, 'gateway.yaml', '-y', '--strategy', 'staged', '--bake', '1s', '--wait')
  expect(ran.code).toBe(1)
  expect(ran.out).toContain('✖ shop/gateway 2 was rolled back (staged, by admin')
  expect(ran.out).toMatch(/✖ 1 {2}10 % of the nodes\n[^]*why at step 1 of 3: 1 node failed\n.*cannot write warnings\n/)
  expect(ran.out).toContain('release 3 is in use now, which holds what release 1 held')
  await seen.until((line) => line.includes('▸ rollout shop/gateway 2 rolls back as release 3: 1 node failed'))
  await seen.until((line) => line.includes('● shop/gateway 3 published by midflight, a rollback: back to release 1'))
  expect((await to.run('history', config)).out).toMatch(/ {2}back to release 1: 1 node failed\n/)
  const status = await to.run('rollout', 'status', config)
  expect([status.code, status.out]).toEqual([1, expect.stringContaining('was rolled back')])
  // The one before it holds what is in use, and the one that was taken back is not brought back by a rollback.
  const none = await to.run('rollback', config, '-y')
  expect([none.code, none.err]).toEqual([1, expect.stringContaining('none of the 2 releases of shop/gateway before 3')])
  expect((await to.run('rollout', 'list', config)).out).toMatch(
    /^ {2}2 .* admin +staged +was rolled back +medium \d+ +1 node failed$/m,
  )
  const report = await to.run('risk', 'report', config)
  expect([report.code, report.out]).toEqual([0, expect.stringContaining('1 rollout with advice, 1 went badly')])
  expect((await to.run('risk', 'report', config, '--json')).json()).toMatchObject({
    records: [{ outcome: 'rolled-back' }],
  })
})

test('one that is under way is followed by others, held, let go, promoted, confirmed and given up', async () => {
  const to = await fleet(2)
  await change(to, ['limit: 200', 'limit: 500'])
  const begun = await to.run(
    'publish',
    config,
    'gateway.yaml',
    '-y',
    '--steps',
    '50',
    '--bake',
    '1h',
    '--confirm',
    '1h',
    '--wait',
    '0s',
  )
  expect([begun.code, begun.err]).toEqual([
    2,
    expect.stringContaining('midflight rollout status shop/gateway 2 --watch follows it'),
  ])
  await vi.waitFor(async () => {
    const now = await to.run('rollout', 'status', config)
    expect([now.code, now.out]).toEqual([
      2,
      expect.stringMatching(/▸ 1 {2}50 % of the nodes +█{10} {2}1 applied {2}watched for 59 min more/),
    ])
  }, 20_000)
  const watching = spawned(['rollout', 'status', config, '--watch'], {
    cwd: to.cwd,
    env: { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin },
  })
  const watched = finished(watching)
  const seen = lines(watching)
  await seen.until((line) => line.includes('step 1 of 2 is watched'))
  const paused = await to.run('rollout', 'pause', config, '--reason', 'lunch')
  expect([paused.code, paused.out]).toEqual([0, expect.stringContaining('▲ paused: lunch (admin)')])
  await seen.until((line) => line.includes('step 1 of 2 is watched, paused: lunch'))
  expect((await to.run('rollout', 'resume', config, '--reason', 'dinner')).err).toContain('it is for "lunch"')
  expect((await to.run('rollout', 'resume', config)).out).toContain('✔ resumed the rollout of shop/gateway 2')
  expect((await to.run('rollout', 'resume', config)).err).toContain('is not paused')
  expect((await to.run('rollout', 'confirm', config, '--reason', 'x')).err).toContain(
    'to confirm it, it has to be waiting for a confirmation',
  )
  expect((await to.run('rollout', 'promote', config, '2', '--reason', 'well')).code).toBe(0)
  await seen.until((line) => line.includes('step 2 of 2 is watched'))
  expect((await to.run('rollout', 'promote', config, '--reason', 'well', '--json')).json()).toMatchObject({
    phase: 'confirming',
  })
  expect((await to.run('rollout', 'confirm', config, '--reason', 'it stays')).out).toContain('✔ confirmed')
  expect(await watched).toMatchObject({ code: 0, out: expect.stringContaining('✔ shop/gateway 2 completed') })
  await change(to, ['limit: 200', 'limit: 600'])
  await to.run('publish', config, 'gateway.yaml', '-y', '--steps', '50', '--bake', '1h', '--no-wait')
  expect((await to.run('rollout', 'abort', config, '--reason', 'wrong customer')).code).toBe(0)
  await vi.waitFor(async () => {
    const ended = await to.run('rollout', 'status', config, '3')
    expect([ended.code, ended.out]).toEqual([1, expect.stringContaining('aborted by admin: wrong customer')])
  }, 20_000)
  expect((await to.run('rollout', 'pause', config, '3', '--reason', 'late')).err).toContain(
    'is rolled back; to pause it',
  )
  expect(
    (await to.run('rollback', config, '--to', '1', '-y', '--strategy', 'staged', '--bake', '10ms', '--wait')).code,
  ).toBe(0)
})

test('a policy is for all who say nothing; in a freeze a publish is refused with why, until when, and what to do', async () => {
  const to = await fleet(1)
  const set = await to.run(
    'rollout',
    'policy',
    config,
    '--strategy',
    'staged',
    '--bake',
    '10ms',
    '--freeze',
    'sun,mon,tue,wed,thu,fri,sat 00:00-24:00',
    '--reason',
    'holidays',
  )
  expect([set.code, set.out]).toEqual([0, expect.stringContaining('strategy  {"kind":"staged","bakeMs":10}')])
  expect(set.out).toContain('freeze    sun, mon, tue, wed, thu, fri, sat 00:00-24:00 UTC: holidays')
  await change(to, ['limit: 200', 'limit: 500'])
  const refused = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([refused.code, refused.out]).toEqual([1, expect.stringContaining('steps  staged (what the config says)')])
  expect(refused.out).toMatch(/▲ frozen until .*: holidays/)
  expect(refused.err).toMatch(
    /is frozen until .* \(holidays\)[^]*midflight draft create keeps it until then; --break-glass/,
  )
  const glass = await to.run(
    'publish',
    config,
    'gateway.yaml',
    '-y',
    '--break-glass',
    'fire',
    '--wait',
    '30s',
    '--json',
  )
  expect([glass.code, glass.json()]).toMatchObject([
    0,
    { rollout: { kind: 'staged', phase: 'completed' }, delivery: { converged: true } },
  ])
  const freed = await to.run('rollout', 'policy', config, '--no-freeze', '--no-strategy', '--json')
  expect(freed.json()).toEqual({ strategy: null, freezes: [], frozen: null })
})

test('a gate that a webhook answers: a yes lets it through, a no brings it back with what it said', async () => {
  let healthy = true
  const asked: unknown[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    request.on('end', () => {
      asked.push(JSON.parse(text))
      response.writeHead(200).end(JSON.stringify({ healthy, reason: 'checkout is slow' }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/smoke`
  const cwd = await folder({
    'gates.json': JSON.stringify({ webhooks: { smoke: { url, allowHosts: ['127.0.0.1'] } } }),
  })
  const to = await plane({ cwd, more: ['--gates', 'gates.json'] })
  await writeFile(join(cwd, 'gateway.yaml'), 'log: { level: info }\nserver: { port: 1 }\n')
  await to.run('config', 'create', config)
  await fleet(1, to)
  const publish = async (level: string): Promise<{ code: number | null; out: string }> => {
    await writeFile(join(cwd, 'gateway.yaml'), `log: { level: ${level} }\nserver: { port: 1 }\n`)
    return await to.run('publish', config, 'gateway.yaml', '-y', '--bake', '50ms', '--gate-webhook', 'smoke', '--wait')
  }
  expect(await publish('debug')).toMatchObject({ code: 0 })
  expect(asked.at(-1)).toMatchObject({ gate: 'smoke', config, release: 2, step: 0 })
  healthy = false
  const bad = await publish('trace')
  expect([bad.code, bad.out]).toEqual([1, expect.stringMatching(/gate smoke: .*checkout is slow/)])
  const none = await to.run('publish', config, 'gateway.yaml', '-y', '--gate-webhook', 'other', '--force')
  expect([none.code, none.err]).toEqual([
    1,
    expect.stringContaining('the webhook other is not configured on the control plane'),
  ])
})

test('what makes no sense is refused before anything is asked, or by the control plane, and never published', async () => {
  const to = await made()
  const publish = (...words: string[]) => to.run('publish', config, 'gateway.yaml', '-y', ...words)
  const cases: [string[], string][] = [
    [['--steps', '0'], 'steps[0].percent is 0; want 0.01 to 100 percent'],
    [['--steps', '-1'], 'want percents or labels'],
    [['--steps', '101'], 'steps[0].percent is 101'],
    [['--steps', '50,10'], 'want each to reach more nodes'],
    [['--steps', 'NaN'], '--steps has "NaN"'],
    [['--steps', Array.from({ length: 100 }, (_, i) => i + 1).join()], '99'],
    [['--strategy', 'magic'], 'kind'],
    [['--strategy', '{'], '--strategy is "{"; want one of'],
    [['--strategy', '[]'], '--strategy is no strategy'],
    [['--strategy', '@nowhere.json'], 'the strategy nowhere.json is not there'],
    [['--strategy', 'by-zone'], 'no node has the label "zone"'],
    [['--bake', 'soon'], '--bake is "soon"; want a time like'],
    [['--gate-promql', 'up'], '--gate-promql is "up"; want NAME: QUERY < NUMBER'],
    [['--gate-promql', 'x: up == 1'], 'no Prometheus is configured'],
    [['--gate-webhook', 'a=x', '--gate-webhook', 'a=y'], 'want each once'],
    [['--wait', 'long'], '--wait is "long"; want a time like'],
  ]
  const ran = await Promise.all(cases.map(async ([words, said]) => [words, said, await publish(...words)] as const))
  for (const [words, said, { code, err }] of ran)
    expect([words, code, err]).toEqual([words, 1, expect.stringContaining(said)])
  expect((await to.run('history', config)).out).toBe('no releases\n')
  const policy = (...words: string[]) => to.run('rollout', 'policy', config, ...words)
  expect((await policy('--freeze', 'someday')).err).toContain('want --reason TEXT with --freeze')
  expect((await policy('--freeze', 'someday', '--reason', 'x')).err).toContain('--freeze is "someday"; want FROM/TO')
  const backwards = await policy('--freeze', '2026-12-24T12:00Z/2026-12-24T11:00Z', '--reason', 'x')
  expect([backwards.code, backwards.err]).toEqual([1, expect.stringContaining('which is not after')])
  expect((await to.run('rollout', 'status', config)).err).toContain('shop/gateway has had no rollout')
  expect((await to.run('rollout', 'status', config, 'x')).err).toContain('the release is "x"; want an integer')
  expect((await to.run('rollout', 'abort', config)).err).toContain(
    'why? want midflight rollout abort shop/gateway --reason TEXT',
  )
  expect((await to.run('rollout', 'abort', 'shop//x', '--reason', 'x')).err).toContain('has an empty segment')
  const bad = await midflight(['serve', '--data', 'd', '--port', '0', '--gates', 'g.json'], {
    cwd: await folder({ 'g.json': '{"prom":1}' }),
  })
  expect([bad.code, bad.err]).toEqual([
    1,
    expect.stringContaining('--gates g.json has prom; want { prometheus, webhooks }'),
  ])
})

const escape = '\u001b'

/** What is left on a screen: cursor up, clear to the end, lines. */
function screenOf(written: string, columns: number): string[] {
  const rows = ['']
  let at = 0
  let column = 0
  const parts = new RegExp(`${escape}\\[(\\d+)A|(${escape}\\[J)|(\\r?\\n)|(${escape}\\[[\\d;]*m)|([^])`, 'gu')
  for (const [, up, clear, end, , text] of written.matchAll(parts)) {
    if (up !== undefined) {
      at -= Number(up)
      expect(at).toBeGreaterThanOrEqual(0)
    } else if (clear !== undefined) rows.splice(at, Infinity, '')
    else if (end !== undefined) {
      at++
      column = 0
      rows[at] ??= ''
    } else if (text !== undefined) {
      if (column === columns) {
        at++
        column = 0
        rows[at] ??= ''
      }
      rows[at] = (rows[at] ?? '').slice(0, column) + text + (rows[at] ?? '').slice(column + 1)
      column++
    }
  }
  return rows
}

const hasScript = spawnSync('script', ['--version']).status === 0
test.skipIf(!hasScript)(
  `on a terminal a rollout is drawn over itself, also where it is narrow, and is there once in the end${hasScript ? '' : ' (skipped: script is not here)'}`,
  async () => {
    const to = await fleet(2)
    await change(to, ['limit: 200', 'limit: 500'])
    const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
    const columns = 50
    await to.run('publish', config, 'gateway.yaml', '-y', '--steps', '50', '--bake', '2s', '--no-wait')
    const command = `stty cols ${columns}; exec ${process.execPath} --conditions=midflight-source ${main} rollout status ${config} --watch`
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: to.cwd,
      env: { ...process.env, MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let written = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (written += text))
    const [code] = (await once(child, 'close')) as [number | null]
    const screen = screenOf(written, columns).join('\n')
    expect([code, screen]).toEqual([0, expect.stringContaining('✔ shop/gateway 2 completed')])
    expect(written.match(/is watched/g)?.length).toBeGreaterThan(2)
    expect(screen).not.toContain('is watched')
    expect(screen.match(/shop\/gateway 2/g)).toHaveLength(1)
  },
)

test('a publish that says nothing goes by its risk, as `midflight serve` has it, and so says the plan', async () => {
  const to = await fleet(3, await made([], ['--strategy', 'by-risk']))
  await change(to, ['limit: 200', 'limit: 500'])
  const planned = await to.run('publish', config, 'gateway.yaml', '--dry-run')
  expect(planned.out).toMatch(/^steps {2}staged \(by its risk\)$/m)
  const asked = ['publish', config, 'gateway.yaml', '-y', '--json']
  expect((await to.run(...asked)).json()).toMatchObject({ rollout: { kind: 'staged', advice: { level: 'medium' } } })
  await to.run('rollout', 'policy', config, '--strategy', 'all-at-once')
  await change(to, ['limit: 500', 'limit: 600'])
  const said = await to.run('publish', config, 'gateway.yaml', '--dry-run')
  expect(said.out).toMatch(/^steps {2}all-at-once \(what the config says\)$/m)
})

test('an emergency that expires: at once to all, and taken back unless somebody confirms it in time', async () => {
  const to = await fleet(2)
  await change(to, ['limit: 200', 'limit: 500'])
  const more = ['--strategy', 'instant', '--confirm', '1s', '--break-glass', 'the shop is down']
  const ran = await to.run('publish', config, 'gateway.yaml', '-y', ...more, '--wait')
  expect([ran.code, ran.out]).toEqual([1, expect.stringContaining('nobody confirmed it within 1000 ms')])
  expect(ran.out).toContain('release 3 is in use now, which holds what release 1 held')
})
