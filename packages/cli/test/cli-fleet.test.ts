/** The commands for a control plane, against a real one: a process of its own, on SQLite, with real agents. */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { agentToken, change, config, hasScript, made, node, onTerminal } from './fleet-rig.ts'
import { finished, folder, gateway, good, lines, midflight, spawned } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

test('publish shows the plan, publishes, follows the release to the nodes, and exits 0 when all run it', async () => {
  const to = await made()
  const first = await to.run('publish', config, 'gateway.yaml', '--yes')
  expect([first.code, first.out]).toEqual([0, expect.stringContaining('published shop/gateway 1')])
  expect(first.out).toContain('no node runs this config yet')
  const token = await agentToken(to)
  const nodes = [await node(to, config, token), await node(to, config, token)]
  await change(to, ['limit: 200', 'limit: 500'])
  const next = await to.run('publish', config, 'gateway.yaml', '-y', '-m', 'more orders')
  expect(next).toMatchObject({ code: 0, out: expect.stringContaining('release 2 runs on all 2 nodes') })
  expect(next.out).toContain('shop/gateway from release 1 to 2\n\n~ rules.r2.limit  200 → 500\n')
  expect(nodes.map(({ live }) => JSON.stringify(live).includes('500'))).toEqual([true, true])
  const same = await to.run('publish', config, 'gateway.yaml', '-y', '--json')
  expect([same.code, same.json()]).toMatchObject([0, { created: false, plan: { same: true } }])
  const status = await to.run('status', '--config', config)
  expect(status).toMatchObject({ code: 0, out: expect.stringContaining('release 2 runs on all 2 nodes') })
})

test('publish exits 2 when a node cannot run it; nodes --not-on and status say who and why', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  const token = await agentToken(to)
  await node(to, config, token)
  await change(to, ['info', 'warn'])
  const failed = await to.run('publish', config, 'gateway.yaml', '-y', '--json')
  expect([failed.code, failed.json()]).toMatchObject([
    2,
    { release: { number: 2 }, created: true, delivery: { nodes: 1, converged: false, settled: true } },
  ])
  const behind = await to.run('nodes', config, '--not-on', '2')
  expect([behind.code, behind.out]).toEqual([2, expect.stringContaining('cannot write warnings')])
  expect(behind.out).toMatch(/^ {2}zone=a +[0-9a-f]{8} +1 +ROLLED_BACK .*test-node/m)
  expect((await to.run('status', '--config', config)).code).toBe(2)
  const [{ uid }] = ((await to.run('nodes', config, '--json')).json() as { nodes: [{ uid: string }] }).nodes
  expect((await to.run('nodes', '--uid', uid)).out).toMatch(/2 +1 +ROLLED_BACK/)
  // What the table shows of a uid is enough, and the whole one is there.
  const one = await to.run('nodes', config, '--uid', uid.slice(0, 8))
  expect([one.code, one.out]).toEqual([0, expect.stringContaining(`uid ${uid}`)])
  expect((await to.run('nodes', '--uid', uid.slice(0, 8))).err).toContain(
    'is no whole uid; want midflight nodes CONFIG',
  )
  expect((await to.run('nodes', config, '--uid', 'ffffffff-')).err).toContain('no node of shop/gateway has a uid')

  const back = await to.run('rollback', config, '1', '-y')
  expect([back.code, back.out]).toEqual([0, expect.stringContaining('rolled back as shop/gateway 3')])
  expect(back.out).toContain('release 3 runs on the one node')
  expect((await to.run('nodes', config, '--not-on', '3')).out).toBe('every node runs release 3\n')

  await change(to, ['8080', '8081'])
  const restart = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([restart.code, restart.out]).toEqual([2, expect.stringContaining('1 need a restart')])
  expect(restart.out).toContain('needs a restart: server.port')
  expect(restart.out).toContain('needs a restart for it; runs 3')
  // Nobody runs the port that is left: nobody has to restart to be rid of it.
  const away = await to.run('rollback', config, '3', '-y')
  expect([away.code, away.out]).toEqual([0, expect.stringContaining('~ server.port  8081 → 8080\n')])
  expect(away.out).not.toContain('restart')
})

test('a node that will not come back is forgotten', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  const engine = await node(to, config, await agentToken(to))
  const listed = async () => ((await to.run('nodes', config, '--json')).json() as { nodes: { uid: string }[] }).nodes
  await expect.poll(listed, { timeout: 20_000 }).toHaveLength(1)
  await engine.close()
  const uid = (await listed())[0]?.uid ?? ''
  const blind = await to.run('nodes', config, '--forget', uid)
  expect([blind.code, blind.err]).toEqual([1, expect.stringContaining('want --yes')])
  const gone = await to.run('nodes', config, '--forget', uid.slice(0, 8), '-y')
  expect([gone.code, gone.out]).toEqual([0, `✔ forgot zone=a ${uid}\n`])
  expect((await to.run('nodes', config)).out).toBe('no nodes\n')
})

test('a control plane that is asked as a process, and the other way round, are told apart', async () => {
  const to = await made()
  for (const command of ['status', 'plan', 'reload', 'events', 'watch']) {
    const ran = await to.run(command)
    expect([command, ran.code, ran.err]).toEqual([
      command,
      1,
      `midflight: ${to.url} is a control plane, and this asks a process\n` +
        '  of a fleet: midflight status --config CONFIG, midflight watch --config CONFIG, midflight nodes CONFIG\n',
    ])
  }
  const { url } = await gateway(await folder(), good)
  const ran = await midflight(['history', config], { env: { MIDFLIGHT_URL: url } })
  expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('is the admin endpoint of a process')])
  const none = await to.run('history', 'shop/none')
  expect(none.err).toBe(
    'midflight: there is no config "shop/none"\n' +
      '  midflight config list shows those that this token may see; midflight config create makes one\n',
  )
  const token = await to.run('token', 'revoke', 'mine')
  expect(token.err).toBe('midflight: id is "mine"; want a UUID in lower case\n')
})

test('in a narrow terminal tables are cut, and never what has to be typed again', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y', '-m', 'a message that is longer than what is left of the line')
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, COLUMNS: '60' }
  const history = await midflight(['history', config], { env })
  expect(Math.max(...history.out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60)
  const tokens = await midflight(['token', 'list'], { env })
  expect(tokens.out).toMatch(/^ {2}[0-9a-f-]{36} /m)
})

test('history, diff, blame and rollback see what was published; --json has it whole', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y', '-m', 'first')
  await change(to, ['info', 'debug'])
  await to.run('publish', config, 'gateway.yaml', '-y', '-m', 'louder', '--no-wait')
  const history = await to.run('history', config)
  expect(history.out).toMatch(/\n {2}2 .*admin .*louder\n {2}1 .*admin .*first\n/)
  expect((await to.run('history', config, '--limit', '1', '--json')).json()).toMatchObject({
    releases: [{ number: 2, parent: 1, signature: { alg: 'Ed25519' } }],
  })
  expect(await to.run('diff', '--config', config, '1', 'head')).toMatchObject({
    code: 2,
    out: expect.stringContaining('~ log.level  "info" → "debug"'),
  })
  expect(await to.run('diff', '--config', config, '2', '2')).toMatchObject({ code: 0 })
  expect((await to.run('blame', config, 'log.level')).out).toMatch(
    /^log\.level was changed in release 2 by admin \(.*\): louder\n$/,
  )
  expect((await to.run('blame', config, 'rules.r1.limit', '--json')).json()).toMatchObject({ release: { number: 1 } })
  const never = await to.run('rollback', config, '-y')
  expect([never.code, never.err]).toEqual([1, expect.stringContaining('was never applied by a node')])
  const glass = await to.run('rollback', config, '-y', '--break-glass', 'the night shift', '--json')
  expect([glass.code, glass.json()]).toMatchObject([0, { release: { number: 3, kind: 'rollback', rollbackOf: 1 } }])
  await to.run('rollback', config, '2', '-y', '--break-glass', 'it was right', '-m', 'quiet after all')
  const again = (await to.run('history', config)).out
  expect(again).toMatch(/ back to release 2: quiet after all\n.* back to release 1\n/)
})

test('watch --config shows releases and nodes as they come', async () => {
  const to = await made()
  const token = await agentToken(to)
  await to.run('publish', config, 'gateway.yaml', '-y')
  const child = spawned(['watch', '--config', 'shop'], { env: { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin } })
  const ran = finished(child)
  const seen = lines(child)
  await once(child.stderr!, 'data')
  await node(to, config, token)
  await seen.until((line) => /node zone=a [0-9a-f]{8} came$/.test(line))
  await change(to, ['info', 'debug'])
  await to.run('publish', config, 'gateway.yaml', '-y', '-m', 'louder')
  await seen.until((line) => line.endsWith('● shop/gateway 2 published by admin: louder'))
  await seen.until((line) => /node zone=a [0-9a-f]{8} APPLIED, runs 2$/.test(line))
  child.kill('SIGINT')
  expect((await ran).code).toBe(130)
  expect((await to.run('watch', '--config', 'shop/none')).err).toContain(
    'there is no config shop/none, and none below it',
  )
})

test('publish asks on a terminal, and refuses to ask where there is none', async () => {
  const to = await made()
  const blind = await to.run('publish', config, 'gateway.yaml')
  expect([blind.code, blind.out, blind.err]).toEqual([1, '', expect.stringContaining('want --yes')])
  expect((await to.run('publish', config, 'gateway.yaml', '--dry-run')).code).toBe(2)
  expect((await to.run('history', config)).out).toBe('no releases\n')
})

test.skipIf(!hasScript)(
  `on a terminal, "n" publishes nothing and "y" does${hasScript ? '' : ' (skipped: script is not here)'}`,
  async () => {
    const to = await made()
    const answered = (answer: string) => onTerminal(to, answer, 'publish', config, 'gateway.yaml')
    const [no, said] = await answered('n')
    expect([no, said]).toEqual([1, expect.stringContaining('not published')])
    const [yes, done] = await answered('y')
    expect([yes, done]).toEqual([0, expect.stringContaining('published shop/gateway 1')])
  },
)

test('what the schema refuses is told place by place, and nothing is published', async () => {
  const to = await made()
  await change(to, ['limit: 200', 'limit: 0'], ['level: info', 'level: loud'])
  const bad = await to.run('publish', config, 'gateway.yaml', '-y')
  expect(bad.code).toBe(1)
  expect(bad.err).toContain('rules.r2.limit is 0; want an integer of at least 1')
  expect(bad.err).toContain('log.level is "loud"; want "debug", "info" or "warn"')
  const json = await to.run('publish', config, 'gateway.yaml', '-y', '--json')
  expect(json.json()).toMatchObject({ error: { code: 'invalid', issues: [{ path: 'log.level' }, {}] } })
  // In the plan above it an entry goes by its key as well.
  expect(bad.out).not.toContain('rules.1')
  await writeFile(join(to.cwd, 'gateway.yaml'), 'log: [\n')
  const broken = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([broken.code, broken.err]).toEqual([1, expect.stringContaining('gateway.yaml is not valid')])
  expect((await to.run('history', config)).out).toBe('no releases\n')
})

test('what somebody else published meanwhile is not overwritten', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  await change(to, ['200', '300'])
  const draft = (await to.run('draft', 'create', config, 'gateway.yaml', '--json')).json() as { id: string }
  await change(to, ['200', '400'])
  await to.run('publish', config, 'gateway.yaml', '-y')
  const approve = await to.run('draft', 'approve', draft.id, '-y', '--json')
  expect([approve.code, approve.json()]).toMatchObject([1, { error: { code: 'conflict' } }])
  const publish = await to.run('draft', 'publish', draft.id, '-y', '--json')
  expect([publish.code, publish.json()]).toMatchObject([
    1,
    { error: { code: expect.stringMatching(/conflict|refused/) } },
  ])
  // Four at once: each that says it published has a release of its own.
  const all = await Promise.all(
    [1, 2, 3, 4].map(async (n) => {
      await writeFile(join(to.cwd, `m${n}.json`), `{"rules":[{"id":"r1","limit":${n}}]}`)
      return await to.run('publish', config, '--merge-patch', `m${n}.json`, '-y', '--json')
    }),
  )
  const numbers = all
    .filter(({ code }) => code === 0)
    .map((ran) => (ran.json() as { release: { number: number } }).release.number)
  expect(new Set(numbers).size).toBe(numbers.length)
  for (const ran of all.filter(({ code }) => code !== 0)) {
    expect(ran.json()).toMatchObject({ error: { code: 'conflict' } })
  }
  const { releases } = (await to.run('history', config, '--json')).json() as { releases: unknown[] }
  expect(releases).toHaveLength(2 + numbers.length)
})

test('patches are published as patches', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  await writeFile(join(to.cwd, 'p.json'), '[{"op":"replace","path":"/log/level","value":"debug"}]')
  await writeFile(join(to.cwd, 'm.yaml'), 'log: { level: info }\n')
  expect((await to.run('publish', config, '--patch', 'p.json', '-y')).out).toContain('~ log.level  "info" → "debug"')
  expect((await to.run('publish', config, '--merge-patch', 'm.yaml', '-y')).out).toContain('published shop/gateway 3')
  const both = await to.run('publish', config, 'gateway.yaml', '--patch', 'p.json', '-y')
  expect([both.code, both.err]).toEqual([1, expect.stringContaining('several are given')])
})

test('the same idempotency key publishes once', async () => {
  const to = await made()
  const args = ['publish', config, 'gateway.yaml', '-y', '--force', '--json', '--idempotency-key', 'k-1']
  const first = await to.run(...args)
  expect(first.json()).toMatchObject({ release: { number: 1 }, replayed: false })
  // Whoever asks again after an answer that was lost asks for the same thing, against the same head.
  const headers = { authorization: `Bearer ${to.admin}`, 'content-type': 'application/json', 'idempotency-key': 'k-1' }
  const again = await fetch(`${to.url}/v1/configs/shop%2Fgateway/content?force=true`, {
    method: 'PUT',
    headers: { ...headers, 'if-none-match': '*' },
    body: JSON.stringify(
      await (
        await fetch(`${to.url}/v1/configs/shop%2Fgateway/content`, {
          headers: { authorization: headers.authorization },
        })
      ).json(),
    ),
  })
  expect(await again.json()).toMatchObject({ release: { number: 1 }, replayed: true })
  const other = await to.run(...args)
  expect([other.code, other.err]).toEqual([1, expect.stringContaining('was used for another request')])
  expect((await to.run('history', config, '--json')).json()).toMatchObject({ releases: [{ number: 1 }] })
})

test('a draft needs the approval of another, which is for what was looked at', async () => {
  const to = await made(['--reviewers', '1'])
  const [ann, bob] = await Promise.all(
    (['publisher', 'approver'] as const).map(async (role) =>
      (await to.run('token', 'create', role, '--role', role, '--prefix', 'shop')).out.trim(),
    ),
  )
  const direct = await to.as(ann ?? '', 'publish', config, 'gateway.yaml', '-y')
  expect([direct.code, direct.err]).toEqual([1, expect.stringContaining('midflight draft create')])
  const created = await to.as(ann ?? '', 'draft', 'create', config, 'gateway.yaml', '-m', 'please', '--json')
  const { id } = created.json() as { id: string }
  expect((await to.as(ann ?? '', 'draft', 'publish', id, '-y')).code).toBe(1)
  expect((await to.run('draft', 'list', config)).out).toContain('please')
  expect((await to.as(bob ?? '', 'draft', 'show', id)).out).toContain('draft by publisher, the first release: please')
  const approved = await to.as(bob ?? '', 'draft', 'approve', id, '-y')
  expect([approved.code, approved.out]).toEqual([0, expect.stringContaining('approved by approver, may be published')])
  const published = await to.as(ann ?? '', 'draft', 'publish', id, '-y')
  expect([published.code, published.out]).toEqual([0, expect.stringContaining('published shop/gateway 1')])
  expect((await to.run('draft', 'list', config)).out).toBe('no open drafts\n')
  await change(to, ['200', '300'])
  const other = (await to.as(ann ?? '', 'draft', 'create', config, 'gateway.yaml', '--json')).json() as { id: string }
  expect((await to.as(ann ?? '', 'draft', 'withdraw', other.id)).code).toBe(0)
})
