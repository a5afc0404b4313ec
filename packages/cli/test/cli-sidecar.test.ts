/** `midflight sidecar` as a process: beside a real nginx, beside programs of a test's own, and with files that are wrong. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { freePort } from '../../../test/rig/free-ports.ts'
import { agentToken, plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned, type Ran, type RunOptions } from './rig.ts'

vi.setConfig({ testTimeout: 120_000 })

const withoutNginx = spawnSync('nginx', ['-v']).status === 0 ? undefined : 'nginx is not installed'
const why = withoutNginx ? ` (skipped: ${withoutNginx})` : ''

interface Running {
  readonly child: ChildProcess
  readonly ran: Promise<Ran>
  until(matches: RegExp): Promise<string[]>
  end(signal?: NodeJS.Signals): Promise<Ran>
}

function sidecar(cwd: string, args: readonly string[], options: RunOptions = {}): Running {
  const child = spawned(['sidecar', ...args], { cwd, ...options })
  const ran = finished(child)
  const seen = lines(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ran
  })
  const end = (signal: NodeJS.Signals = 'SIGTERM') => {
    child.kill(signal)
    return ran
  }
  return { child, ran, until: (matches) => seen.until((line) => matches.test(line)), end }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await holds()); await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`)
  }
}

const textAt = (url: string) =>
  fetch(url, { headers: { connection: 'close' } }).then(
    (answer) => answer.text(),
    () => undefined,
  )

const template = `server {
  listen 127.0.0.1:{{port}};
{{#pages}}
  location = /{{path}} { return 200 "{{text}}"; }
{{/pages}}
}
`

/** A folder with all that a sidecar of nginx wants; nginx itself is not started. */
async function web() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  const cwd = await folder({ 'site.mustache': template })
  await chmod(cwd, 0o700)
  await mkdir(join(cwd, 'web/conf.d'), { recursive: true })
  const conf = `daemon off; worker_processes 2; pid ${cwd}/nginx.pid; error_log ${cwd}/error.log notice;
events { worker_connections 64; }
http { access_log off; client_body_temp_path ${cwd}/t1; proxy_temp_path ${cwd}/t2; fastcgi_temp_path ${cwd}/t3;
uwsgi_temp_path ${cwd}/t4; scgi_temp_path ${cwd}/t5; include conf.d/*.conf; }
`
  await writeFile(join(cwd, 'web/nginx.conf'), conf)
  const yaml = `sources: [web.yaml]
admin: { socket: admin.sock, lifecycle: true }
stateDir: state
programs:
  - nginx:
      directory: ${cwd}/web
      pidFile: ${cwd}/nginx.pid
      limits: { reloadMs: 2000, probeMs: 5000 }
      files:
        - { path: conf.d/site.conf, templateFile: site.mustache, escape: word, mode: '0644' }
`
  await writeFile(join(cwd, 'sidecar.yaml'), yaml)
  const write = (text: string) =>
    writeFile(join(cwd, 'web.yaml'), `port: ${port}\npages: [{ path: a, text: ${text} }]\n`)
  await write('one')
  const args = ['-c', join(cwd, 'web/nginx.conf'), '-e', join(cwd, 'error.log')]
  const nginx = async () => {
    const child = spawn('nginx', args, { stdio: 'ignore' })
    onTestFinished(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      await once(child, 'exit')
    })
    await until('nginx runs', async () => (await served()) !== undefined)
  }
  const served = () => textAt(`http://127.0.0.1:${port}/a`)
  const live = () => readFile(join(cwd, 'web/conf.d/site.conf'), 'utf8')
  return { cwd, port, write, nginx, args, served, live }
}

describe.skipIf(withoutNginx !== undefined)(`beside nginx${why}`, () => {
  test('once before it runs, then kept current: good changes are served, bad ones refused; status tells; SIGTERM ends it with 0', async () => {
    const { cwd, write, nginx, served, live } = await web()
    const first = await midflight(['sidecar', 'sidecar.yaml', '--once', '--no-reload'], { cwd })
    expect([first.code, first.out, first.err]).toEqual([0, `✔ committed: ${cwd}/web/conf.d/site.conf\n`, ''])
    expect((await stat(join(cwd, 'web/conf.d/site.conf'))).mode & 0o777).toBe(0o644)
    await nginx()
    expect((await midflight(['sidecar', 'sidecar.yaml', '--once'], { cwd })).out).toBe('✔ unchanged\n')
    const one = sidecar(cwd, ['sidecar.yaml'])
    await one.until(/started/)
    await write('two')
    await until('two is served', async () => (await served()) === 'two')
    await one.until(/committed.*file/)
    const good = await live()
    await write('"t;wo"')
    await one.until(/rolled back.*the value of \{\{text\}\} cannot be written there/)
    expect([await served(), await live()]).toEqual(['two', good])
    const status = await midflight(['status', '--socket', 'admin.sock'], { cwd })
    expect([status.code, status.out]).toEqual([0, expect.stringMatching(/nginx +full +live/)])
    const { code } = await one.end()
    expect([code, await readdir(join(cwd, 'web'))]).toEqual([0, ['conf.d', 'nginx.conf']])
  })

  test('a change that nginx cannot use is refused with its words, and --once says so with 1', async () => {
    const { cwd, write, nginx, served, live } = await web()
    await midflight(['sidecar', 'sidecar.yaml', '--once', '--no-reload'], { cwd })
    await nginx()
    const before = await live()
    await writeFile(join(cwd, 'site.mustache'), template.replace('location', 'loction'))
    await write('two')
    const ran = await midflight(['sidecar', 'sidecar.yaml', '--once'], { cwd })
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('unknown directive')])
    expect([await live(), await served()]).toEqual([before, 'one'])
  })

  test('--dry-run shows what would change line by line, beside a sidecar that runs, and touches nothing', async () => {
    const { cwd, write, nginx, live } = await web()
    await midflight(['sidecar', 'sidecar.yaml', '--once', '--no-reload'], { cwd })
    await nginx()
    const one = sidecar(cwd, ['sidecar.yaml'])
    await one.until(/started/)
    const before = await live()
    // Another source than that of the one that runs.
    await writeFile(
      join(cwd, 'dry.yaml'),
      (await readFile(join(cwd, 'sidecar.yaml'), 'utf8')).replace('web.yaml', 'next.yaml'),
    )
    const next = (await readFile(join(cwd, 'web.yaml'), 'utf8')).replace('one', 'two')
    await writeFile(join(cwd, 'next.yaml'), next)
    const ran = await midflight(['sidecar', 'dry.yaml', '--dry-run'], { cwd })
    expect([ran.code, ran.err]).toEqual([2, ''])
    expect(ran.out).toContain('-   location = /a { return 200 "one"; }')
    expect(ran.out).toContain('+   location = /a { return 200 "two"; }')
    expect([await live(), await readdir(join(cwd, 'web'))]).toEqual([
      before,
      ['.midflight-nginx', 'conf.d', 'nginx.conf'],
    ])
    await write('one')
    expect((await midflight(['sidecar', 'sidecar.yaml', '--dry'], { cwd })).code).toBe(0)
    await one.end()
  })

  test('--exec: its files are there before it starts, its signals reach it, and its end is the end of the sidecar', async () => {
    const { cwd, write, args, served } = await web()
    const one = sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'nginx', ...args])
    await one.until(/started/)
    expect(await served()).toBe('one')
    await write('two')
    await until('two is served', async () => (await served()) === 'two')
    // For nginx that is a graceful end.
    one.child.kill('SIGQUIT')
    const { code, err } = await one.ran
    expect([code, err]).toEqual([0, expect.stringContaining('nginx ended with 0; the sidecar ends with it')])
    expect(await served()).toBe(undefined)
  })

  test('what is not there yet is waited for: a sidecar that is first goes on when nginx runs', async () => {
    const { cwd, nginx, served, write } = await web()
    await midflight(['sidecar', 'sidecar.yaml', '--once', '--no-reload'], { cwd })
    await write('two')
    const one = sidecar(cwd, ['sidecar.yaml'])
    const refused = new Promise<void>((resolve) => one.child.stderr?.once('data', () => resolve()))
    await refused
    await nginx()
    await one.until(/started/)
    expect(await served()).toBe('two')
    await one.end()
  })
})

const app = (directory: string, more = '') => `sources: [app.yaml]
programs:
  - generic:
      name: app
      directory: ${directory}
      files: [{ path: app.env, from: app, as: env }]
${more}`

async function generic(more = '', files: Readonly<Record<string, string>> = {}) {
  const cwd = await folder({ 'app.yaml': 'app: { NAME: Ada }\n', ...files })
  await chmod(cwd, 0o700)
  await mkdir(join(cwd, 'app'))
  await writeFile(join(cwd, 'sidecar.yaml'), app(join(cwd, 'app'), more))
  return cwd
}

test('several programs are one transaction in their order: where a later one refuses, the earlier one has its old files back', async () => {
  const more = `      reload: { command: [touch, ../told] }
  - generic:
      name: other
      directory: DIR
      files: [{ path: other.txt, from: app.NAME, as: raw }]
      reload: { command: [test, '!', -f, ../refuse] }
      limits: { reloadMs: 500, probeMs: 500 }
      after: [app]
`
  const cwd = await generic()
  await mkdir(join(cwd, 'other'))
  await writeFile(join(cwd, 'sidecar.yaml'), app(join(cwd, 'app'), more.replace('DIR', join(cwd, 'other'))))
  const once = () => midflight(['sidecar', 'sidecar.yaml', '--once', '--json'], { cwd })
  expect((await once()).json()).toMatchObject({
    result: 'committed',
    files: [`${cwd}/app/app.env`, `${cwd}/other/other.txt`],
  })
  await writeFile(join(cwd, 'app.yaml'), 'app: { NAME: Grace }\n')
  await writeFile(join(cwd, 'refuse'), '')
  const ran = await once()
  expect([ran.code, ran.json()]).toEqual([1, { error: expect.objectContaining({ code: 'refused' }) }])
  expect(await readFile(join(cwd, 'app/app.env'), 'utf8')).toBe('NAME=Ada\n')
  expect(await readFile(join(cwd, 'other/other.txt'), 'utf8')).toBe('Ada')
})

test('secrets are in no line of a dry run, neither the new nor those that are in place', async () => {
  const cwd = await generic('', { 'app.yaml': 'app: { NAME: Ada, TOKEN: first-secret, KEY: abc }\n' })
  const yaml = await readFile(join(cwd, 'sidecar.yaml'), 'utf8')
  await writeFile(join(cwd, 'sidecar.yaml'), `secrets: [app.TOKEN, app.KEY]\n${yaml}`)
  await midflight(['sidecar', 'sidecar.yaml', '--once'], { cwd })
  await writeFile(join(cwd, 'app.yaml'), 'app: { NAME: Grace, TOKEN: second-secret, KEY: xyz }\n')
  const ran = await midflight(['sidecar', 'sidecar.yaml', '--dry-run'], { cwd })
  expect(ran.code).toBe(2)
  expect(ran.out).toContain('+ NAME=Grace')
  expect(ran.out).toContain('+ TOKEN=‹secret›')
  for (const secret of ['first-secret', 'second-secret', 'abc', 'xyz']) expect(ran.out + ran.err).not.toContain(secret)
})

test('SIGHUP reads the configuration again, bursts are held back by wait, and a start without sources is from the last good', async () => {
  const cwd = await generic('stateDir: state\nwait: { minMs: 50, maxMs: 500 }\n')
  const one = sidecar(cwd, ['sidecar.yaml'])
  await one.until(/started/)
  one.child.kill('SIGHUP')
  await one.until(/unchanged.*signal/)
  for (let i = 0; i <= 20; i++) await writeFile(join(cwd, 'app.yaml'), `app: { NAME: n${i} }\n`)
  await until('the last is written', async () => (await readFile(join(cwd, 'app/app.env'), 'utf8')) === 'NAME=n20\n')
  const { code, out } = await one.end()
  expect(code).toBe(0)
  expect(out.match(/committed.*file/g)?.length).toBeLessThanOrEqual(4)
  await writeFile(join(cwd, 'app.yaml'), ': [\n')
  await writeFile(join(cwd, 'app/app.env'), 'NAME=lost\n')
  const again = sidecar(cwd, ['sidecar.yaml'])
  await again.until(/started from last-good/)
  expect(await readFile(join(cwd, 'app/app.env'), 'utf8')).toBe('NAME=n20\n')
  expect((await again.end()).code).toBe(0)
})

test('a sidecar is a node of a fleet: it writes releases, reports them, and is not one for a dry run', async () => {
  const cwd = await generic()
  const to = await plane({ cwd })
  await to.run('config', 'create', 'shop/app')
  await to.run('publish', 'shop/app', 'app.yaml', '-y', '--no-wait')
  const yaml = await readFile(join(cwd, 'sidecar.yaml'), 'utf8')
  const from = `controlPlane: { url: '${to.url}', config: shop/app, tokenFile: agent.token, labels: { zone: a } }\nstateDir: state`
  await writeFile(join(cwd, 'sidecar.yaml'), yaml.replace('sources: [app.yaml]', from))
  await writeFile(join(cwd, 'agent.token'), await agentToken(to))
  const dry = await to.run('sidecar', 'sidecar.yaml', '--dry-run')
  expect([dry.code, dry.err]).toEqual([2, ''])
  expect((await to.run('nodes', 'shop/app')).out).not.toContain('sidecar')
  const one = sidecar(cwd, ['sidecar.yaml'])
  await one.until(/started/)
  await writeFile(join(cwd, 'app.yaml'), 'app: { NAME: Grace }\n')
  expect((await to.run('publish', 'shop/app', 'app.yaml', '-y')).out).toContain('release 2 runs on the one node')
  expect(await readFile(join(cwd, 'app/app.env'), 'utf8')).toBe('NAME=Grace\n')
  expect((await to.run('nodes', 'shop/app')).out).toMatch(/zone=a .* APPLIED .*midflight sidecar/)
  expect((await one.end()).code).toBe(0)
})

test('what a program complains of at the start is told in its own lines, and tried again', async () => {
  const check = `      check: [cat, ../complaint, ../nowhere]\n`
  const cwd = await generic(check, { complaint: 'first line\nsecond line\n' })
  const one = sidecar(cwd, ['sidecar.yaml'])
  const told = new Promise<string>((resolve) => {
    let err = ''
    one.child.stderr?.on('data', (chunk: Buffer) => {
      err += chunk.toString()
      if (err.includes('trying again')) resolve(err)
    })
  })
  expect(await told).toMatch(/first line\n {2}second line\n/)
  expect(await told).not.toContain(String.raw`\n`)
  await one.end()
})

test('--exec with a program that is not there or fails ends with its reason and its status', async () => {
  const cwd = await generic()
  const missing = await sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'no-such-program-here']).ran
  expect([missing.code, missing.err]).toEqual([
    1,
    expect.stringContaining('no-such-program-here cannot be run: ENOENT'),
  ])
  const failing = await sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'sh', '-c', 'sleep 1; exit 7']).ran
  expect([failing.code, failing.err]).toEqual([7, expect.stringContaining('sh ended with 7')])
  const stopped = sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'sleep', '600'])
  await stopped.until(/started/)
  expect((await stopped.end()).code).toBe(0)
})

test('--exec: the program is given its environment, less the token of the control plane', async () => {
  const cwd = await generic()
  const env = { MIDFLIGHT_TOKEN: 'canary', OTHER: 'kept' }
  await sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'sh', '-c', 'env > seen'], { env }).ran
  const seen = await readFile(join(cwd, 'seen'), 'utf8')
  expect([seen.includes('OTHER=kept'), seen.includes('canary')]).toEqual([true, false])
})

test('--exec: while its source is away the program starts with the last good, and without one it is not started', async () => {
  const cwd = await generic('stateDir: state\n')
  await writeFile(join(cwd, 'app.yaml'), ': [\n')
  const args = ['sidecar.yaml', '--exec', '--', 'cp', 'app/app.env', 'seen']
  const none = await sidecar(cwd, args).ran
  expect([none.code, none.err]).toEqual([1, expect.stringContaining('there is no last good configuration')])
  expect(await readdir(cwd)).not.toContain('seen')
  await writeFile(join(cwd, 'app.yaml'), 'app: { NAME: Ada }\n')
  await sidecar(cwd, ['sidecar.yaml', '--exec', '--', 'true']).ran
  await writeFile(join(cwd, 'app.yaml'), ': [\n')
  expect((await sidecar(cwd, args).ran).code).toBe(0)
  expect(await readFile(join(cwd, 'seen'), 'utf8')).toBe('NAME=Ada\n')
})

test('SIGTERM in the middle of a change: what is under way comes to its end, and nothing is left over', async () => {
  const slow = ['sh', '-c', 'touch ../begun; sleep 1; ! grep -q Bad app.env'].map((word) => JSON.stringify(word))
  const cwd = await generic(`      reload: { command: [${slow.join(', ')}] }\n`)
  for (const [name, end] of [
    ['Grace', 'Grace'],
    ['Bad', 'Grace'],
  ]) {
    const one = sidecar(cwd, ['sidecar.yaml'])
    await one.until(/started/)
    await rm(join(cwd, 'begun'), { force: true })
    await writeFile(join(cwd, 'app.yaml'), `app: { NAME: ${name} }\n`)
    await until('it is told', async () => (await readdir(cwd)).includes('begun'))
    expect((await one.end()).code).toBe(0)
    expect(await readFile(join(cwd, 'app/app.env'), 'utf8')).toBe(`NAME=${end}\n`)
    expect(await readdir(join(cwd, 'app'))).toEqual(['app.env'])
    await writeFile(join(cwd, 'app.yaml'), `app: { NAME: ${end} }\n`)
  }
})

test('SIGTERM and Ctrl-C in the middle of --dry-run and --once: both come to their end, and leave nothing beside the files', async () => {
  const slow = ['sh', '-c', 'touch ../begun; exec sleep 2'].map((word) => JSON.stringify(word)).join(', ')
  for (const [flag, option, name] of [
    ['--dry-run', 'check', undefined],
    ['--once', 'reload', 'Ada'],
  ] as const) {
    const cwd = await generic(`      ${option}: ${option === 'check' ? `[${slow}]` : `{ command: [${slow}] }`}\n`)
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      await rm(join(cwd, 'begun'), { force: true })
      await rm(join(cwd, 'app/app.env'), { force: true })
      const one = sidecar(cwd, ['sidecar.yaml', flag])
      await until('it has begun', async () => (await readdir(cwd)).includes('begun'))
      const { code } = await one.end(signal)
      expect(code).toBe(signal === 'SIGINT' ? 130 : name ? 0 : 1)
      expect(await readdir(join(cwd, 'app'))).toEqual(name ? ['app.env'] : [])
    }
  }
})

describe('a sidecar.yaml that cannot be used: where, what was wanted, and nothing is touched', () => {
  const bad: readonly [what: string, change: (yaml: string) => string, said: RegExp][] = [
    [
      'a mistyped key',
      (yaml) => `wiat: { minMs: 5 }\n${yaml}`,
      /sidecar\.yaml:1:7 wiat is not a known key[\s\S]*did you mean "wait"\?/,
    ],
    [
      'a mistyped option of a program',
      (yaml) => yaml.replace('files:', 'flies:'),
      /sidecar\.yaml:6:\d+ programs\.0\.generic\.flies/,
    ],
    ['no YAML', (yaml) => `${yaml}\n  - [`, /sidecar\.yaml:\d+:\d+/],
    ['no program', () => 'sources: [app.yaml]\nprograms: []\n', /sidecar\.yaml:2:11 programs /],
    ['no source', (yaml) => yaml.replace('sources: [app.yaml]', ''), /neither sources nor controlPlane/],
    [
      'a preset that is none',
      (yaml) => yaml.replace('generic:', 'ngnix:'),
      /programs\.0\.ngnix is not a known key[\s\S]*did you mean "nginx"\?/,
    ],
    [
      'a path that leaves its directory',
      (yaml) => yaml.replace('path: app.env', 'path: ../app.env'),
      /sidecar\.yaml:\d+:\d+ programs\.0\.generic .*not a path below the directory/,
    ],
    [
      'a mode that is a number',
      (yaml) => yaml.replace('as: env', 'as: env, mode: 644'),
      /files\.0\.mode is 644; want a string/,
    ],
    [
      'a file of two kinds',
      (yaml) => yaml.replace('as: env', 'as: env, template: x'),
      /has as and template; want one of/,
    ],
    [
      'a template that is not there',
      (yaml) => yaml.replace('as: env', 'templateFile: no.mustache'),
      /no\.mustache, which cannot be read \(ENOENT\)/,
    ],
    [
      'a template in a file with a section that does not end',
      (yaml) => yaml.replace('as: env', 'templateFile: open.mustache'),
      /sidecar\.yaml:\d+:\d+ programs\.0\.generic\.files\.0 .*has the template open\.mustache:3:6, which is none: Unclosed section "b"/,
    ],
    [
      'a template with a tag that does not end',
      (yaml) => yaml.replace('as: env', 'template: "a\\n{{b"'),
      /files\.0 .*has a template that is none, at line 2, column 4: Unclosed tag/,
    ],
    [
      'a template with a partial',
      (yaml) => yaml.replace('as: env', 'template: "{{#a}}{{> other}}{{/a}}"'),
      /files\.0 .*has a template that is none, at line 1, column 7: \{\{>other\}\} is not known here; want values and sections, no partials/,
    ],
    [
      'a signal without a pid file',
      (yaml) => `${yaml}      reload: { signal: SIGHUP }\n`,
      /programs\.0\.generic\.reload/,
    ],
    [
      'a signal that is none',
      (yaml) => `${yaml}      reload: { signal: SIGHUPP, pidFile: /run/x.pid }\n`,
      /reload\.signal is SIGHUPP/,
    ],
    ['a command that is a text', (yaml) => `${yaml}      check: nginx -t\n`, /check is "nginx -t"; want a list/],
    ['an order that cannot be', (yaml) => `${yaml}      after: [nobody]\n`, /comes after nobody; want one of app/],
    [
      'two programs that write one file',
      (yaml) => `${yaml}${yaml.slice(yaml.indexOf('  - generic')).replace('name: app', 'name: other')}`,
      /programs\.1 .*writes \S+\/app\/app\.env, as one before it does/,
    ],
    [
      'a wait that ends before it begins',
      (yaml) => `${yaml}wait: { minMs: 50, maxMs: 5 }\n`,
      /sidecar\.yaml:\d+:\d+ wait\.maxMs is 5; ends before minMs; want at least 50/,
    ],
    [
      'a place that is none',
      (yaml) => yaml.replace('[app.yaml]', "['etdc://host:2379/app/']"),
      /has the scheme "etdc"; want one of/,
    ],
    [
      'a source and a control plane',
      (yaml) => `${yaml}controlPlane: { url: 'http://127.0.0.1:1', config: a }\n`,
      /has sources and controlPlane; want one of them/,
    ],
  ]
  test.each(bad)('%s', async (what, change, said) => {
    const cwd = await generic('', { 'open.mustache': 'a\n{{#b}}\n12345' })
    await writeFile(join(cwd, 'sidecar.yaml'), change(await readFile(join(cwd, 'sidecar.yaml'), 'utf8')))
    const way = what.startsWith('a template') ? '--check' : '--once'
    const ran = await midflight(['sidecar', 'sidecar.yaml', way], { cwd })
    expect([ran.code, ran.out]).toEqual([1, ''])
    expect(ran.err).toMatch(said)
    expect(await readdir(join(cwd, 'app'))).toEqual([])
  })

  test('a password in a URL is in no message', async () => {
    const cwd = await generic()
    const yaml = (await readFile(join(cwd, 'sidecar.yaml'), 'utf8')).replace(
      '[app.yaml]',
      "['redis://u:hunter2@h:1/0/a', 5]",
    )
    await writeFile(join(cwd, 'sidecar.yaml'), yaml)
    const ran = await midflight(['sidecar', 'sidecar.yaml', '--check'], { cwd })
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('sources.1')])
    expect(ran.err).not.toContain('hunter2')
  })
})

test('two programs of 25,000 files each are looked over within the limit of a validation', async () => {
  const one = (name: string) =>
    `  - generic:\n      name: ${name}\n      directory: /etc/${name}\n      files:\n${Array.from(
      { length: 25_000 },
      (_, i) => `        - { path: f${i}, from: k, as: raw }\n`,
    ).join('')}`
  const cwd = await folder({ 'sidecar.yaml': `sources: [app.yaml]\nprograms:\n${one('a')}${one('b')}` })
  expect(await midflight(['sidecar', 'sidecar.yaml', '--check'], { cwd })).toMatchObject({ code: 0, err: '' })
})

describe('as configmap-reload', () => {
  test('each swap of a volume asks each URL once; a refusal is said, and tried again', async () => {
    const asked: string[] = []
    let status = 200
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      response.writeHead(status).end()
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const cwd = await folder()
    // As a kubelet does it: files are links through ..data, which is another link that is replaced.
    const swap = async (name: string, text: string) => {
      await mkdir(join(cwd, name))
      await writeFile(join(cwd, name, 'prometheus.yml'), text)
      await symlink(name, join(cwd, '..data_tmp'))
      await rename(join(cwd, '..data_tmp'), join(cwd, '..data'))
    }
    await swap('..1', 'one')
    await symlink('..data/prometheus.yml', join(cwd, 'prometheus.yml'))
    const args = ['--volume-dir', cwd, '--webhook-url', `${url}/a`, '--webhook-url', `${url}/b`, '--webhook-retries=2']
    const one = sidecar(cwd, args)
    await one.until(/started/)
    expect(asked).toEqual([])
    await swap('..2', 'two')
    await one.until(/committed.*volume/)
    expect(asked).toEqual(['POST /a', 'POST /b'])
    status = 500
    await swap('..3', 'three')
    await one.until(/POST http:\/\/127\.0\.0\.1:\d+\/a was answered with 500; want 200/)
    expect(asked.length).toBe(5)
    expect((await one.end()).code).toBe(0)
  })

  test('who is not asked is said with why: nobody listens, or the port is one that fetch takes no part in', async () => {
    const cwd = await folder({ 'a.yml': 'one' })
    for (const [port, why] of [
      [await freePort(), 'ECONNREFUSED'],
      [1, 'bad port'],
    ] as const) {
      const url = `http://127.0.0.1:${port}/-/reload?token=canary`
      const one = sidecar(cwd, ['--volume-dir', cwd, '--webhook-url', url, '--webhook-retries=0'])
      await one.until(/started/)
      await writeFile(join(cwd, 'a.yml'), `for ${port}`)
      const said = await one.until(/was not answered/)
      expect(said.at(-1)).toContain(`POST http://127.0.0.1:${port}/-/reload was not answered: ${why}`)
      expect((await one.end()).out).not.toContain('canary')
    }
  })

  test('flags that make no sense are refused', async () => {
    const cwd = await generic()
    const refused = async (...args: string[]) => (await midflight(['sidecar', ...args], { cwd })).err
    expect(await refused('--volume-dir', '.')).toContain('--webhook-url is not given')
    expect(await refused('--volume-dir', 'nowhere', '--webhook-url', 'http://127.0.0.1:1')).toContain(
      'nowhere cannot be looked at: ENOENT; want a directory',
    )
    expect(await refused('--volume-dir', '.', '--webhook-url', 'nonsense')).toContain('is no URL')
    expect(await refused('sidecar.yaml', '--volume-dir', '.')).toContain('one or the other')
    expect(await refused('sidecar.yaml', '--once', '--dry-run')).toContain(
      '--dry-run and --once are given; want one of them',
    )
    expect(await refused('sidecar.yaml', 'nginx')).toContain('nginx is one argument too many')
    expect(await refused()).toContain('no file is given')
  })
})
