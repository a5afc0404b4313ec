/**
 * One session at one member of ZooKeeper, with what following and writing need. It is never mended: after an error it is
 * let go, and another is opened. The library speaks the protocol; what it lacks is made up for here, in the one place
 * that reaches into it: it connects again by itself, never gives up a connection that went silent, tells nobody why a
 * connection failed, and lets an answer that it does not know end the process.
 */
import type { Socket } from 'node:net'
import type * as Library from 'node-zookeeper-client'
import { errorText, pause } from '../../deadline.ts'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'

export interface Server {
  readonly host: string
  readonly port: number
}

export type Stat = Library.Stat
export type Watcher = (event: Library.Event) => void

/** What is told when a watch fires. */
export const created = 1
export const deleted = 2
export const dataChanged = 3
export const childrenChanged = 4

/** Of the library's errors. */
const lost = -4
const [noNode, noAuth, badVersion, ephemeral, nodeExists, notEmpty] = [-101, -102, -103, -108, -110, -111]

/** How long a server keeps a session that it hears nothing of; it may set other bounds. */
const sessionMs = 30_000
/** How long the end of a session may take. The server forgets those that it is not told of by their time. */
const farewellMs = 250

/** The parts of the library's client that it keeps to itself. */
interface Inside {
  servers: readonly Server[]
  socket: Socket | undefined
  connectTimeoutHandler: NodeJS.Timeout | null
  connect(): void
  onSocketData(chunk: Buffer): void
  onSocketError(error: Error): void
}

/** What became of a change. All but `done`: nothing has changed. */
export type Changed =
  | { readonly kind: 'done'; readonly stat: Stat | undefined }
  /** Of `create` too, where what it is to be below is not there. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'exists' | 'other-version' | 'has-children' | 'below-ephemeral' }

const answers: Readonly<Record<number, Exclude<Changed['kind'], 'done'>>> = {
  [noNode]: 'absent',
  [badVersion]: 'other-version',
  [ephemeral]: 'below-ephemeral',
  [nodeExists]: 'exists',
  [notEmpty]: 'has-children',
}

type Done<T> = (error: unknown, value?: T) => void

export class Session {
  readonly #server: string
  readonly #client: Library.Client
  readonly #inside: Inside
  readonly #timeoutMs: number
  /** Questions without an answer. */
  readonly #waiting = new Set<(error: FollowError) => void>()
  #limit: NodeJS.Timeout | undefined
  #ended: FollowError | undefined
  /** Called once, when the connection is gone. */
  onEnd: () => void = () => {}

  private constructor(library: typeof Library, server: Server, timeoutMs: number) {
    this.#server = `${server.host}:${server.port}`
    this.#timeoutMs = timeoutMs
    // The library cannot read addresses of IPv6; they are set below.
    this.#client = library.createClient('server', { sessionTimeout: sessionMs, retries: 0 })
    this.#inside = (this.#client as unknown as { connectionManager: Inside }).connectionManager
    this.#inside.servers = [server]
  }

  /**
   * @param login user and password, as the scheme `digest` has them
   * @throws FollowError if there is none within `timeoutMs`, which holds for each answer too.
   */
  static async open(
    server: Server,
    login: string | undefined,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Session> {
    const session = new Session(await library(), server, timeoutMs)
    const abort = () => session.#end('was not waited for')
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    try {
      await session.#open(login)
      return session
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  get isOpen(): boolean {
    return this.#ended === undefined
  }

  /** Undefined where there is none. `watcher` is told then too, of its creation. */
  exists(path: string, watcher?: Watcher): Promise<Stat | undefined> {
    return this.#ask(path, (done: Done<Stat | null>) => {
      if (watcher) this.#client.exists(path, watcher, done)
      else this.#client.exists(path, done)
    }).then((stat) => stat ?? undefined)
  }

  /** Undefined where there is none, and nothing is watched then. Without a value it is of no bytes. */
  data(path: string, watcher?: Watcher): Promise<{ value: Uint8Array; stat: Stat } | undefined> {
    return this.#ask(path, (done: Done<{ value: Uint8Array; stat: Stat }>) => {
      const end = (error: unknown, value: Buffer | undefined, stat: Stat) =>
        done(error, { value: value ?? new Uint8Array(), stat })
      if (watcher) this.#client.getData(path, watcher, end)
      else this.#client.getData(path, end)
    })
  }

  /** Undefined where there is none, and nothing is watched then. The names, not the paths. */
  children(path: string, watcher?: Watcher): Promise<{ names: readonly string[]; stat: Stat } | undefined> {
    return this.#ask(path, (done: Done<{ names: readonly string[]; stat: Stat }>) => {
      const end = (error: unknown, names: readonly string[], stat: Stat) => done(error, { names, stat })
      if (watcher) this.#client.getChildren(path, watcher, end)
      else this.#client.getChildren(path, end)
    })
  }

  /**
   * What anyone was told to be written before the call is known to this member too: a transaction that changes nothing
   * goes through all of them. The library has no `sync`.
   */
  async caughtUp(path: string): Promise<void> {
    // Whatever becomes of it: whoever reads then is told of what may not be read.
    await this.#answer((done) => this.#client.transaction().check(path).commit(done))
  }

  /** Below a znode that is there. At once with its value, so that its stat is known; it is at version 1 then. */
  create(path: string, value: Uint8Array): Promise<Changed> {
    return this.#change(path, (done) => {
      const both = this.#client.transaction().create(path).setData(path, Buffer.from(value))
      both.commit((error, results: readonly { stat?: Stat }[] | undefined) => done(error, results?.[1]?.stat))
    })
  }

  /** Without a value, for others below it. */
  createEmpty(path: string): Promise<Changed> {
    return this.#change(path, (done) => this.#client.create(path, (error) => done(error)))
  }

  /** @param version -1: any */
  set(path: string, value: Uint8Array, version: number): Promise<Changed> {
    return this.#change(path, (done) => this.#client.setData(path, Buffer.from(value), version, done))
  }

  /** @param version -1: any */
  remove(path: string, version: number): Promise<Changed> {
    return this.#change(path, (done) => this.#client.remove(path, version, (error) => done(error)))
  }

  /** Tells the server, where that is quick. */
  async close(): Promise<void> {
    const { socket } = this.#inside
    if (this.isOpen && socket) {
      const over = new AbortController()
      socket.once('close', () => over.abort())
      this.#client.close()
      await pause(farewellMs, over.signal)
    }
    this.#end('is closed')
  }

  async #open(login: string | undefined): Promise<void> {
    const { onSocketData, onSocketError } = this.#inside
    let why = 'the server has ended the connection'
    this.#inside.onSocketData = (chunk) => {
      try {
        onSocketData.call(this.#inside, chunk)
      } catch (error) {
        this.#end(`answers what the client does not understand: ${errorText(error)}`)
      }
    }
    this.#inside.onSocketError = (error) => {
      why = errorText(error)
      onSocketError.call(this.#inside, error)
    }
    if (login !== undefined) this.#client.addAuthInfo('digest', Buffer.from(login))
    this.#client.once('authenticationFailed', () => this.#end('refuses the login', false))
    this.#client.once('expired', () => this.#end('the session has expired'))
    await this.#answer((done: Done<true>) => {
      this.#client.once('connected', () => done(undefined, true))
      this.#client.connect()
      // Called when it was cut off.
      this.#inside.connect = () => this.#end(why)
    })
  }

  /** Undefined where there is none. */
  async #ask<T>(path: string, start: (done: Done<T>) => void): Promise<T | undefined> {
    const { code, value } = await this.#answer(start)
    if (code === 0 || code === noNode) return code === 0 ? value : undefined
    throw this.#refusal(code, 'read', path)
  }

  async #change(path: string, start: (done: Done<Stat>) => void): Promise<Changed> {
    const { code, value } = await this.#answer(start)
    if (code === 0) return { kind: 'done', stat: value }
    const kind = answers[code]
    if (kind) return { kind }
    throw this.#refusal(code, 'write', path)
  }

  /** @returns 0, or the library's code for why not */
  #answer<T>(start: (done: Done<T>) => void): Promise<{ code: number; value: T | undefined }> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended)
      this.#waiting.add(reject)
      this.#limit ??= setTimeout(() => this.#end(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs)
      start((error, value) => {
        this.#waiting.delete(reject)
        if (this.#waiting.size > 0) this.#limit?.refresh()
        else this.#unlimit()
        const code = error ? (error as Library.Exception).code : 0
        if (code === lost) reject(this.#ended ?? new FollowError(`${this.#server}: the connection was lost`))
        else resolve({ code, value })
      })
    })
  }

  #end(why: string, transient = true): void {
    if (this.#ended) return
    this.#ended = new FollowError(`${this.#server}: ${why}`, { transient })
    this.#unlimit()
    for (const reject of this.#waiting) reject(this.#ended)
    this.#waiting.clear()
    const inside = this.#inside
    inside.connect = () => {}
    // It makes its socket in the tick after it was told to connect.
    process.nextTick(() => {
      clearTimeout(inside.connectTimeoutHandler ?? undefined)
      inside.socket?.destroy()
    })
    this.onEnd()
  }

  #unlimit(): void {
    clearTimeout(this.#limit)
    this.#limit = undefined
  }

  #refusal(code: number, what: 'read' | 'write', path: string): FollowError {
    const why = code === noAuth ? `may not ${what} ${path}` : `refuses to ${what} ${path} (${code})`
    return new FollowError(`${this.#server}: ${why}`, { transient: code !== noAuth })
  }
}

function library(): Promise<typeof Library> {
  const message = 'reading ZooKeeper needs a package: npm install node-zookeeper-client'
  return optional(
    () => import('node-zookeeper-client'),
    (cause) => new FollowError(message, { transient: false, cause }),
  )
}
