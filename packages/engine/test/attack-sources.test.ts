/** Servers that are not what the sources take them for: that say nothing at all, or something else. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { consul } from '../src/sources/consul.ts'
import { etcd } from '../src/sources/etcd.ts'
import { http } from '../src/sources/http.ts'
import { kafka } from '../src/sources/kafka.ts'
import { nats } from '../src/sources/nats.ts'
import { redis } from '../src/sources/redis.ts'
import type { WatchingSource } from '../src/sources/watching.ts'
import { zookeeper } from '../src/sources/zookeeper.ts'

const quick = { retry: { firstMs: 10, maxMs: 20 } }
const sources: Readonly<Record<string, (port: number, timeoutMs?: number) => WatchingSource>> = {
  etcd: (port, timeoutMs = 300) =>
    etcd({ endpoints: `http://127.0.0.1:${port}`, prefix: '/app/', ...quick, timeoutMs }),
  redis: (port, timeoutMs = 300) => redis({ url: `redis://127.0.0.1:${port}`, prefix: 'app:', ...quick, timeoutMs }),
  nats: (port, timeoutMs = 300) =>
    nats({ servers: `nats://127.0.0.1:${port}`, bucket: 'config', prefix: 'app.', ...quick, timeoutMs }),
  kafka: (port, timeoutMs = 300) =>
    kafka({ brokers: `kafka://127.0.0.1:${port}`, topic: 'config', prefix: 'app/', ...quick, timeoutMs }),
  zookeeper: (port, timeoutMs = 300) =>
    zookeeper({ servers: `127.0.0.1:${port}`, prefix: '/app/', ...quick, timeoutMs }),
  consul: (port, timeoutMs = 300) => consul({ url: `http://127.0.0.1:${port}`, prefix: 'app/', ...quick, timeoutMs }),
  http: (port, timeoutMs = 300) => http(`http://127.0.0.1:${port}/app.json`, { ...quick, timeoutMs }),
}

/** What it says to each connection, and what it answers; it ends none by itself. */
async function listening(says = '', answers = '') {
  const open = new Set<Socket>()
  let taken = 0
  const server = createServer((socket) => {
    taken++
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
    socket.on('data', () => socket.write(answers)).write(says)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, open, taken: () => taken }
}

/** Follows it, with what it says of it. */
function followed(source: WatchingSource) {
  const said: string[] = []
  const end = new AbortController()
  onTestFinished(() => {
    end.abort()
    return source.close()
  })
  void (async () => {
    for await (const _ of source.requests(end.signal, (message) => said.push(message)));
  })()
  const failed = source.load(end.signal).catch((error: unknown) => String(error))
  return { said, failed }
}

const soon = { timeout: 20_000, interval: 20 }

describe.each(Object.entries(sources))('%s', (_name, newSource) => {
  test('a server that takes connections and never says a word has one at a time, and none after close', async () => {
    const server = await listening()
    const source = newSource(server.port)
    followed(source)
    let most = 0
    await vi.waitFor(() => {
      most = Math.max(most, server.open.size)
      expect(server.taken()).toBeGreaterThan(5)
    }, soon)
    // One that was let go, and that the server has not heard of, may stand beside the next.
    expect(most).toBeLessThan(4)
    await source.close()
    await vi.waitFor(() => expect(server.open.size).toBe(0), soon)
  }, 30_000)

  test('close while a first connection waits for its server leaves none, and does not wait for it', async () => {
    const server = await listening()
    const source = newSource(server.port, 60_000)
    const { failed } = followed(source)
    await vi.waitFor(() => expect(server.open.size).toBeGreaterThan(0), soon)
    await source.close()
    await vi.waitFor(() => expect(server.open.size).toBe(0), soon)
    expect(await failed).toContain('Error')
  }, 30_000)

  test('a server that is something else is told of once, however often it is tried', async () => {
    const server = await listening('SSH-2.0-OpenSSH_9.6\r\n')
    const { said, failed } = followed(newSource(server.port))
    expect(await failed).toContain(`127.0.0.1:${server.port}`)
    await vi.waitFor(() => expect(server.taken()).toBeGreaterThan(5), soon)
    expect(said, said.join('\n')).toHaveLength(1)
    expect(said.join()).not.toContain('report this')
  }, 30_000)
})

test.each([
  ['consul', (url: string) => consul({ url, prefix: 'app/' })],
  ['http', (url: string) => http(`${url}/app.json`)],
])('%s: a server without TLS is told in one line, and is not tried again at once', async (_name, newSource) => {
  const server = await listening('', 'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
  const source = newSource(`https://127.0.0.1:${server.port}`)
  onTestFinished(() => source.close())
  const failed = await source.load(new AbortController().signal).catch((error: unknown) => error)
  expect(failed).toMatchObject({ transient: false })
  expect(String(failed)).toMatch(/https:\/\/127\.0\.0\.1:\d+: speaks no TLS that fits \([a-z ]+\)$/)
})

test('etcd: a process that closed its source ends by itself', async () => {
  const server = await listening('', "-ERR unknown command 'PRI'\r\n")
  const program = `
    import { etcd } from 'midflight/sources/etcd'
    const source = etcd({ endpoints: 'http://127.0.0.1:${server.port}', prefix: '/app/' })
    await source.load(new AbortController().signal).catch((error) => console.log(String(error)))
    await source.close()
    // Longer than gRPC waits: its own timers hold no process.
    setTimeout(() => console.log('closed'), 2_500)`
  const words = ['--conditions=midflight-source', '--input-type=module', '--eval', program]
  const child = spawn(process.execPath, words, { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const said = text(child.stdout)
  await Promise.race([once(child, 'exit'), pause(20_000)])
  expect(child.exitCode, 'it did not end').toBe(0)
  expect(await said).toMatch(/Protocol error\nclosed\n$/)
}, 40_000)
