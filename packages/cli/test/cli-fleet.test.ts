/** The commands for a control plane, against a real one: a process of its own, on SQLite, with real agents. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { agentToken, content, node, plane, type Plane } from './fleet-rig.ts'
import { folder, midflight, schema } from './rig.ts'

const config = 'shop/gateway'

async function made(more: readonly string[] = []): Promise<Plane> {
  const cwd = await folder({ 'schema.json': schema, 'gateway.yaml': content })
  const to = await plane({ cwd })
  expect(await to.run('config', 'create', config, '--schema', 'schema.json', ...more)).toMatchObject({ code: 0 })
  return to
}

async function change(to: Plane, ...pairs: (readonly [string, string])[]): Promise<void> {
  let text = content
  for (const [from, into] of pairs) text = text.replace(from, into)
  await writeFile(join(to.cwd, 'gateway.yaml'), text)
}

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
  expect(behind.out).toMatch(/ROLLED_BACK .*test-node zone=a/)
  expect((await to.run('status', '--config', config)).code).toBe(2)
  const [{ uid }] = ((await to.run('nodes', config, '--json')).json() as { nodes: [{ uid: string }] }).nodes
  expect((await to.run('nodes', '--uid', uid)).out).toMatch(/2 +1 +ROLLED_BACK/)

  const back = await to.run('rollback', config, '1', '-y')
  expect([back.code, back.out]).toEqual([0, expect.stringContaining('rolled back as shop/gateway 3')])
  expect(back.out).toContain('release 3 runs on the one node')
  expect((await to.run('nodes', config, '--not-on', '3')).out).toBe('every node runs release 3\n')

  await change(to, ['8080', '8081'])
  const restart = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([restart.code, restart.out]).toEqual([2, expect.stringContaining('1 need a restart')])
  expect(restart.out).toContain('needs a restart: server.port')
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
})

test('publish asks on a terminal, and refuses to ask where there is none', async () => {
  const to = await made()
  const blind = await to.run('publish', config, 'gateway.yaml')
  expect([blind.code, blind.out, blind.err]).toEqual([1, '', expect.stringContaining('want --yes')])
  expect((await to.run('publish', config, 'gateway.yaml', '--dry-run')).code).toBe(2)
  expect((await to.run('history', config)).out).toBe('no releases\n')
})

const hasScript = spawnSync('script', ['--version']).status === 0
test.skipIf(!hasScript)(
  `on a terminal, "n" publishes nothing and "y" does${hasScript ? '' : ' (skipped: script is not here)'}`,
  async () => {
    const to = await made()
    const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
    const command = `${process.execPath} --conditions=source ${main} publish ${config} gateway.yaml`
    const answered = async (answer: string): Promise<[code: number | null, shown: string]> => {
      const child = spawn('script', ['-qec', command, '/dev/null'], {
        cwd: to.cwd,
        env: { ...process.env, MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, NO_COLOR: '1' },
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      let shown = ''
      child.stdout.on('data', (chunk: Buffer) => {
        const had = shown.includes('[y/N]')
        shown += chunk.toString()
        if (!had && shown.includes('[y/N]')) child.stdin.write(`${answer}\n`)
      })
      const [code] = (await once(child, 'close')) as [number | null]
      return [code, shown]
    }
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
  await writeFile(join(to.cwd, 'gateway.yaml'), 'log: [\n')
  const broken = await to.run('publish', config, 'gateway.yaml', '-y')
  expect([broken.code, broken.err]).toEqual([1, expect.stringContaining('gateway.yaml is not valid')])
  expect((await to.run('history', config)).out).toBe('no releases\n')
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

test('tokens: made once, listed without secrets, and revoked; roles hold', async () => {
  const to = await made()
  const { out, err } = await to.run(
    'token',
    'create',
    'viewer-1',
    '--role',
    'viewer',
    '--prefix',
    'shop',
    '--expires',
    '1h',
  )
  const secret = out.trim()
  expect([secret, err]).toEqual([expect.stringMatching(/^mfs_/), expect.stringContaining('viewer for shop until')])
  expect((await to.as(secret, 'config', 'list')).out).toContain(config)
  const denied = await to.as(secret, 'publish', config, 'gateway.yaml', '-y', '--json')
  expect([denied.code, denied.json()]).toMatchObject([1, { error: { code: 'forbidden' } }])
  const list = await to.run('token', 'list', '--json')
  expect(list.out).not.toContain('mfs_')
  const { tokens } = list.json() as { tokens: { id: string; name: string }[] }
  const id = tokens.find(({ name }) => name === 'viewer-1')?.id ?? ''
  expect((await to.run('token', 'revoke', id)).out).toContain('revoked viewer-1')
  const after = await to.as(secret, 'config', 'list', '--json')
  expect(after.json()).toMatchObject({ error: { code: 'unauthorized' } })
  expect(after.out + after.err).not.toContain(secret)
  expect((await to.run('token', 'create', 'x', '--role', 'viewer', '--expires', 'soon')).err).toContain(
    '--expires is "soon"',
  )
})

test('login keeps a token in a file of mode 0600, for that address only; --forget removes it', async () => {
  const to = await made()
  const home = await folder()
  const env = { XDG_CONFIG_HOME: home }
  const login = await midflight(['login', to.url], { input: `${to.admin}\n`, env })
  expect([login.code, login.out + login.err]).toEqual([0, expect.not.stringContaining(to.admin)])
  const path = join(home, 'midflight', 'login.json')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect((await midflight(['config', 'list'], { env })).out).toContain(config)
  const elsewhere = await midflight(['config', 'list', '--url', to.url.replace('127.0.0.1', 'localhost')], { env })
  expect(elsewhere.err).toContain('wants a token')
  await chmod(path, 0o644)
  expect((await midflight(['config', 'list'], { env })).err).toContain('has the mode 0644')
  await chmod(path, 0o600)
  const wrong = await midflight(['login', to.url], { input: 'mfs_nonsense\n', env })
  expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('does not accept this token')])
  expect((await midflight(['login', '--forget'], { env })).code).toBe(0)
  await expect(stat(path)).rejects.toThrow('ENOENT')
  expect((await midflight(['config', 'list'], { env })).err).toContain('which control plane?')
})

test('audit verify reads the whole log and checks it, also against a head noted earlier', async () => {
  const to = await made()
  const before = (await to.run('audit', 'verify', '--json')).json() as { head: { number: number; hash: string } }
  await to.run('publish', config, 'gateway.yaml', '-y')
  const head = `${before.head.number}:${before.head.hash}`
  expect(await to.run('audit', 'verify', '--head', head)).toMatchObject({
    code: 0,
    out: expect.stringContaining('whole'),
  })
  const wrong = await to.run('audit', 'verify', '--head', `1:${'0'.repeat(64)}`)
  expect([wrong.code, wrong.out]).toEqual([1, expect.stringContaining('is not what was noted')])
  expect((await to.run('audit', 'list')).out).toMatch(/admin +publish +shop\/gateway/)
})

test('a backup is made while it runs, and restored into a control plane that has everything', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  const backup = await to.run('backup', 'copy.db', '--data', 'data')
  expect([backup.code, backup.out]).toEqual([0, expect.stringContaining('1 config, 1 release')])
  expect((await stat(join(to.cwd, 'copy.db'))).mode & 0o777).toBe(0o600)
  expect((await to.run('backup', 'copy.db', '--data', 'data')).err).toContain('is there already')
  expect((await to.run('backup', 'other.db', '--data', 'nowhere')).err).toContain("no control plane's data in nowhere")
  await expect(stat(join(to.cwd, 'nowhere'))).rejects.toThrow('ENOENT')
  expect(await to.run('restore', 'copy.db', '--data', 'data')).toMatchObject({ code: 1 })
  expect(await to.stop()).toMatchObject({ code: 0 })
  expect(await to.run('backup', 'closed.db', '--data', 'data')).toMatchObject({ code: 0 })
  const cwd = await folder({ 'admin.token': `${to.admin}\n` })
  expect(await midflight(['restore', join(to.cwd, 'copy.db'), '--data', 'data'], { cwd })).toMatchObject({ code: 0 })
  const again = await plane({ cwd })
  expect((await again.run('history', config, '--json')).json()).toMatchObject({ releases: [{ number: 1 }] })
  await writeFile(join(to.cwd, 'bad.db'), 'not a store')
  expect((await to.run('restore', 'bad.db', '--data', 'd3')).code).toBe(1)
})

test('serve keeps everything over a restart, ends on SIGTERM with 0 and on Ctrl-C with 130', async () => {
  const to = await made()
  await to.run('publish', config, 'gateway.yaml', '-y')
  const ended = await to.stop('SIGINT')
  expect([ended.code, ended.err]).toEqual([130, expect.stringContaining('the admin token is in admin.token')])
  const again = await plane({ cwd: to.cwd })
  expect((await again.run('history', config)).out).toContain('admin')
  const second = await midflight(['serve', '--data', 'data', '--port', '0'], { cwd: to.cwd })
  expect([second.code, second.err]).toEqual([1, expect.stringMatching(/^midflight: .*store\.db/)])
  const open = await midflight(['serve', '--data', 'd2', '--port', '0', '--host', '0.0.0.0'], { cwd: to.cwd })
  expect([open.code, open.err]).toEqual([1, expect.stringContaining('refuses to listen on 0.0.0.0 without TLS')])
  expect((await again.stop()).code).toBe(0)
})

test('a release signed elsewhere is published by whoever has its signature, and by nobody for another content', async () => {
  const cwd = await folder({ 'schema.json': schema, 'gateway.yaml': content })
  const { generateKeyPairSync } = await import('node:crypto')
  const { privateKey, publicKey } = generateKeyPairSync('ed25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  await writeFile(join(cwd, 'key.pem'), privateKey)
  await writeFile(join(cwd, 'public.pem'), publicKey)
  const to = await plane({ cwd, more: ['--trust', 'public.pem'] })
  await to.run('config', 'create', config)
  const sign = ['sign', config, 'gateway.yaml', '--key-file', 'key.pem', '--author', 'admin', '-m', 'by hand']
  expect(await midflight([...sign, '--number', '1', '--out', 's.json'], { cwd })).toMatchObject({ code: 0 })
  const signed = await to.run('publish', config, 'gateway.yaml', '--signed', 's.json', '-y', '--json')
  const { signature } = JSON.parse(await readFile(join(cwd, 's.json'), 'utf8'))
  expect([signed.code, signed.json()]).toMatchObject([0, { release: { number: 1, message: 'by hand', signature } }])
  await change(to, ['200', '300'])
  const other = await to.run('publish', config, 'gateway.yaml', '--signed', 's.json', '-y')
  expect([other.code, other.err]).toEqual([1, expect.stringContaining('is for the content')])
  const stale = await midflight([...sign, '--number', '1', '--out', 's.json'], { cwd })
  expect(stale.code).toBe(0)
  expect((await to.run('publish', config, 'gateway.yaml', '--signed', 's.json', '-y')).code).toBe(1)
})

test('no secret is in any output', async () => {
  const to = await made()
  const token = await agentToken(to)
  const all = [await to.run('publish', config, 'gateway.yaml', '-y')]
  await node(to, config, token)
  await change(to, ['canary-hunter2', 'canary-hunter3'])
  for (const more of [[], ['--json']]) {
    all.push(await to.run('publish', config, 'gateway.yaml', '--dry-run', ...more))
  }
  all.push(await to.run('publish', config, 'gateway.yaml', '-y', '--json'))
  for (const args of [
    ['history', config],
    ['diff', '--config', config, '1', '2'],
    ['blame', config, 'db.password'],
    ['nodes', config],
    ['status', '--config', config],
    ['audit', 'list'],
    ['token', 'list'],
    ['config', 'list'],
  ]) {
    all.push(await to.run(...args), await to.run(...args, '--json'))
  }
  expect(all.map(({ code }) => code)).not.toContain(1)
  for (const { out, err } of all) expect(out + err).not.toMatch(/canary|mfs_/)
})
