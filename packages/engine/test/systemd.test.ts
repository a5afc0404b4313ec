import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { jsonSchema, start } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'
import { onSignal } from '../src/triggers/signal.ts'
import { systemdNotify } from '../src/triggers/systemd.ts'
import { closers, committed, handMade, rejected } from './hand-made-lifecycle.ts'

const run = promisify(execFile)
const there = async (program: string) =>
  run(program, ['--version']).then(
    () => true,
    () => false,
  )
const missing = [
  ...((await there('python3')) ? [] : ['python3']),
  ...((await there('systemd-notify')) ? [] : ['systemd-notify']),
]
const skipped = missing.length === 0 ? '' : ` (skipped: ${missing.join(' and ')} is not here)`

const opened = closers()
afterEach(() => opened.close())

/**
 * The service manager's side, as a real datagram socket: Node has none. `systemd-notify` sends a descriptor with its
 * BARRIER=1 and waits until it is closed, which is how it knows that its message was seen.
 */
const managerScript = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print(json.dumps(["up"]), flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 65536, 8)
    for fd in fds: os.close(fd)
    print(json.dumps(data.decode().split("\\n")), flush=True)
`

async function manager() {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-systemd-'))
  opened.later(() => rm(folder, { recursive: true }))
  const socketPath = join(folder, 'notify')
  const child = spawn('python3', ['-c', managerScript, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] })
  opened.later(async () => {
    child.kill()
    await once(child, 'exit')
  })
  const messages: string[][] = []
  let wake = () => {}
  let rest = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as string[]
      if (message[0] !== 'BARRIER=1') messages.push(message)
    }
    wake()
  })
  /** Resolves with all that came, once `first` has begun `count` messages. */
  const until = async (first: string, count = 1) => {
    while (messages.filter((message) => message[0] === first).length < count)
      await new Promise<void>((resolve) => (wake = resolve))
    return messages.slice(1)
  }
  await until('up')
  return { socketPath, messages, until }
}

const monotonicUsec = () => Number(process.hrtime.bigint() / 1000n)

describe.skipIf(missing.length > 0)(`a service of Type=notify-reload${skipped}`, () => {
  test('says when it is ready, when it reloads and since when, what came of it, and when it stops', async () => {
    const { socketPath, until, messages } = await manager()
    const engine = await handMade()
    const { address, close } = await systemdNotify({ socketPath }).open(engine)
    expect(address).toBe(`systemd (${socketPath})`)
    expect(await until('READY=1')).toEqual([['READY=1', 'STATUS=running']])

    const before = monotonicUsec()
    engine.events.append({ kind: 'reload-began', run: 2, triggers: ['signal'] })
    const after = monotonicUsec()
    engine.events.append({ kind: 'reload', outcome: committed })
    await until('READY=1', 2)
    engine.events.append({ kind: 'reload-began', run: 3, triggers: ['signal'] })
    engine.events.append({ kind: 'reload', outcome: rejected })
    await until('READY=1', 3)
    await close()
    await until('STOPPING=1')

    expect(messages.slice(2)).toEqual([
      ['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/)],
      ['READY=1', 'STATUS=committed: 1 change'],
      ['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/)],
      ['READY=1', 'STATUS=reload failed: rejected in validate, the live configuration stays: 1 issue'],
      ['STOPPING=1', 'STATUS=stopping'],
    ])
    const sent = Number(messages[2]?.[1]?.split('=')[1])
    expect(sent).toBeGreaterThanOrEqual(before)
    expect(sent).toBeLessThanOrEqual(after)
    // The clock is the one that systemd compares with.
    const { stdout } = await run('python3', [
      '-c',
      'import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC)//1000)',
    ])
    expect(Math.abs(Number(stdout) - monotonicUsec())).toBeLessThan(10e6)
  })

  test('a storm of reloads ends in READY=1, and no queue of old ones is sent', async () => {
    const { socketPath, until, messages } = await manager()
    const engine = await handMade()
    const { close } = await systemdNotify({ socketPath }).open(engine)
    for (let n = 1; n <= 100; n++) {
      engine.events.append({ kind: 'reload-began', run: n, triggers: ['signal'] })
      engine.events.append({ kind: 'reload', outcome: committed })
    }
    await close()
    await until('STOPPING=1')
    expect(messages.length).toBeLessThan(20)
    expect(messages.slice(-3).map((message) => message[0])).toEqual(['RELOADING=1', 'READY=1', 'STOPPING=1'])
  })

  test('systemctl reload, as a real engine sees it: SIGHUP, RELOADING=1 with a later time, READY=1 with the outcome', async () => {
    const { socketPath, until, messages } = await manager()
    const source = memory({ log: 'info' })
    const engine = await start({
      schema: jsonSchema<{ log: string }>({ type: 'object' }),
      sources: [source],
      triggers: [onSignal()],
      endpoints: [systemdNotify({ socketPath })],
      logger: false,
    })
    opened.later(() => engine.close())
    source.set({ log: 'debug' })
    const hupAt = monotonicUsec()
    process.kill(process.pid, 'SIGHUP')
    await until('READY=1', 2)
    await engine.close()
    await until('STOPPING=1')
    expect(messages.slice(2, 4)).toEqual([
      ['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=/)],
      ['READY=1', expect.stringMatching(/^STATUS=committed: 1 change/)],
    ])
    expect(Number(messages[2]?.[1]?.split('=')[1])).toBeGreaterThanOrEqual(hupAt)
  })

  test('feeds the watchdog while the event loop turns, where systemd asks this very process for it', async () => {
    const { socketPath, until } = await manager()
    process.env['WATCHDOG_USEC'] = '200000'
    opened.later(() => void delete process.env['WATCHDOG_USEC'])
    const { close } = await systemdNotify({ socketPath }).open(await handMade())
    await until('WATCHDOG=1', 3)
    await close()
    process.env['WATCHDOG_PID'] = '1'
    opened.later(() => void delete process.env['WATCHDOG_PID'])
    const other = await manager()
    const second = await systemdNotify({ socketPath: other.socketPath }).open(await handMade())
    await new Promise((resolve) => setTimeout(resolve, 300))
    await second.close()
    expect((await other.until('STOPPING=1')).map((message) => message[0])).toEqual(['READY=1', 'STOPPING=1'])
  })
})

test('where nobody listens, opening says so', async () => {
  const opening = systemdNotify({ socketPath: '/nonexistent/notify' }).open(await handMade())
  await expect(opening).rejects.toThrow(/^systemd: systemd-notify could not send READY=1 to \/nonexistent\/notify: /)
})

test('where systemd-notify is missing, opening says so', async () => {
  const opening = systemdNotify({ socketPath: '/nonexistent/any', command: 'no-such-program' }).open(await handMade())
  await expect(opening).rejects.toThrow(
    'systemd: no-such-program could not send READY=1 to /nonexistent/any: there is no such program',
  )
})

test('outside systemd it does nothing, and its address says so', async () => {
  const before = process.env['NOTIFY_SOCKET']
  delete process.env['NOTIFY_SOCKET']
  opened.later(() => void (before === undefined || (process.env['NOTIFY_SOCKET'] = before)))
  const { address, close } = await systemdNotify().open(await handMade())
  expect(address).toBe('not under systemd (NOTIFY_SOCKET is not set)')
  await close()
})
