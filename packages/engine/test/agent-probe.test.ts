/** A node's own health: real HTTP servers and real commands, also those that hang, flood and leave others behind. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createProbe, type Health, type Probe, type ProbeOptions } from '../src/agent/probe.ts'

const probes: Probe[] = []
const servers = new Map<Server, Set<Socket>>()
let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'midflight-probe-'))
})

afterEach(async () => {
  await Promise.all(probes.splice(0).map((probe) => probe.close()))
  for (const [server, sockets] of servers) {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  servers.clear()
  rmSync(folder, { recursive: true })
})

async function listening(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  servers.set(server, sockets)
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`
}

const answering = (answer: RequestListener): Promise<string> => listening(createServer(answer))

/** Checks only when it is asked to, but for the first. */
function probeOf(check: ProbeOptions['check'], options: Partial<ProbeOptions> = {}): Probe & { heard: Health[] } {
  const heard: Health[] = []
  const probe = createProbe({ check, everyMs: 86_400_000, timeoutMs: 20_000, ...options }, (health) =>
    heard.push(health),
  )
  probes.push(probe)
  return Object.assign(probe, { heard })
}

/** What its first check found. */
async function firstOf(check: ProbeOptions['check'], options: Partial<ProbeOptions> = {}): Promise<Health> {
  const probe = probeOf(check, options)
  await expect.poll(() => probe.heard[0], { timeout: 20_000 }).toBeDefined()
  return probe.heard[0]!
}

const shell = (script: string): ProbeOptions['check'] => ({ command: ['sh', '-c', script, 'sh', folder] })
const isAlive = (pid: number): boolean => {
  // A zombie, which nobody has asked about yet, is not alive.
  const stat = `/proc/${pid}/stat`
  return existsSync(stat) && !/^\d+ \(.*\) Z/.test(readFileSync(stat, 'utf8'))
}
const pidIn = async (name: string): Promise<number> => {
  const file = join(folder, name)
  await expect.poll(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'), { timeout: 20_000 }).toBe(true)
  return Number(readFileSync(file, 'utf8'))
}

describe('when', () => {
  test('at once, again and again, one at a time; told are the first health and each change', async () => {
    let [checks, running, most] = [0, 0, 0]
    const probe = probeOf(
      async () => {
        most = Math.max(most, ++running)
        await new Promise(setImmediate)
        running--
        if (++checks === 3) throw new Error('third')
      },
      { everyMs: 100 },
    )
    void probe.checkNow()
    await expect.poll(() => checks, { timeout: 20_000 }).toBeGreaterThanOrEqual(5)
    expect(probe.heard).toEqual([{ ok: true }, { ok: false, detail: 'third' }, { ok: true }])
    expect([most, probe.health]).toEqual([1, { ok: true }])
  })

  test('checkNow begins after the call, so what was committed before it is seen; those who ask meanwhile share it', async () => {
    let ill = false
    const open: (() => void)[] = []
    const probe = probeOf(async () => {
      const was = ill
      await new Promise<void>((resolve) => open.push(resolve))
      if (was) throw new Error('ill')
    })
    await expect.poll(() => open.length).toBe(1)
    expect(probe.health).toBeUndefined()
    ill = true
    const asked = [probe.checkNow(), probe.checkNow()]
    open[0]!()
    await expect.poll(() => open.length).toBe(2)
    open[1]!()
    expect(await Promise.all(asked)).toEqual([
      { ok: false, detail: 'ill' },
      { ok: false, detail: 'ill' },
    ])
    expect(probe.heard).toEqual([{ ok: true }, { ok: false, detail: 'ill' }])
    ill = false
    const again = probe.checkNow()
    await expect.poll(() => open.length).toBe(3)
    open[2]!()
    expect(await again).toEqual({ ok: true })
  })

  test('as many failures in a row as asked for make it unhealthy, though checkNow says each; one success heals', async () => {
    let answer = true
    const probe = probeOf(
      () => {
        if (!answer) throw new Error('no')
      },
      { failuresBeforeUnhealthy: 3 },
    )
    const [no, yes] = [{ ok: false, detail: 'no' }, { ok: true }]
    await probe.checkNow()
    answer = false
    expect([await probe.checkNow(), await probe.checkNow(), probe.health]).toEqual([no, no, yes])
    answer = true
    await probe.checkNow()
    answer = false
    expect([await probe.checkNow(), await probe.checkNow(), probe.heard]).toEqual([no, no, [yes]])
    expect([await probe.checkNow(), probe.heard]).toEqual([no, [yes, no]])
  })

  test('a failure before anything is known is not healthy', async () => {
    const probe = probeOf(() => Promise.reject(new Error('no')), { failuresBeforeUnhealthy: 2 })
    await probe.checkNow()
    expect([probe.health, probe.heard]).toEqual([{ ok: false, detail: 'no' }, [{ ok: false, detail: 'no' }]])
  })

  test('F51: the deadline binds a function that never returns; it is not called again until it does', async () => {
    let [calls, finish] = [0, () => {}]
    let aborted = false
    const probe = probeOf(
      (signal) => {
        calls++
        signal.addEventListener('abort', () => (aborted = true))
        return new Promise((resolve) => (finish = resolve))
      },
      { timeoutMs: 30 },
    )
    await expect.poll(() => probe.health).toEqual({ ok: false, detail: 'did not finish within 30 ms' })
    expect([aborted, await probe.checkNow(), calls]).toEqual([
      true,
      { ok: false, detail: 'the check before it still runs' },
      1,
    ])
    finish()
    const last = probe.checkNow()
    await expect.poll(() => calls).toBe(2)
    finish()
    expect([await last, probe.health]).toEqual([{ ok: true }, { ok: true }])
  })

  test('close ends what runs, tells nobody, and answers those who wait', async () => {
    const probe = probeOf(() => new Promise(() => {}))
    const asked = probe.checkNow()
    await probe.close()
    const closed = { ok: false, detail: 'the probe is closed' }
    expect([await asked, await probe.checkNow(), probe.heard, probe.health]).toEqual([closed, closed, [], undefined])
  })

  test('a process with a probe ends when it has nothing else to do, and so does one whose probe is closed', () => {
    const url = new URL('../src/agent/probe.ts', import.meta.url).href
    const script = `import { createProbe } from ${JSON.stringify(url)}
      createProbe({ check: { command: ['true'] } }, ({ ok }) => console.log(ok))
      const hanging = createProbe({ check: { command: ['sleep', '90'] }, timeoutMs: 300000 }, () => {})
      await hanging.close()`
    const node = ['--conditions=midflight-source', '--input-type=module-typescript', '-e', script]
    expect(execFileSync(process.execPath, node, { encoding: 'utf8', timeout: 25_000 })).toBe('true\n')
  })

  test.each<[Partial<ProbeOptions>, RegExp]>([
    [{ everyMs: 99 }, /everyMs is 99; want 100 to/],
    [{ timeoutMs: 0 }, /timeoutMs is 0; want 1 to/],
    [{ timeoutMs: Number.NaN }, /timeoutMs is NaN/],
    [{ failuresBeforeUnhealthy: 0 }, /want 1 to 100/],
    [{ check: { http: 'localhost:80' } }, /check.http is not a URL/],
    [{ check: { http: 'http://localhost', expect: 20 } }, /check.expect is 20/],
    [{ check: { command: [] } }, /check.command is not a command/],
    [{ check: { command: [''] } }, /check.command is not a command/],
    [{ check: { command: ['a\0b'] } }, /check.command is not a command/],
  ])('%j is refused at the call', (options, why) => {
    expect(() => createProbe({ check: () => {}, ...options }, () => {})).toThrow(why)
  })
})

describe('a function', () => {
  test.each<[string, () => unknown, Health]>([
    ['that returns nothing', () => undefined, { ok: true }],
    ['that says true', async () => true, { ok: true }],
    ['that says false', () => false, { ok: false, detail: 'the check said false' }],
    ['that says false later', async () => false, { ok: false, detail: 'the check said false' }],
    ['that throws', () => JSON.parse('{') as unknown, { ok: false, detail: expect.stringContaining('JSON') as string }],
    ['that throws text', () => Promise.reject('a\n\u001b[2Jb'), { ok: false, detail: 'a [2Jb' }],
    ['that throws much', () => Promise.reject('x'.repeat(9999)), { ok: false, detail: `${'x'.repeat(511)}…` }],
  ])('%s', async (_, check, health) => {
    expect(await firstOf(check as () => void)).toEqual(health)
  })
})

describe('HTTP', () => {
  test.each<[number, number | undefined, boolean]>([
    [200, undefined, true],
    [204, undefined, true],
    [302, undefined, false],
    [404, undefined, false],
    [503, undefined, false],
    [503, 503, true],
    [200, 204, false],
    [302, 302, true],
  ])('%i where %o is wanted', async (status, wanted, ok) => {
    let requests = 0
    const http = await answering((_, response) => {
      requests++
      response.writeHead(status, { location: '/elsewhere' }).end()
    })
    const health = await firstOf({ http, ...(wanted === undefined ? {} : { expect: wanted }) })
    expect(health).toEqual(ok ? { ok } : { ok, detail: `answered ${status}; want ${wanted ?? '2xx'}` })
    expect(requests).toBe(1)
  })

  test('a GET, each time by a new connection; the first line of a refusal is the detail', async () => {
    const got: unknown[] = []
    const connections = new Set<Socket>()
    const http = await answering((request, response) => {
      connections.add(request.socket)
      got.push([request.method, request.url])
      response.writeHead(503).end('database is\u0007 away\nmore\n')
    })
    const probe = probeOf({ http: new URL(http) })
    expect(await probe.checkNow()).toEqual({ ok: false, detail: 'answered 503; want 2xx: database is away' })
    expect(got).toEqual([
      ['GET', '/health'],
      ['GET', '/health'],
    ])
    expect(connections.size).toBe(2)
  })

  test('a body without end is not read to it, and the status counts', async () => {
    let closed = false
    const http = await answering((_, response) => {
      response.on('close', () => (closed = true))
      const more = (): void => {
        if (!closed) response.write('x'.repeat(10_000), more)
      }
      more()
    })
    expect(await firstOf({ http })).toEqual({ ok: true })
    await expect.poll(() => closed).toBe(true)
  })

  test('no answer, one that drips, one that is cut off, none at all (F22, F26, F43)', async () => {
    const silent = await answering(() => {})
    const late = { ok: false, detail: 'did not finish within 100 ms' }
    expect(await firstOf({ http: silent }, { timeoutMs: 100 })).toEqual(late)
    const drips = await answering((_, response) => {
      const timer = setInterval(() => response.write('x'), 5)
      response.on('close', () => clearInterval(timer))
    })
    expect(await firstOf({ http: drips }, { timeoutMs: 100 })).toEqual(late)
    const cutOff = await answering((request, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('ok', () => request.socket.destroy())
    })
    expect(await firstOf({ http: cutOff })).toEqual({ ok: false, detail: expect.stringMatching(/^no answer: /) })
    const other = await listening(createTcpServer((socket) => socket.end('SSH-2.0-s3cr3t\r\n')))
    expect(await firstOf({ http: other })).toEqual({ ok: false, detail: 'no answer: HPE_INVALID_CONSTANT' })
    const server = createTcpServer()
    const gone = (await listening(server)).replace('//', '//user:s3cr3t@')
    await new Promise((resolve) => server.close(resolve))
    expect(await firstOf({ http: gone })).toEqual({ ok: false, detail: 'no answer: ECONNREFUSED' })
  })

  test('close ends the connection', async () => {
    let closed = false
    let asked = false
    const http = await answering((_, response) => {
      asked = true
      response.on('close', () => (closed = true))
    })
    const probe = probeOf({ http })
    await expect.poll(() => asked).toBe(true)
    await probe.close()
    await expect.poll(() => closed).toBe(true)
  })
})

describe('a command', () => {
  test.each<[string, Health]>([
    ['exit 0', { ok: true }],
    ['echo first; echo "  12 back ends  "; echo; exit 0', { ok: true, detail: '12 back ends' }],
    ['echo out; echo "no socket" >&2; exit 1', { ok: false, detail: 'exited with 1: no socket' }],
    ['exit 7', { ok: false, detail: 'exited with 7' }],
    ['kill -TERM $$', { ok: false, detail: 'was killed by SIGTERM' }],
    [`printf 'a\\033[2J\\0b'`, { ok: true, detail: 'a [2J b' }],
    [`printf 'torn \\303'`, { ok: true, detail: 'torn \ufffd' }],
  ])('%s', async (script, health) => {
    expect(await firstOf(shell(script))).toEqual(health)
  })

  test('is run without a shell, with little of the environment and nothing to read', async () => {
    process.env['MIDFLIGHT_PROBE_SECRET'] = 's3cr3t'
    try {
      expect(await firstOf({ command: ['printf', '%s', '$HOME; `id` *'] })).toEqual({
        ok: true,
        detail: '$HOME; `id` *',
      })
      const { detail } = await firstOf(shell('env | cut -d= -f1 | sort | tr "\\n" " "; cat'))
      const allowed = ['HOME', 'LANG', 'PATH', 'TZ', /* set by the shell: */ 'PWD', 'OLDPWD', 'SHLVL', '_']
      expect(detail!.split(' ').filter((name) => !allowed.includes(name))).toEqual([])
      expect(detail).toContain('PATH')
    } finally {
      delete process.env['MIDFLIGHT_PROBE_SECRET']
    }
  })

  test('that is not there, or may not be run', async () => {
    expect(await firstOf({ command: [join(folder, 'nothing')] })).toEqual({
      ok: false,
      detail: 'cannot be run: ENOENT',
    })
    expect(await firstOf({ command: [folder] })).toEqual({ ok: false, detail: 'cannot be run: EACCES' })
  })

  test('that prints megabytes is read to its end, of which the last line counts', async () => {
    const script = `yes "a line that is not the last" | head -c 20000000; echo; echo the last`
    expect(await firstOf(shell(script))).toEqual({ ok: true, detail: 'the last' })
    const oneLine = await firstOf(shell(`head -c 5000000 /dev/zero | tr '\\0' x; exit 3`))
    expect(oneLine).toEqual({ ok: false, detail: expect.stringMatching(/^exited with 3: x+…$/) })
    expect(oneLine.detail).toHaveLength(512)
  })

  test('that hangs, and ignores being asked to end, is killed with all it started', async () => {
    const script = `trap '' TERM INT HUP; (trap '' TERM; echo $(sh -c 'echo $PPID') > "$1/child"; while :; do sleep 1; done) & echo $$ > "$1/pid"; while :; do sleep 1; done`
    const probe = probeOf(shell(script), { timeoutMs: 1000 })
    const pids = [await pidIn('pid'), await pidIn('child')]
    await expect
      .poll(() => probe.health, { timeout: 20_000 })
      .toEqual({ ok: false, detail: 'did not finish within 1000 ms' })
    await probe.close()
    await expect.poll(() => pids.filter(isAlive), { timeout: 20_000 }).toEqual([])
  })

  test('that leaves a child behind is over when it is over itself, and the child is killed', async () => {
    const script = `sleep 90 & echo $! > "$1/child"; echo fine`
    expect(await firstOf(shell(script))).toEqual({ ok: true, detail: 'fine' })
    const child = await pidIn('child')
    await expect.poll(() => isAlive(child), { timeout: 20_000 }).toBe(false)
  })

  test('whose child escapes into a session of its own is judged by its exit code all the same', async () => {
    // It keeps the output open.
    const health = await firstOf(
      shell(
        `setsid sh -c 'echo $$ > "$1/child"; exec sleep 90' sh "$1" & while ! [ -s "$1/child" ]; do sleep 0.01; done; echo fine`,
      ),
    )
    expect(health).toEqual({ ok: true, detail: 'fine' })
    const child = await pidIn('child')
    expect(isAlive(child)).toBe(true)
    process.kill(child, 'SIGKILL')
  })

  test('is gone when close has returned', async () => {
    const probe = probeOf(shell(`echo $$ > "$1/pid"; exec sleep 90`))
    const pid = await pidIn('pid')
    await probe.close()
    expect(isAlive(pid)).toBe(false)
  })

  test('is killed when the process exits without closing', async () => {
    const url = new URL('../src/agent/probe.ts', import.meta.url).href
    const script = `import { createProbe } from ${JSON.stringify(url)}
      import { existsSync } from 'node:fs'
      const [file] = process.argv.slice(-1)
      createProbe({ check: { command: ['sh', '-c', 'echo $$ > "$1"; exec sleep 90', 'sh', file] }, timeoutMs: 300000 }, () => {})
      setInterval(() => existsSync(file) && process.exit(), 10)`
    const node = ['--conditions=midflight-source', '--input-type=module-typescript', '-e', script, join(folder, 'pid')]
    execFileSync(process.execPath, node, { timeout: 25_000 })
    const pid = await pidIn('pid')
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
  })
})
