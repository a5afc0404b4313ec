/** The command line of faults.md: whatever is typed, one line says what is wrong, and nothing crashes. */
import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { finished, folder, midflight, spawned } from './rig.ts'

test('unknown commands and options are answered with a suggestion', async () => {
  const [command, option, none] = await Promise.all([
    midflight(['relaod']),
    midflight(['validate', 'x.yaml', '--shema', 'y']),
    midflight([]),
  ])
  expect(command).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining("unknown command 'relaod'\n  (Did you mean reload?)"),
  })
  expect(option).toMatchObject({ code: 1, err: expect.stringContaining('(Did you mean --schema?)') })
  expect([none.code, none.err]).toEqual([1, expect.stringContaining('Usage: midflight')])
  const help = await midflight(['help', 'publsh'])
  expect([help.code, help.err]).toEqual([1, expect.stringContaining('(Did you mean publish?)')])
  const publish = await midflight(['help', 'publish'])
  expect([publish.code, publish.out]).toEqual([0, expect.stringContaining('like 30s or 5m (default: 60s)')])
})

test('the help of all parts the commands by what they are for; the shell has completion alone', async () => {
  const { out } = await midflight(['--help'])
  expect(out).toMatch(/^The shell:\n {2}completion .*\n\n/m)
  expect(out.match(/^[A-Z].*:$/gm)?.length).toBeGreaterThan(6)
})

test('what is wrong in several lines is told in several lines', async () => {
  const ran = await midflight(['agent', 'shop/web', '--to', 'web.json', '--once', '--url', 'http://127.0.0.1:1'], {
    cwd: await folder(),
  })
  expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/^midflight: cannot start: .*\n {2}.*127\.0\.0\.1:1/)])
  expect(ran.err).not.toContain('\\n')
})

test('what makes no sense is refused with what was found and what is wanted, and as JSON with a code', async () => {
  const cwd = await folder({ 'a.yaml': 'a: 1\n' })
  const cases: readonly [args: readonly string[], said: string][] = [
    [['status', '--url', 'http://127.0.0.1:70000'], '--url has port 70000; want a port from 1 to 65535'],
    [['status', '--url', 'http://127.0.0.1:0'], '--url has port 0; want a port from 1 to 65535'],
    [['status', '--url', 'ftp://127.0.0.1'], '--url has the scheme ftp://'],
    [['status', '--url', 'http://'], '--url is "http://"'],
    [['status', '--url', 'http://me:secret-pass@127.0.0.1:1'], '--url holds a user name or password'],
    [['status'], 'which process? want --url, --socket or MIDFLIGHT_URL'],
    [['status', '--url', '127.0.0.1:1', '--socket', 'x'], 'both --url and --socket are given'],
    [['status', '--url', '127.0.0.1:1', '--timeout', '0'], '--timeout is "0"'],
    [['events', '--url', '127.0.0.1:1', '--limit', '1001'], '--limit is "1001"; want an integer from 1 to 1000'],
    [['reload', '--url', '127.0.0.1:1', '--wait', '2'], '--wait is "2"; want 0 or 1'],
    [['plan', 'a.yaml'], 'compared with what?'],
    [['plan', '--against', 'a.yaml'], '--against is given without files'],
    [['plan', 'a.yaml', '--against', 'a.yaml', '--url', 'x:1'], 'files and a running process are both given'],
    [['validate', 'a.yaml', '--key', 'rules'], '--key is "rules"; want path=field'],
    [['validate', 'a.yaml', '--secrets', 'a..b'], '--secrets: '],
    [['validate', 'a.yaml', '--layer', '../x'], 'layer "../x"'],
    [['validate', ''], 'want at least one path, and none empty'],
    [['validate', 'a.yaml', '--format', 'ini'], "argument 'ini' is invalid"],
    [['diff', '-', '-', '--format', 'yaml'], 'both sides are standard input'],
    [['completion', 'tcsh'], "'tcsh' is invalid"],
  ]
  await Promise.all(
    cases.map(async ([args, said]) => {
      const { code, out, err } = await midflight(args, { cwd })
      expect([code, out, err], args.join(' ')).toEqual([1, '', expect.stringContaining(`midflight: `)])
      expect(err, args.join(' ')).toContain(said)
      expect(err).not.toMatch(/\n\s+at |secret-pass/)
    }),
  )
  const json = await midflight(['status', '--url', 'http://127.0.0.1:70000', '--json'])
  expect(json.json()).toEqual({
    error: { code: 'usage', message: '--url has port 70000; want a port from 1 to 65535' },
  })
  expect((await midflight(['diff', 'a', '--json'])).json()).toMatchObject({ error: { code: 'usage' } })
})

test('files that are missing, empty, directories or not text are refused by name', async () => {
  const cwd = await folder({ 'empty.yaml': '', 'odd.txt': 'a', 'utf16.json': '\ufffe{' })
  const all = await Promise.all(
    ['none.yaml', 'empty.yaml', 'odd.txt', '/dev/zero', '.'].map((path) => midflight(['validate', path], { cwd })),
  )
  expect(all.map(({ code }) => code)).toEqual([1, 1, 1, 1, 1])
  expect(all[0]?.out).toContain('none.yaml is not there')
  expect(all[3]?.out).toContain('/dev/zero')
})

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => void server.close(() => resolve()))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('an address where nothing, something else or nobody in time answers is told apart', async () => {
  const page = await listening(createServer((_, response) => response.end('<html>login</html>')))
  const other = await listening(createServer((_, response) => response.end('{"a":1}')))
  const lost = await listening(createServer((_, response) => response.writeHead(404).end()))
  const noise = await listening(createTcpServer((socket) => socket.on('error', () => {}).end('SSH-2.0-x\r\n')))
  const shut = await listening(createTcpServer((socket) => socket.destroy()))
  const silent = await listening(createTcpServer((socket) => socket.on('error', () => {}).resume()))
  const cases: readonly [url: string, code: string, said: string][] = [
    [
      'http://127.0.0.1:1',
      'unreachable',
      'nothing listens at http://127.0.0.1:1; is the admin endpoint of the process on',
    ],
    [page, 'not-midflight', 'but not as Midflight'],
    [other, 'not-midflight', 'but not as Midflight'],
    [lost, 'not-midflight', 'answers 404, but not as Midflight'],
    [noise, 'not-midflight', 'does not speak HTTP'],
    [shut, 'unreachable', 'closed the connection'],
    [silent, 'unreachable', 'gave no answer within 2 s'],
  ]
  await Promise.all(
    cases.map(async ([url, code, said]) => {
      const ran = await midflight(['status', '--url', url, '--timeout', '2', '--json'])
      expect([ran.code, ran.json()], url).toMatchObject([
        1,
        { error: { code, message: expect.stringContaining(said) } },
      ])
    }),
  )
  const file = await folder({ 'plain.sock': '' })
  for (const socket of ['none.sock', 'plain.sock']) {
    const ran = await midflight(['status', '--socket', socket], { cwd: file })
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('is the admin endpoint of the process on?')])
  }
})

test('control characters of a configuration never reach the terminal, also not in JSON', async () => {
  const evil = '\u001b]0;owned\u0007\u009b31m\u202eabc\u2028'
  const cwd = await folder({
    'a.json': JSON.stringify({ [evil]: 1, v: 'x' }),
    'b.json': JSON.stringify({ [evil]: evil, v: evil }),
    'bad.yaml': `a: "\u202e"\nb: [\u202e\n`,
    's.json': '{"properties":{"v":{"const":"x"}},"additionalProperties":{"type":"integer"}}',
  })
  const all = await Promise.all([
    midflight(['diff', 'a.json', 'b.json'], { cwd }),
    midflight(['diff', 'a.json', 'b.json', '--json'], { cwd }),
    midflight(['validate', 'b.json', '--schema', 's.json'], { cwd }),
    midflight(['validate', 'bad.yaml'], { cwd }),
    midflight(['validate', `${evil}.yaml`], { cwd }),
    midflight([evil]),
    midflight(['status', '--url', `http://${evil}`]),
  ])
  // oxlint-disable-next-line no-control-regex
  for (const { out, err } of all) expect(out + err).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/)
  expect(all[0]?.out).toContain('\\u001b]0;owned\\u0007')
  expect((all[1]?.json() as { changes: { after: string }[] }).changes.at(-1)?.after).toBe(evil)
})

test('colour only where it is asked for: FORCE_COLOR, and not with NO_COLOR or into a pipe', async () => {
  const cwd = await folder({ 'a.yaml': 'a: 1\n', 'b.yaml': 'a: 2\n' })
  const run = (env: Record<string, string>) => midflight(['diff', 'a.yaml', 'b.yaml'], { cwd, env })
  const all = await Promise.all([run({}), run({ CI: 'true' }), run({ FORCE_COLOR: '1' }), run({ NO_COLOR: '1' })])
  expect(all.map(({ out }) => out.includes('\u001b['))).toEqual([false, false, true, false])
})

test('a reader that goes away (| head) ends the command quietly', async () => {
  const many = Array.from({ length: 20_000 }, (_, i) => [`key${i}`, 'value '.repeat(10)])
  const cwd = await folder({ 'a.json': '{}', 'b.json': JSON.stringify(Object.fromEntries(many)) })
  const child = spawned(['diff', 'a.json', 'b.json'], { cwd })
  child.stdout?.once('data', () => child.stdout?.destroy())
  let err = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
  await new Promise((resolve) => child.once('exit', resolve))
  expect(err).toBe('')
})

test('Ctrl-C while an answer is awaited exits with 130', async () => {
  const server = createTcpServer((socket) => socket.on('error', () => {}).resume())
  const url = await listening(server)
  const child = spawned(['reload', '--url', url])
  const done = finished(child)
  await new Promise((resolve) => server.once('connection', resolve))
  child.kill('SIGINT')
  expect(await done).toMatchObject({ code: 130, out: '', err: '' })
})
