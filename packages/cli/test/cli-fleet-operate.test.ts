/** Running a control plane, and who may use it: serve, login, tokens, audit, backup, signatures, secrets. */
import { generateKeyPairSync } from 'node:crypto'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { agentToken, change, config, content, made, node, plane } from './fleet-rig.ts'
import { folder, midflight, schema } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

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

test('what makes no sense is refused before anything is asked', async () => {
  const cwd = await folder({ 'a.json': '{}', 'text.txt': 'x' })
  const cases: readonly [args: readonly string[], said: string][] = [
    [['token', 'creat'], '(Did you mean create?)'],
    [['token', 'create', 'x'], "required option '--role <role>'"],
    [['token', 'create', 'x', '--role', 'root'], "argument 'root' is invalid"],
    [['publish', 'a', 'a.json', '-y', '--wait', '5'], '--wait is "5"; want a time like 30s, 5m or 1h'],
    [['publish', 'a b', 'a.json', '-y'], 'the config "a b" has a segment'],
    [['publish', 'a/../b', 'a.json', '-y'], 'two dots in a row'],
    [['publish', 'a', '-y'], 'nothing is given; want FILE, --patch or --merge-patch'],
    [['publish', 'a', '--patch', 'a.json', '-y'], 'a.json holds no list'],
    [['publish', 'a', '--patch', 'text.txt', '-y'], 'want a name that ends in .json'],
    [['publish', 'a', 'a.json', '--signed', 'a.json', '-y'], '--signed a.json is not what midflight sign makes'],
    [['nodes'], 'of which config?'],
    [['diff', '--config', 'a', 'x', '2'], 'the release is "x"; want an integer'],
    [['status', '--config', 'a', '--socket', 's'], 'both --config and --socket are given'],
    [['audit', 'verify', '--head', '7'], '--head is "7"'],
    [
      ['sign', 'a', 'a.json', '--number', '1', '--author', 'x', '--key-file', 'a.json'],
      'cannot be read as a private key',
    ],
    [['serve', '--port', '99999'], '--port is "99999"; want an integer from 0 to 65535'],
    [['serve', '--tls-cert', 'a.json'], 'want both'],
    [['serve', '--data', 'a.json'], 'a.json is no directory\n  --data says'],
    [['serve', '--data', 'd', '--host', '0.0.0.0'], 'want --tls-cert and --tls-key, or --tls-elsewhere if a proxy'],
    [['serve', '--data', 'd', '--host', '::', '--tls-elsewhere'], 'it must be told its names\n  want --allowed-host'],
    [['nodes', 'a', '--uid', 'x', '--forget', 'y'], 'both --uid and --forget are given'],
    [['history', 'a', '--before', '0'], '--before is "0"; want an integer of at least 1'],
    [['history', 'a'], 'nothing listens at http://127.0.0.1:1; is the control plane running?'],
  ]
  await Promise.all(
    cases.map(async ([args, said]) => {
      const { code, out, err } = await midflight(args, { cwd, env: { MIDFLIGHT_URL: 'http://127.0.0.1:1' } })
      expect([code, out], args.join(' ')).toEqual([1, ''])
      expect(err, args.join(' ')).toContain(said)
      expect(err).not.toMatch(/\n\s+at /)
    }),
  )
})
