/**
 * One session at one member of ZooKeeper, as a connection that lasts as long as it: questions and their answers, events,
 * and the pings that keep it. It is never mended: after an error it is let go, and another is opened. What can be asked
 * is `session.ts`.
 */
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { nodeTls, type TlsOptions } from '../../credentials.ts'
import { errorText, pause } from '../../deadline.ts'
import { FollowError } from '../watching.ts'
import { Frames, frame, type Body, type Field } from './wire.ts'

export interface Server {
  /** As errors show it. */
  readonly name: string
  readonly host: string
  readonly port: number
}

export interface ConnectionOptions {
  /** User and password, as the scheme `digest` has them. */
  readonly login: string | undefined
  readonly tls: TlsOptions | undefined
  /** Of making the session, and of each answer. */
  readonly timeoutMs: number
}

/** What a watch tells. */
export interface WatchEvent {
  readonly type: number
  readonly path: string
}

/** `code` is 0, or why not; `value` is there with 0. */
export interface Answer<T> {
  readonly code: number
  readonly value: T | undefined
}

/** How long a server keeps a session that it hears nothing of; it may set other bounds. */
const sessionMs = 30_000
/** How long the end of a session may take. The server forgets those that it is not told of by their time. */
const farewellMs = 250
/** Whatever is no ZooKeeper is noticed by its first word. */
const mostWelcomeBytes = 1_024
/** Far more than any list of names, or what a server takes for a value unless it was told to. */
const mostAnswerBytes = 64 * 1024 * 1024

/** Numbers of questions that are not in the row. */
const [welcomeXid, eventXid, pingXid, loginXid] = [0, -1, -2, -4]
const [pingType, loginType, farewellType] = [11, 100, -11]
/** Of the answers. */
const wantsLogin = -124

interface Waiting {
  answered(code: number, body: Body): void
  rejected(error: FollowError): void
}

export class Connection {
  readonly #server: Server
  readonly #timeoutMs: number
  readonly #socket: Socket
  readonly #frames = new Frames(mostWelcomeBytes)
  /** Questions without an answer. */
  readonly #waiting = new Map<number, Waiting>()
  #xid = 0
  #isWelcomed = false
  #isGathering = false
  #limit: NodeJS.Timeout | undefined
  #pings: NodeJS.Timeout | undefined
  #ended: FollowError | undefined
  /** Called for what a watch tells, before any answer that came after it is. */
  onEvent: (event: WatchEvent) => void = () => {}
  /** Called once, when the connection is gone. */
  onEnd: () => void = () => {}

  private constructor(server: Server, { tls, timeoutMs }: Omit<ConnectionOptions, 'login'>) {
    this.#server = server
    this.#timeoutMs = timeoutMs
    const { host, port } = server
    const to = { host, port, noDelay: true }
    // For whoever has several names at one address. An address is none.
    const servername = isIP(host) === 0 ? host : ''
    this.#socket = tls ? connectTls({ ...to, servername, ...nodeTls(tls) }) : connect(to)
    this.#socket.on('data', (chunk) => this.#read(chunk))
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('close', () => this.#end('the server has ended the connection'))
    // Not before: whoever is not trusted is told nothing.
    this.#socket.once(tls ? 'secureConnect' : 'connect', () => this.#introduce())
  }

  /** @throws FollowError if there is none within `timeoutMs`. */
  static async open(server: Server, options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
    const connection = new Connection(server, options)
    const abort = () => connection.#end('was not waited for')
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    try {
      const { value: lastsMs = 0 } = await connection.#answer(welcomeXid, welcomed)
      if (lastsMs <= 0) connection.#end('gives no session')
      if (options.login !== undefined) await connection.#logIn(options.login)
      if (connection.#ended) throw connection.#ended
      // As ZooKeeper's own clients do: two may be late before the server takes the session for gone.
      connection.#keepAlive(lastsMs / 3)
      return connection
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  get isOpen(): boolean {
    return this.#ended === undefined
  }

  /**
   * @param read what to make of the answer
   * @throws FollowError where there is none within its time
   */
  ask<T>(type: number, fields: readonly Field[], read: (body: Body) => T): Promise<Answer<T>> {
    this.#xid = (this.#xid % 0x7f_ff_ff_ff) + 1
    this.#write(frame(this.#xid, type, ...fields))
    return this.#answer(this.#xid, read)
  }

  /** With the name of the server. */
  error(why: string, options: { transient?: boolean; cause?: unknown } = {}): FollowError {
    return new FollowError(`${this.#server.name}: ${why}`, options)
  }

  /** Tells the server, where that is quick. */
  async close(): Promise<void> {
    if (this.isOpen) {
      const over = new AbortController()
      const end = () => over.abort()
      // Whatever becomes of it, the connection ends.
      this.ask(farewellType, [], end).then(end, end)
      await pause(farewellMs, over.signal)
    }
    this.#end('is closed')
  }

  /** A new session, always: what the last one watched is read anew, so none has to be taken up again. */
  #introduce(): void {
    this.#write(frame(0, 0n, sessionMs, 0n, new Uint8Array(16), false))
  }

  /** Once there is a session: asked before, a server of Netty, and so each with TLS, may answer it before it welcomes. */
  async #logIn(login: string): Promise<void> {
    this.#write(frame(loginXid, loginType, 0, 'digest', Buffer.from(login)))
    const { code } = await this.#answer(loginXid, () => 0)
    if (code !== 0) this.#end(`refuses the login (${code})`, { transient: false })
  }

  #keepAlive(everyMs: number): void {
    this.#pings = setInterval(() => {
      if (this.#waiting.has(pingXid)) return
      this.#write(frame(pingXid, pingType))
      // Who waits for others is told why it has ended.
      this.#answer(pingXid, () => 0).catch(() => {})
    }, everyMs)
  }

  #answer<T>(xid: number, read: (body: Body) => T): Promise<Answer<T>> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended)
      this.#waiting.set(xid, {
        answered: (code, body) => resolve({ code, value: code === 0 ? read(body) : undefined }),
        rejected: reject,
      })
      this.#limit ??= setTimeout(() => this.#end(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs)
    })
  }

  /** What is written in one turn of the event loop goes out at once. */
  #write(bytes: Buffer): void {
    if (this.#ended) return
    if (!this.#isGathering) {
      this.#isGathering = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#isGathering = false
        this.#socket.uncork()
      })
    }
    this.#socket.write(bytes)
  }

  #read(chunk: Buffer): void {
    try {
      this.#frames.add(chunk)
      for (let body; this.isOpen && (body = this.#frames.next());) this.#take(body)
    } catch (error) {
      this.#end(`answers what is not understood: ${errorText(error)}`, { cause: error })
    }
  }

  #take(body: Body): void {
    if (!this.#isWelcomed) {
      this.#isWelcomed = true
      this.#frames.mostBytes = mostAnswerBytes
      return this.#settle(welcomeXid, 0, body)
    }
    const xid = body.int()
    body.long() // The last change that the server knew.
    const code = body.int()
    // The server ends the connection with it, whatever was asked.
    if (code === wantsLogin) return this.#end(`wants a login that it was not given (${code})`, { transient: false })
    if (xid !== eventXid) return this.#settle(xid, code, body)
    const type = body.int()
    body.int() // How the session is.
    this.onEvent({ type, path: body.text() })
  }

  #settle(xid: number, code: number, body: Body): void {
    const waiting = this.#waiting.get(xid)
    if (!waiting) throw new Error(`there is no question ${xid}`)
    waiting.answered(code, body)
    this.#waiting.delete(xid)
    if (this.#waiting.size > 0) this.#limit?.refresh()
    else this.#unlimit()
  }

  #fail(error: NodeJS.ErrnoException): void {
    // A certificate that is not trusted, or what is no TLS, is not mended by another try.
    const transient = !/CERT|SSL|TLS|ISSUER|SIGNED|EPROTO/.test(String(error.code))
    // OpenSSL's own text has where in its code it was.
    const reason = /:SSL routines:[^:]*:([^:]+):/.exec(error.message)?.[1]
    this.#end(reason === undefined ? errorText(error) : `TLS is refused (${reason})`, { transient, cause: error })
  }

  #end(why: string, options: { transient?: boolean; cause?: unknown } = {}): void {
    if (this.#ended) return
    this.#ended = this.error(why, options)
    this.#unlimit()
    clearInterval(this.#pings)
    for (const { rejected } of this.#waiting.values()) rejected(this.#ended)
    this.#waiting.clear()
    this.#socket.destroy()
    this.onEnd()
  }

  #unlimit(): void {
    clearTimeout(this.#limit)
    this.#limit = undefined
  }
}

/** @returns how long the session lasts; 0 where there is none */
function welcomed(body: Body): number {
  body.int() // The protocol's version.
  return body.int()
}
