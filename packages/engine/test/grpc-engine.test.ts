/** gRPC on a real engine. */
import { expect, test } from 'vitest'
import { jsonSchema, start } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { grpcEndpoint } from '../src/triggers/grpc.ts'
import { call, clientsOf } from './grpc-clients.ts'

test('Reload and Plan on a real engine, and health follows it', async () => {
  const source = memory({ log: 'info' })
  const log = scripted('log')
  const engine = await start({
    schema: jsonSchema<{ log: string }>({ type: 'object' }),
    sources: [source],
    components: [log],
    endpoints: [grpcEndpoint({ port: 0 })],
    logger: false,
  })
  const { lifecycle, health, close } = clientsOf(engine.addresses['gRPC'] ?? '')

  source.set({ log: 'debug' })
  expect((await call(lifecycle, 'Plan')).outcome).toMatchObject({ kind: 'ready', succeeded: true })
  expect(log.live).toBe('info')
  expect((await call(lifecycle, 'Reload')).outcome).toMatchObject({ kind: 'committed', succeeded: true })
  expect(log.live).toBe('debug')
  expect((await call(lifecycle, 'Status')).liveDigest).toBe(engine.status().live.digest)

  const fail = () => {
    throw new Error('no')
  }
  log.on = { commit: fail, rollback: fail }
  source.set({ log: 'warn' })
  expect((await call(lifecycle, 'Reload')).outcome).toMatchObject({ kind: 'degraded', succeeded: false })
  expect(await call(health, 'Check')).toEqual({ status: 'NOT_SERVING' })
  close()
  await engine.close()
})
