/** gRPC on a real engine. */
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { expect, test } from 'vitest'
import { jsonSchema, start } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { grpcEndpoint } from '../src/triggers/grpc.ts'

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
  const includeDirs = [fileURLToPath(new URL('../proto/', import.meta.url))]
  const packages = grpc.loadPackageDefinition(
    loadSync(['midflight/v1/lifecycle.proto', 'grpc/health/v1/health.proto'], {
      includeDirs,
      enums: String,
      longs: Number,
      defaults: true,
    }),
    // oxlint-disable-next-line typescript/no-explicit-any -- clients made at run time have no types
  ) as any
  const target = (engine.addresses['gRPC'] ?? '').replace('grpc://', '')
  const lifecycle = new packages.midflight.v1.Lifecycle(target, grpc.credentials.createInsecure())
  const health = new packages.grpc.health.v1.Health(target, grpc.credentials.createInsecure())
  // oxlint-disable-next-line typescript/no-explicit-any -- see above
  const call = (client: any, method: string): Promise<any> =>
    new Promise((resolve, reject) =>
      client[method]({}, (error: Error | null, value: unknown) => (error ? reject(error) : resolve(value))),
    )

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
  lifecycle.close()
  health.close()
  await engine.close()
})
