/** status, plan, reload and events against a real gateway process, by URL, unix socket and pid. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { folder, gateway, good, midflight, type Gateway } from './rig.ts'

async function started(options: Readonly<Record<string, unknown>> = {}): Promise<Gateway> {
  return gateway(await folder(), good, options)
}

test('status shows what runs, its components and how the reloads went; --json is the endpoint’s own', async () => {
  const { url, cwd } = await started()
  const [human, json, env, socket] = await Promise.all([
    midflight(['status', '--url', url]),
    midflight(['status', '--url', url, '--json']),
    midflight(['status'], { env: { MIDFLIGHT_URL: url } }),
    midflight(['status', '--socket', 'admin.sock'], { cwd }),
  ])
  expect([human.code, env.code, socket.code, human.err]).toEqual([0, 0, 0, ''])
  expect(human.out).toMatch(/^● running for .* since /)
  expect(human.out).toMatch(/live {6}[0-9a-f]{12} for /)
  expect(human.out).toMatch(/server +partial +live +server\.port\n/)
  expect(human.out).toMatch(/rules +full +live +–\n/)
  expect(human.out).toContain('sources   file:gateway.yaml')
  expect(json.json()).toMatchObject({ state: 'running', healthy: true, live: { digest: expect.any(String) } })
})

test('status says why the last reload was refused, in its own lines, and no more than five of them', async () => {
  const { url, write } = await started()
  await write(good.replace('info', 'loud').replace('200', '0'))
  await midflight(['reload', '--url', url])
  const two = await midflight(['status', '--url', url])
  expect([two.code, two.out]).toEqual([
    0,
    expect.stringMatching(/last +✖ rejected in validate.*\n {12}gateway\.yaml:4:10 log\.level is "loud"/),
  ])
  expect(two.out).toMatch(/^ {12}gateway\.yaml:\d+:12 rules\.r2\.limit is 0/m)
  await write(`${good}\na: 1\nb: 1\nc: 1\nd: 1\ne: 1\nf: 1\ng: 1\n`)
  await midflight(['reload', '--url', url])
  const { out } = await midflight(['status', '--url', url])
  expect(out.match(/is not a known key/g)).toHaveLength(5)
  expect(out).toContain('… and 2 more')
})

test('a rollback that failed: status exits 1 and says DEGRADED, who runs what, and how long the process has run', async () => {
  const { url, write } = await started()
  await write(good.replace('db.internal', 'stuck'))
  await midflight(['reload', '--url', url])
  const { code, out } = await midflight(['status', '--url', url])
  expect([code, out]).toEqual([1, expect.stringMatching(/^● running for .* since .*, DEGRADED: a rollback failed\n/)])
  expect(out).toMatch(/^ {2}db +full +unknown/m)
  expect(out).toContain('    the pool is stuck')
})

test('P plan shows each component with its changes, applies nothing, and exits 0, 2 or 1', async () => {
  const { url, write } = await started()
  expect(await midflight(['plan', '--url', url])).toMatchObject({ code: 0, out: expect.stringMatching(/^✔ unchanged/) })

  await write(good.replace('info', 'debug').replace('limit: 200', 'limit: 500'))
  const plan = await midflight(['plan', '--url', url], { env: { COLUMNS: '80' } })
  expect(plan.code).toBe(2)
  expect(plan.out.replace(/\(run .*\)/, '(…)')).toBe(
    `✔ ready: 2 changes, every component could be prepared; nothing was applied (…)

  component  what changes  how
  log        1 changed     hot
    ~ log.level  "info" → "debug"
  rules      1 changed     hot
    ~ rules.r2.limit  200 → 500
`,
  )
  const json = await midflight(['plan', '--url', url, '--json'])
  expect([json.code, json.json()]).toMatchObject([2, { kind: 'ready', plan: { changeCount: 2 } }])
  expect((await midflight(['reload', '--dry-run', '--url', url])).code).toBe(2)

  await write(good.replace('8080', '8081'))
  const restart = await midflight(['plan', '--url', url])
  expect([restart.code, restart.out]).toEqual([1, expect.stringMatching(/server +1 changed +restart: server\.port\n/)])

  await write(good.replace('limit: 200', 'limit: 0'))
  expect(await midflight(['plan', '--url', url])).toMatchObject({
    code: 1,
    out: expect.stringContaining('gateway.yaml:16:12 rules.r2.limit is 0; want an integer of at least 1'),
  })
})

test('P plan says which changes no component reads; what is held until a restart is shown until then', async () => {
  const { url, write } = await started({ hold: true })
  await write(`${good.replace('8080', '8081').replace('200', '300')}note: hello\n`)
  const { code, out } = await midflight(['plan', '--url', url])
  expect(code).toBe(2)
  expect(out).toMatch(/\(no component\) +1 added +read by none/)
  expect(out).toContain('+ note  "hello"')
  const reload = await midflight(['reload', '--url', url])
  expect([reload.code, reload.out]).toEqual([0, expect.stringContaining('▲ waits for a restart: server.port\n')])
  expect((await midflight(['status', '--url', url])).out).toContain('restart   server.port waits for a restart')
})

test('a restart-only path that no component reads is in the table as one; held, it is what waits for a restart', async () => {
  for (const hold of [false, true]) {
    const { url, write } = await started({ hold })
    await write(`${good}note: hello\nzone: b\n`)
    const { code, out } = await midflight(['plan', '--url', url])
    expect(code).toBe(hold ? 2 : 1)
    if (hold) expect(out).toContain('▲ waits for a restart: zone\n')
    else expect(out).toMatch(/\(no component\) +2 added +restart: zone\n +\+ note +"hello"\n +\+ zone +restart +"b"\n/)
    expect(out.includes('read by none')).toBe(hold)
  }
})

test('reload says what each component did and how long it took, and exits 0 for committed and unchanged', async () => {
  const { url, write } = await started()
  await write(good.replace('limit: 200', 'limit: 500'))
  const committed = await midflight(['reload', '--url', url])
  expect(committed.code).toBe(0)
  expect(committed.out).toMatch(/^✔ committed: 1 change in 1 component \(run \d+, .* http\)\n/)
  expect(committed.out).toMatch(
    /component +result +runs +prepare +commit +dispose\n {2}rules +committed +new +[\d.]+ .s/,
  )
  expect(committed.out).toContain('~ rules.r2.limit  200 → 500')
  const unchanged = await midflight(['reload', '--url', url, '--json'])
  expect([unchanged.code, unchanged.json()]).toMatchObject([0, { kind: 'unchanged' }])
  expect((await midflight(['reload', '--force', '--url', url])).out).toMatch(/^✔ committed: 4 components/)
})

test('reload exits 1 when it is rejected, needs a restart or is rolled back, and says what holds now', async () => {
  const { url, write } = await started()
  await write(good.replace('info', 'loud'))
  expect(await midflight(['reload', '--url', url])).toMatchObject({
    code: 1,
    out: expect.stringContaining('gateway.yaml:4:10 log.level is "loud"; want "debug", "info", "warn" or "crash"'),
  })
  await write(good.replace('8080', '8081'))
  expect(await midflight(['reload', '--url', url])).toMatchObject({
    code: 1,
    out: expect.stringMatching(/^▲ restart required, nothing was applied: server\.port cannot change/),
  })
  await write(good.replace('info', 'crash'))
  const rolledBack = await midflight(['reload', '--url', url])
  expect(rolledBack.code).toBe(1)
  expect(rolledBack.out).toMatch(/^✖ rolled back, the old configuration is live everywhere: log failed in commit/)
  expect(rolledBack.out).toMatch(/log +failed +old/)
  // What a component throws comes with escape sequences: none of them reaches the terminal.
  expect(rolledBack.out).toContain('\\u001b[31mcannot')
  expect(rolledBack.out).not.toContain('\u001b')
  const json = await midflight(['reload', '--url', url, '--json'])
  expect([json.code, json.json()]).toMatchObject([1, { kind: 'rolled-back', failed: 'log' }])
})

test('reload --wait 0 does not wait and says where the outcome will be', async () => {
  const { url } = await started()
  const human = await midflight(['reload', '--wait', '0', '--url', url])
  expect([human.code, human.out]).toEqual([0, expect.stringContaining(`its outcome will be at ${url}/-/reload/`)])
  const json = await midflight(['reload', '--wait', '0', '--url', url, '--json'])
  expect(json.json()).toMatchObject({ state: 'running', location: expect.stringMatching(/^\/-\/reload\//) })
})

test('reload --pid sends SIGHUP; with a socket it waits for the outcome of that very reload', async () => {
  const { pid, url, cwd, write } = await started()
  await write(good.replace('limit: 200', 'limit: 500'))
  const waited = await midflight(['reload', '--pid', String(pid), '--socket', 'admin.sock'], { cwd })
  expect([waited.code, waited.out]).toEqual([0, expect.stringMatching(/^✔ committed: 1 change .*signal\)/)])
  const refused = await write(good.replace('200', '0')).then(() =>
    midflight(['reload', '--pid', String(pid), '--url', url]),
  )
  expect([refused.code, refused.out]).toEqual([1, expect.stringMatching(/^✖ rejected/)])
  const blind = await midflight(['reload', '--pid', String(pid)])
  expect([blind.code, blind.out]).toEqual([0, `✔ sent SIGHUP to process ${pid}\n`])
  expect(blind.err).toContain('a signal has no answer')
})

test('reload --pid refuses what would end a process, and processes that are not there', async () => {
  const { pid, url } = await started({ signal: false })
  const deadly = await midflight(['reload', '--pid', String(pid)])
  expect(deadly.code).toBe(1)
  expect(deadly.err).toMatch(/does not take SIGHUP and would be ended by it; nothing was sent/)
  expect((await midflight(['status', '--url', url])).code).toBe(0)
  const wrong = [
    ['--pid', '4194304'],
    ['--pid', '0'],
    ['--pid', '-1'],
    ['--pid', 'x'],
    ['--pid', String(pid), '--signal', 'SIGKILL'],
    ['--pid', String(pid), '--force'],
  ]
  const all = await Promise.all(wrong.map((args) => midflight(['reload', ...args])))
  expect(all.map(({ code }) => code)).toEqual(wrong.map(() => 1))
  expect(all[0]?.err).toContain('there is no process 4194304')
})

test('events prints the record; --after and --limit choose from it', async () => {
  const { url, write } = await started()
  await write(good.replace('200', '300'))
  await midflight(['reload', '--url', url])
  const [human, limited, after, json] = await Promise.all([
    midflight(['events', '--url', url]),
    midflight(['events', '--url', url, '--limit', '1']),
    midflight(['events', '--url', url, '--after', '999']),
    midflight(['events', '--url', url, '--json']),
  ])
  expect(human.out).toMatch(/#\d+ {2}● started\n/)
  expect(human.out).toMatch(/#\d+ {2}✔ committed: 1 change in 1 component/)
  expect(limited.out.trimEnd().split('\n')).toHaveLength(1)
  expect(after.out).toBe('no events\n')
  expect(json.json()).toMatchObject({ events: expect.arrayContaining([expect.objectContaining({ kind: 'reload' })]) })
})

test('a token is taken from option, file or environment; a missing or wrong one is told apart', async () => {
  const cwd = await folder({ 'token.txt': 'open-sesame-1\n' })
  const { url } = await gateway(cwd, good, { token: 'open-sesame-1' })
  const right = [
    midflight(['status', '--url', url, '--token', 'open-sesame-1']),
    midflight(['status', '--url', url, '--token-file', 'token.txt'], { cwd }),
    midflight(['status', '--url', url], { env: { MIDFLIGHT_TOKEN: 'open-sesame-1' } }),
  ]
  expect((await Promise.all(right)).map(({ code }) => code)).toEqual([0, 0, 0])
  const [none, wrong, both, bad, lost] = await Promise.all([
    midflight(['status', '--url', url]),
    midflight(['status', '--url', url, '--token', 'close-sesame-2']),
    midflight(['status', '--url', url, '--token', 'a', '--token-file', 'token.txt'], { cwd }),
    midflight(['status', '--url', url, '--token', 'close\r\nX: sesame-2']),
    midflight(['status', '--url', url, '--token-file', 'none.txt'], { cwd }),
  ])
  expect([none, wrong, both, bad, lost].map(({ code }) => code)).toEqual([1, 1, 1, 1, 1])
  expect(none.err).toContain('wants a token')
  expect(wrong.err).toContain('does not accept this token')
  expect(bad.err).toContain('want visible ASCII without spaces')
  expect(lost.err).toContain('--token-file none.txt is not there')
  for (const { out, err } of [none, wrong, both, bad, lost]) expect(out + err).not.toContain('sesame')
})

test('where the lifecycle API is off, reload and plan say how it is turned on', async () => {
  const { url } = await started({ lifecycle: false })
  const [reload, plan, status] = await Promise.all([
    midflight(['reload', '--url', url]),
    midflight(['plan', '--url', url, '--json']),
    midflight(['status', '--url', url]),
  ])
  expect([reload.code, plan.code, status.code]).toEqual([1, 1, 0])
  expect(reload.err).toContain('Lifecycle API is not enabled.\n  the program turns it on with adminHttp(')
  expect(plan.json()).toMatchObject({ error: { code: 'forbidden' } })
})

test('no secret is shown by any command', async () => {
  const next = good.replace('hunter2-very', 'hunter3-very').replace('200', '300')
  const cwd = await folder({ 'old.yaml': good, 'new.yaml': next })
  await writeFile(join(cwd, 'bad.yaml'), next.replace(/password: (.*)/, 'password: [$1'))
  await writeFile(join(cwd, 'wrong.yaml'), next.replace(/password: (.*)/, 'password:\n    - $1'))
  await writeFile(
    join(cwd, 's.yaml'),
    'properties: { db: { properties: { password: { type: string, writeOnly: true } } } }\n',
  )
  const { url, write } = await gateway(cwd, good)
  const all = await Promise.all([
    ...['old', 'bad', 'wrong'].flatMap((name) => [
      midflight(['validate', `${name}.yaml`, '--schema', 's.yaml'], { cwd }),
      midflight(['validate', `${name}.yaml`, '--schema', 's.yaml', '--json'], { cwd }),
      midflight(['validate', `${name}.yaml`, '--secrets', 'db.password'], { cwd }),
    ]),
    midflight(['diff', 'old.yaml', 'new.yaml', '--secrets', 'db.password'], { cwd }),
    midflight(['plan', 'new.yaml', '--against', 'old.yaml', '--schema', 's.yaml', '--json'], { cwd }),
  ])
  await write(next)
  for (const args of [
    ['plan'],
    ['plan', '--json'],
    ['reload'],
    ['status'],
    ['status', '--json'],
    ['events'],
    ['events', '--json'],
  ]) {
    all.push(await midflight([...args, '--url', url]))
  }
  expect(all.filter(({ out }) => out.includes('‹secret›')).length).toBeGreaterThan(5)
  for (const { out, err } of all) expect(out + err).not.toMatch(/hunter[23]/)
})
