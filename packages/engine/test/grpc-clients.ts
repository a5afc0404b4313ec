/** Clients of the gRPC door, made of its own definitions. */
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const definitions = grpc.loadPackageDefinition(
  loadSync(['midflight/v1/lifecycle.proto', 'grpc/health/v1/health.proto'], {
    includeDirs: [fileURLToPath(new URL('../proto/', import.meta.url))],
    enums: String,
    longs: Number,
    defaults: true,
  }),
  // oxlint-disable-next-line typescript/no-explicit-any -- clients made at run time have no types
) as any

/** @param address as the endpoint tells it: `grpc://127.0.0.1:9902` */
export function clientsOf(address: string) {
  const target = address.replace('grpc://', '').replace('0.0.0.0', '127.0.0.1')
  const lifecycle = new definitions.midflight.v1.Lifecycle(target, grpc.credentials.createInsecure())
  const health = new definitions.grpc.health.v1.Health(target, grpc.credentials.createInsecure())
  const close = () => {
    lifecycle.close()
    health.close()
  }
  return { lifecycle, health, close }
}

// oxlint-disable-next-line typescript/no-explicit-any -- see above
export function call(client: any, method: string, request: object = {}, authorization?: string): Promise<any> {
  const metadata = new grpc.Metadata()
  if (authorization !== undefined) metadata.set('authorization', authorization)
  return new Promise((resolve, reject) => {
    client[method](request, metadata, (error: Error | null, value: unknown) => (error ? reject(error) : resolve(value)))
  })
}
