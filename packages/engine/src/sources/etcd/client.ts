/**
 * One connection to one member of an etcd cluster, with the calls that following and writing need. It is never mended:
 * after an error it is let go, and another is made. When and to whom is left to `members.ts`.
 */
import { fileURLToPath } from 'node:url'
import type { SecureContext } from 'node:tls'
import type * as Grpc from '@grpc/grpc-js'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'
import type { Token } from '../../credentials.ts'
import { bearerOf } from '../watching/request.ts'
import { Sockets } from '../watching/sockets.ts'

/** How to reach a cluster. */
export interface Cluster {
  readonly endpoints: readonly Endpoint[]
  readonly tls: { readonly context: SecureContext; readonly servername?: string | undefined } | undefined
  readonly login: { readonly username: string; readonly password: string } | undefined
  readonly token: Token | undefined
  /** For each answer, and for the answer to a ping. */
  readonly timeoutMs: number
  readonly keepAliveMs: number
  readonly maxMessageBytes: number
}

export interface Endpoint {
  readonly host: string
  readonly isTls: boolean
}

/** From `key` up to `end`, which is not part of it; without an end, the one key. */
export interface Range {
  readonly key: Uint8Array
  readonly end: Uint8Array | undefined
}

export interface RangeOptions {
  readonly limit: number
  /** Default 0: now. */
  readonly revision?: number
  readonly keys_only?: boolean
}

export interface Pair {
  readonly key: Buffer
  readonly value: Buffer
  readonly mod_revision: string
}

export interface Page {
  /** Of now, whatever revision was asked for. */
  readonly header: { readonly cluster_id: string; readonly revision: string }
  readonly kvs: readonly Pair[]
  readonly more: boolean
}

export interface WatchResponse {
  readonly header: { readonly revision: string }
  readonly created: boolean
  readonly canceled: boolean
  readonly compact_revision: string
  readonly cancel_reason: string
  readonly fragment: boolean
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: Pair }[]
}

/** A change of one key, made only where the key was last changed at `modRevision`; 0: where it is not there. */
export interface Change {
  readonly key: Uint8Array
  /** Without a value it is removed. */
  readonly value: Uint8Array | undefined
  readonly modRevision: string | undefined
}

export interface Changed {
  readonly header: { readonly revision: string }
  readonly succeeded: boolean
  readonly responses: readonly { readonly response_delete_range?: { readonly deleted: string } | null }[]
}

export interface Connection {
  readonly endpoint: Endpoint
  /** Linearizable: at least as new as the call, if no older `revision` is asked for. */
  range(range: Range, options: RangeOptions, signal: AbortSignal): Promise<Page>
  change(change: Change, signal: AbortSignal): Promise<Changed>
  /** Begins with `created`, or with why not, within the time for an answer. Ends by throwing. */
  watch(range: Range, startRevision: number, signal: AbortSignal): AsyncGenerator<WatchResponse>
  close(): void
}

/** The server is there and has answered, with this. */
export class CallError extends FollowError {
  readonly status: number
  readonly details: string

  constructor(endpoint: Endpoint, status: number, details: string, cause: unknown) {
    super(`${endpoint.host}: ${details}`, { transient: isPassing(status, details), cause })
    this.status = status
    this.details = details
  }

  /** By what the whole cluster knows of names, passwords and permissions. */
  get isDenied(): boolean {
    return [invalidArgument, permissionDenied, unauthenticated].includes(this.status)
  }
}

/** Codes of gRPC. */
const [cancelled, invalidArgument, deadlineExceeded, permissionDenied] = [1, 3, 4, 7]
const [resourceExhausted, failedPrecondition, outOfRange, unimplemented, unauthenticated] = [8, 9, 11, 12, 16]

/** What was asked for is larger than `maxMessageBytes`. */
export function isTooLarge(error: unknown): boolean {
  return error instanceof CallError && error.status === resourceExhausted && /larger than max/.test(error.details)
}

/** What was asked for was as of a revision that is gone. */
export function isCompacted(error: unknown): boolean {
  return error instanceof CallError && error.status === outOfRange && /compacted/.test(error.details)
}

/** A certificate that is not trusted, or what is no TLS. */
const aboutTls = /certificate|self.signed|altname|\bSSL|\bTLS|EPROTO|ERR_SSL/i

function isPassing(status: number, details: string): boolean {
  if ([invalidArgument, permissionDenied, unimplemented, unauthenticated].includes(status)) return false
  return !aboutTls.test(details)
}

interface Calls {
  readonly grpc: typeof Grpc
  readonly range: Method<Page>
  readonly txn: Method<Changed>
  readonly watch: Method<WatchResponse>
  readonly authenticate: Method<{ readonly token: string }>
}

interface Method<Response> {
  readonly path: string
  readonly requestSerialize: (value: object) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => Response
}

const protoFolder = fileURLToPath(new URL('../../../proto/', import.meta.url))
const missing = 'two packages are missing: npm install @grpc/grpc-js @grpc/proto-loader'
let loading: Promise<Calls> | undefined

async function calls(): Promise<Calls> {
  try {
    return await (loading ??= optional(load, (cause) => new FollowError(missing, { transient: false, cause })))
  } catch (error) {
    loading = undefined
    throw error
  }
}

async function load(): Promise<Calls> {
  const [grpc, loader] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')])
  const options = { includeDirs: [protoFolder], keepCase: true, enums: String, longs: String, defaults: true }
  const definitions = await loader.load('etcd/v3.proto', options)
  const method = <Response>(service: string, name: string) => {
    const definition = definitions[`etcdserverpb.${service}`] as Readonly<Record<string, unknown>>
    return definition[name] as Method<Response>
  }
  return {
    grpc,
    range: method('KV', 'Range'),
    txn: method('KV', 'Txn'),
    watch: method('Watch', 'Watch'),
    authenticate: method('Auth', 'Authenticate'),
  }
}

/**
 * Connects and logs in.
 * @param warn told if a login is given that the server does not want.
 * @throws FollowError, CallError
 */
export async function connect(
  cluster: Cluster,
  endpoint: Endpoint,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<Connection> {
  const { grpc, ...methods } = await calls()
  const sockets = new Sockets()
  const options = {
    // Its own connection, so that what is let go is gone, and so that a dead one is not handed out again.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.keepalive_time_ms': cluster.keepAliveMs,
    'grpc.keepalive_timeout_ms': cluster.timeoutMs,
    'grpc.max_receive_message_length': cluster.maxMessageBytes,
    ...(endpoint.isTls && cluster.tls?.servername && { 'grpc.ssl_target_name_override': cluster.tls.servername }),
  }
  const client = sockets.of(
    () => new grpc.Client(`dns:${endpoint.host}`, credentials(grpc, cluster, endpoint), options),
  )
  const ask = <Response>(method: Method<Response>, request: object, stop: AbortSignal, token?: string) =>
    answered<Response>(cluster, endpoint, stop, (done) =>
      sockets.of(() =>
        client.makeUnaryRequest(
          method.path,
          method.requestSerialize,
          method.responseDeserialize,
          request,
          metadataOf(grpc, token),
          { deadline: Date.now() + cluster.timeoutMs },
          done,
        ),
      ),
    )
  const close = () => {
    // Where a connection has failed, this may begin another one, a second later.
    sockets.of(() => client.close())
    sockets.destroy()
  }
  try {
    const token = await tokenOf(cluster, (login) => ask(methods.authenticate, login, signal), warn)
    return {
      endpoint,
      range: ({ key, end }, options, stop) =>
        ask(methods.range, { key, ...(end && { range_end: end }), ...options }, stop, token),
      change({ key, value, modRevision }, stop) {
        const compare = modRevision === undefined ? [] : [{ target: 'MOD', key, mod_revision: modRevision }]
        const success = [value ? { request_put: { key, value } } : { request_delete_range: { key } }]
        return ask(methods.txn, { compare, success }, stop, token)
      },
      watch({ key, end }, startRevision, stop) {
        const { path, requestSerialize, responseDeserialize } = methods.watch
        const metadata = metadataOf(grpc, token)
        // Ends the watch at a member that has lost the others, which would hear of nothing.
        metadata.set('hasleader', 'true')
        const stream = sockets.of(() =>
          client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata),
        )
        const asked = { start_revision: startRevision, progress_notify: true, fragment: true }
        stream.write({ create_request: { key, ...(end && { range_end: end }), ...asked } })
        return responses(cluster, endpoint, stream, stop)
      },
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

function answered<Response>(
  cluster: Cluster,
  endpoint: Endpoint,
  stop: AbortSignal,
  start: (done: (error: unknown, response?: Response) => void) => { cancel(): void },
): Promise<Response> {
  return new Promise((resolve, reject) => {
    if (stop.aborted) return reject(new FollowError('was not waited for'))
    const abort = () => call.cancel()
    const call = start((error, response) => {
      stop.removeEventListener('abort', abort)
      if (error) reject(explained(cluster, endpoint, error))
      else resolve(response as Response)
    })
    stop.addEventListener('abort', abort)
  })
}

async function* responses(
  cluster: Cluster,
  endpoint: Endpoint,
  stream: Grpc.ClientDuplexStream<object, WatchResponse>,
  stop: AbortSignal,
): AsyncGenerator<WatchResponse> {
  // The loop below is told of errors as long as it runs; what comes after it is its own cancelling.
  stream.on('error', () => {})
  const abort = () => stream.cancel()
  stop.addEventListener('abort', abort)
  if (stop.aborted) abort()
  let isLate = false
  const limit = setTimeout(() => {
    isLate = true
    stream.cancel()
  }, cluster.timeoutMs)
  try {
    for await (const response of stream as AsyncIterable<WatchResponse>) {
      clearTimeout(limit)
      yield response
    }
    throw new FollowError(`${endpoint.host}: the server has ended the watch`)
  } catch (error) {
    if (isLate) throw new FollowError(`${endpoint.host}: no watch within ${cluster.timeoutMs} ms`, { cause: error })
    throw explained(cluster, endpoint, error)
  } finally {
    clearTimeout(limit)
    stop.removeEventListener('abort', abort)
    stream.cancel()
  }
}

function credentials(grpc: typeof Grpc, { tls }: Cluster, { isTls }: Endpoint): Grpc.ChannelCredentials {
  if (!isTls) return grpc.credentials.createInsecure()
  return tls ? grpc.credentials.createFromSecureContext(tls.context) : grpc.credentials.createSsl()
}

function metadataOf(grpc: typeof Grpc, token: string | undefined): Grpc.Metadata {
  const metadata = new grpc.Metadata()
  if (token !== undefined) metadata.set('token', token)
  return metadata
}

async function tokenOf(
  { login, token }: Cluster,
  authenticate: (login: object) => Promise<{ readonly token: string }>,
  warn: (message: string) => void,
): Promise<string | undefined> {
  if (!login) return bearerOf(token)
  try {
    return (await authenticate({ name: login.username, password: login.password })).token
  } catch (error) {
    const isOff = error instanceof CallError && error.status === failedPrecondition && /not enabled/.test(error.details)
    if (!isOff) throw error
    warn('is given a user name, and the server asks nobody for one')
    return undefined
  }
}

function explained(cluster: Cluster, endpoint: Endpoint, error: unknown): FollowError {
  if (error instanceof FollowError) return error
  const { code, details } = error as Partial<Grpc.ServiceError>
  if (typeof code !== 'number' || typeof details !== 'string') {
    return new FollowError(`${endpoint.host}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
  if (code === deadlineExceeded) {
    return new FollowError(`${endpoint.host}: no whole answer within ${cluster.timeoutMs} ms`, { cause: error })
  }
  if (code === cancelled) return new FollowError(`${endpoint.host}: the call was given up`, { cause: error })
  // What gRPC puts around what went wrong.
  const why = details
    .replace(/^No connection established\. Last error: (?:Error: )?/, '')
    .replace(/ Resolution note: $/, '')
  // Its time would make another error of each try.
  return new CallError(endpoint, code, why.trim().replace(/(?: \([\d:.TZ-]+\))?\.?$/, ''), error)
}
