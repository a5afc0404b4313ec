/**
 * The gRPC door: `midflight.v1.Lifecycle` (reload, plan, status) and the standard health service. It needs the peers
 * `@grpc/grpc-js` and `@grpc/proto-loader`, which are imported when it opens. It speaks plain HTTP/2: where others
 * should reach it, TLS goes before it.
 */
import { fileURLToPath } from 'node:url'
import type * as Grpc from '@grpc/grpc-js'
import { outcomeText, succeeded, type Outcome, type PlanOutcome } from '../outcome.ts'
import type { Endpoint, Lifecycle, OpenEndpoint } from '../trigger.ts'
import { bearerCheck, bindAddress, checkPort, hostPort, listenError } from './access.ts'

export interface GrpcOptions {
  /** 0 to 65535; 0 takes a free one. */
  readonly port: number
  /** `127.0.0.1` by default. Anything that is not loopback needs a `token`. */
  readonly host?: string
  /** Needed as metadata `authorization: Bearer …` for all but the health service. Visible ASCII, no spaces. */
  readonly token?: string
  /** Milliseconds that `close()` waits for running calls before it cuts them; 5000 by default. */
  readonly closeDeadlineMs?: number
}

const maxMessageBytes = 64 * 1024
const protoFolder = fileURLToPath(new URL('../../proto/', import.meta.url))

/**
 * An endpoint for gRPC. A call that ran to an end is OK, whatever the outcome; the answer carries its kind, a line
 * of text and the whole as JSON. Other status codes are about the call: UNAUTHENTICATED, INTERNAL.
 * @throws TypeError or RangeError at the call, for options that make no sense. Opening rejects if a peer package is
 *   missing, if the address is taken, or if others could reach it and there is no token.
 */
export function grpcEndpoint(options: GrpcOptions): Endpoint {
  checkPort('grpcEndpoint', options.port)
  if (options.host === '') throw new TypeError('grpcEndpoint: host is empty')
  const permits = bearerCheck('grpcEndpoint', options.token)
  return { name: 'gRPC', open: (engine) => open(engine, options, permits) }
}

async function open(
  engine: Lifecycle,
  options: GrpcOptions,
  permits: (authorization: string | undefined) => boolean,
): Promise<OpenEndpoint> {
  const { port, host = '127.0.0.1', token, closeDeadlineMs = 5000 } = options
  const { grpc, services } = await peers()
  const address = await bindAddress('gRPC', host, port, token)

  const server = new grpc.Server({ 'grpc.max_receive_message_length': maxMessageBytes })
  const watchers = new Set<() => void>()
  server.addService(services.lifecycle, lifecycleCalls(grpc, engine, permits))
  server.addService(services.health, healthCalls(grpc, engine, watchers))
  const boundPort = await new Promise<number>((resolve, reject) => {
    server.bindAsync(hostPort(address, port), grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) return resolve(bound)
      const taken = error.message.includes('EADDRINUSE') ? Object.assign(error, { code: 'EADDRINUSE' }) : error
      reject(listenError('gRPC', hostPort(host, port), taken))
    })
  })
  return {
    address: `grpc://${hostPort(host, boundPort)}`,
    async close() {
      for (const end of watchers) end()
      await new Promise<void>((resolve) => {
        const cut = setTimeout(() => {
          server.forceShutdown()
          resolve()
        }, closeDeadlineMs)
        server.tryShutdown(() => {
          clearTimeout(cut)
          resolve()
        })
      })
    },
  }
}

interface Peers {
  readonly grpc: typeof Grpc
  readonly services: { readonly lifecycle: Grpc.ServiceDefinition; readonly health: Grpc.ServiceDefinition }
}

async function peers(): Promise<Peers> {
  try {
    const [grpc, loader] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')])
    const definitions = await loader.load(['midflight/v1/lifecycle.proto', 'grpc/health/v1/health.proto'], {
      includeDirs: [protoFolder],
      enums: String,
      longs: Number,
      defaults: true,
    })
    return {
      grpc,
      services: {
        lifecycle: definitions['midflight.v1.Lifecycle'] as Grpc.ServiceDefinition,
        health: definitions['grpc.health.v1.Health'] as Grpc.ServiceDefinition,
      },
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')) throw error
    throw new Error('gRPC: two packages are missing: npm install @grpc/grpc-js @grpc/proto-loader', { cause: error })
  }
}

type Unary = Grpc.handleUnaryCall<Record<string, unknown>, object>

function lifecycleCalls(
  grpc: typeof Grpc,
  engine: Lifecycle,
  permits: (authorization: string | undefined) => boolean,
): Grpc.UntypedServiceImplementation {
  const guarded =
    (answer: (request: Record<string, unknown>) => Promise<object>): Unary =>
    (call, reply) => {
      if (!permits(call.metadata.get('authorization')[0]?.toString())) {
        reply({ code: grpc.status.UNAUTHENTICATED, details: 'want authorization: Bearer and the token' })
        return
      }
      answer(call.request).then(
        (value) => reply(null, value),
        (error: unknown) =>
          reply({ code: grpc.status.INTERNAL, details: error instanceof Error ? error.message : String(error) }),
      )
    }
  return {
    Reload: guarded(async ({ force }) => ({
      outcome: outcomeMessage(await engine.reload({ trigger: 'grpc', force: force === true })),
    })),
    Plan: guarded(async ({ force }) => ({
      outcome: outcomeMessage(await engine.plan({ trigger: 'grpc', force: force === true })),
    })),
    Status: guarded(async () => {
      const status = engine.status()
      const { state, healthy, live } = status
      return { state, healthy, liveDigest: live.digest, committedAt: live.committedAt, json: JSON.stringify(status) }
    }),
  }
}

function outcomeMessage(outcome: Outcome | PlanOutcome): object {
  return {
    kind: outcome.kind,
    succeeded: succeeded(outcome),
    text: outcomeText(outcome),
    run: outcome.run,
    json: JSON.stringify(outcome),
  }
}

/** The names that health may be asked for; the empty one means the whole server. */
const healthNames = ['', 'midflight.v1.Lifecycle', 'grpc.health.v1.Health']

function healthCalls(
  grpc: typeof Grpc,
  engine: Lifecycle,
  watchers: Set<() => void>,
): Grpc.UntypedServiceImplementation {
  const now = (): string => {
    const { state, healthy } = engine.status()
    return healthy && state !== 'closed' ? 'SERVING' : 'NOT_SERVING'
  }
  const check: Unary = (call, reply) => {
    const service = String(call.request['service'] ?? '')
    if (healthNames.includes(service)) return reply(null, { status: now() })
    reply({ code: grpc.status.NOT_FOUND, details: `no service ${JSON.stringify(service.slice(0, 100))} here` })
  }
  const watch: Grpc.handleServerStreamingCall<Record<string, unknown>, object> = (call) => {
    const known = healthNames.includes(String(call.request['service'] ?? ''))
    let last: string | undefined
    const tell = () => {
      const status = known ? now() : 'SERVICE_UNKNOWN'
      if (status !== last) call.write({ status })
      last = status
    }
    const unsubscribe = engine.events.subscribe(tell)
    const end = () => {
      unsubscribe()
      watchers.delete(end)
      call.end()
    }
    watchers.add(end)
    call.on('cancelled', end)
    call.on('close', end)
    tell()
  }
  return { Check: check, Watch: watch }
}
