import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import * as grpc from '@grpc/grpc-js'
import { afterEach, expect, test } from 'vitest'
import type { Outcome } from '../src/outcome.ts'
import { grpcEndpoint, type GrpcOptions } from '../src/triggers/grpc.ts'
import { call, clientsOf } from './grpc-clients.ts'
import { closers, committed, handMade, ready, rejected } from './hand-made-lifecycle.ts'

const opened = closers()
afterEach(() => opened.close())

async function door(options: Partial<GrpcOptions> = {}) {
  const engine = await handMade()
  const endpoint = await grpcEndpoint({ port: 0, ...options }).open(engine)
  let closed: Promise<void> | undefined
  const close = () => (closed ??= endpoint.close())
  opened.later(close)
  const clients = clientsOf(endpoint.address)
  opened.later(clients.close)
  return { engine, ...clients, close, address: endpoint.address }
}

test('Reload answers with the outcome, also with a bad one: the call itself is OK', async () => {
  const { engine, lifecycle } = await door()
  const { outcome } = await call(lifecycle, 'Reload', { force: true })
  expect(outcome).toMatchObject({
    kind: 'committed',
    succeeded: true,
    text: 'committed: 1 change',
    run: 1,
  })
  expect(JSON.parse(outcome.json)).toEqual(committed)
  engine.outcome = rejected
  expect((await call(lifecycle, 'Reload')).outcome).toMatchObject({ kind: 'rejected', succeeded: false })
  expect(engine.requests).toEqual([
    { trigger: 'grpc', force: true },
    { trigger: 'grpc', force: false },
  ])
})

test('Plan reloads nothing, Status is the whole status', async () => {
  const { engine, lifecycle } = await door()
  const { outcome } = await call(lifecycle, 'Plan')
  expect(outcome).toMatchObject({ kind: 'ready', succeeded: true })
  expect(JSON.parse(outcome.json)).toEqual(ready)
  expect(engine.requests).toEqual([])
  const status = await call(lifecycle, 'Status')
  expect(status).toMatchObject({ state: 'running', healthy: true, liveDigest: 'sha256:aa' })
  expect(JSON.parse(status.json)).toEqual(engine.status())
})

test('a bug in the engine is INTERNAL, with its message', async () => {
  const { engine, lifecycle } = await door()
  engine.reload = () => Promise.reject(new Error('a bug'))
  await expect(call(lifecycle, 'Reload')).rejects.toMatchObject({ code: grpc.status.INTERNAL, details: 'a bug' })
})

test('a token is needed for everything but health', async () => {
  const { engine, lifecycle, health } = await door({ token: 'correct-horse', host: '0.0.0.0' })
  for (const method of ['Reload', 'Plan', 'Status']) {
    for (const authorization of [undefined, '', 'Bearer wrong', 'correct-horse', 'Bearer correct-horse2']) {
      await expect(call(lifecycle, method, {}, authorization)).rejects.toMatchObject({
        code: grpc.status.UNAUTHENTICATED,
      })
    }
  }
  expect(engine.requests).toEqual([])
  expect((await call(lifecycle, 'Reload', {}, 'Bearer correct-horse')).outcome.kind).toBe('committed')
  expect(await call(health, 'Check')).toEqual({ status: 'SERVING' })
})

test('the standard health service: Check', async () => {
  const { engine, health } = await door()
  expect(await call(health, 'Check', { service: '' })).toEqual({ status: 'SERVING' })
  expect(await call(health, 'Check', { service: 'midflight.v1.Lifecycle' })).toEqual({ status: 'SERVING' })
  await expect(call(health, 'Check', { service: 'nobody' })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND })
  engine.with({ healthy: false })
  expect(await call(health, 'Check')).toEqual({ status: 'NOT_SERVING' })
})

test('the standard health service: Watch tells changes only, and ends with the door', async () => {
  const { engine, health, close } = await door()
  const seen: string[] = []
  const stream = health.Watch({ service: '' })
  const next = (count: number) => expect.poll(() => seen.length, { timeout: 10_000 }).toBe(count)
  stream.on('data', ({ status }: { status: string }) => seen.push(status))
  const ended = new Promise((resolve) => {
    stream.on('end', resolve)
    stream.on('error', resolve)
  })
  await next(1)
  engine.events.append({ kind: 'reload', outcome: committed })
  engine.with({ healthy: false })
  engine.events.append({ kind: 'reload', outcome: rejected })
  await next(2)
  engine.with({ healthy: true })
  engine.events.append({ kind: 'reload', outcome: committed })
  await next(3)
  expect(seen).toEqual(['SERVING', 'NOT_SERVING', 'SERVING'])
  await close()
  await ended
})

test('closing waits for a running reload, and answers it', async () => {
  const { engine, lifecycle, close } = await door()
  let settle = (_: Outcome) => {}
  engine.outcome = new Promise((resolve) => (settle = resolve))
  const asked = call(lifecycle, 'Reload')
  await expect.poll(() => engine.requests.length, { timeout: 10_000 }).toBe(1)
  const closed = close()
  settle(committed)
  expect((await asked).outcome.kind).toBe('committed')
  await closed
})

test('closing cuts what is still running at the deadline', async () => {
  const { engine, lifecycle, close } = await door({ closeDeadlineMs: 50 })
  engine.outcome = new Promise(() => {})
  const refused = expect(call(lifecycle, 'Reload')).rejects.toThrow()
  await expect.poll(() => engine.requests.length, { timeout: 10_000 }).toBe(1)
  await close()
  await refused
})

test('a message that is too large is refused', async () => {
  const { lifecycle, health } = await door()
  await expect(call(health, 'Check', { service: 'x'.repeat(100_000) })).rejects.toMatchObject({
    code: grpc.status.RESOURCE_EXHAUSTED,
  })
  expect((await call(lifecycle, 'Status')).state).toBe('running')
})

test('public binds without a token, taken addresses and ports that are none are refused', async () => {
  const engine = await handMade()
  await expect(grpcEndpoint({ port: 0, host: '0.0.0.0' }).open(engine)).rejects.toThrow(
    /gRPC: refuses to listen on 0.0.0.0:0 without a token/,
  )
  const { address } = await door()
  const port = Number(address.split(':').at(-1))
  await expect(grpcEndpoint({ port }).open(engine)).rejects.toThrow(
    `gRPC: cannot listen on 127.0.0.1:${port}: something else listens there already (EADDRINUSE)`,
  )
  expect(() => grpcEndpoint({ port: 70_000 })).toThrow(RangeError)
  expect(() => grpcEndpoint({ port: 0, token: '' })).toThrow('grpcEndpoint: the token is empty')
})

test('without the peer packages opening says what to install', async () => {
  // A process in which the two packages cannot be resolved.
  const hook = `export const resolve = (name, context, next) => {
    if (name.startsWith('@grpc/')) throw Object.assign(new Error('Cannot find package ' + name), { code: 'ERR_MODULE_NOT_FOUND' })
    return next(name, context)
  }`
  const hookUrl = JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)
  const register = `import { register } from 'node:module'; register(${hookUrl})`
  const main = `import { grpcEndpoint } from ${JSON.stringify(new URL('../src/triggers/grpc.ts', import.meta.url).href)}
    await grpcEndpoint({ port: 0 }).open({}).catch((error) => console.log(error.message))`
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=midflight-source',
    `--import=data:text/javascript,${encodeURIComponent(register)}`,
    '--input-type=module',
    '-e',
    main,
  ])
  expect(stdout).toBe('gRPC: two packages are missing: npm install @grpc/grpc-js @grpc/proto-loader\n')
})
