/** What following and writing ask of a member of ZooKeeper. How it is asked is `connection.ts`. */
import { Connection, type ConnectionOptions, type Server, type WatchEvent } from './connection.ts'
import type { Body, Field, Stat } from './wire.ts'

/** What is told when a watch fires. */
export const [created, deleted, childrenChanged] = [1, 2, 4]

/** Of the protocol's operations. */
const [remove, exists, getData, setData, getChildren, check, multi, create2, addWatch] = [
  2, 3, 4, 5, 8, 13, 14, 15, 106,
]
/** Of its errors. */
const [unimplemented, noNode, noAuth, badVersion, ephemeral, nodeExists, notEmpty, quota] = [
  -6, -101, -102, -103, -108, -110, -111, -125,
]

/** Told of the znode and of all below it, and not only once. */
const recursive = 1
/** Of what is made: anybody may do anything, as for whoever makes no other choice. */
const [acls, persistent] = [[1, 31, 'world', 'anyone'], 0]

/** What became of a change. All but `done`: nothing has changed. */
export type Changed =
  | { readonly kind: 'done'; readonly stat: Stat | undefined }
  /** Of `create` too, where what it is to be below is not there. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'exists' | 'other-version' | 'has-children' | 'below-ephemeral' | 'beyond-quota' }

const answers: Readonly<{ [code: number]: Exclude<Changed['kind'], 'done'> }> = {
  [noNode]: 'absent',
  [badVersion]: 'other-version',
  [ephemeral]: 'below-ephemeral',
  [nodeExists]: 'exists',
  [notEmpty]: 'has-children',
  [quota]: 'beyond-quota',
}

export interface Data {
  readonly value: Uint8Array
  readonly stat: Stat
}

export class Session {
  readonly #connection: Connection

  private constructor(connection: Connection) {
    this.#connection = connection
  }

  /** @throws FollowError if there is none in time */
  static async open(server: Server, options: ConnectionOptions, signal: AbortSignal): Promise<Session> {
    return new Session(await Connection.open(server, options, signal))
  }

  get isOpen(): boolean {
    return this.#connection.isOpen
  }

  /** Whoever is told of what watches tell, before the answers that come after it, and once of the end. */
  tell(onEvent: (event: WatchEvent) => void, onEnd: () => void): void {
    this.#connection.onEvent = onEvent
    this.#connection.onEnd = onEnd
  }

  /** Undefined where there is none. A watch is told then too, of its creation. */
  exists(path: string, isWatched = false): Promise<Stat | undefined> {
    return this.#read(exists, path, isWatched, (body) => body.stat())
  }

  /** Undefined where there is none, and nothing is watched then. Without a value it is of no bytes. */
  data(path: string, isWatched = false): Promise<Data | undefined> {
    return this.#read(getData, path, isWatched, (body) => {
      const bytes = body.bytes() ?? []
      return { value: new Uint8Array(bytes), stat: body.stat() }
    })
  }

  /** Undefined where there is none, and nothing is watched then. The names, not the paths. */
  children(path: string, isWatched = false): Promise<readonly string[] | undefined> {
    return this.#read(getChildren, path, isWatched, (body) => body.texts())
  }

  /**
   * From the answer on each znode at and below `path` is told of that is made, changed or deleted, whether `path` is
   * there or not. No other watch may be set there: up to 3.8 that would take this one's place.
   * @returns false where the server does not know of that: before 3.6, and it ends the connection then.
   */
  async watchBelow(path: string): Promise<boolean> {
    const { code } = await this.#connection.ask(addWatch, [path, recursive], nothing)
    if (code !== 0 && code !== unimplemented) throw this.#refusal(code, 'watch', path)
    return code === 0
  }

  /**
   * What anyone was told to be written before the call is known to this member too: a transaction that changes nothing
   * goes through all of them. (`sync` is answered by the leader alone, also by one that others have left.)
   */
  async caughtUp(path: string): Promise<void> {
    const fields = [check, false, -1, path, -1, ...[-1, true, -1]]
    // Whatever becomes of it: whoever reads then is told of what may not be read.
    await this.#connection.ask(multi, fields, nothing)
  }

  /** Below a znode that is there. @param value undefined: without one, for others below it */
  create(path: string, value?: Uint8Array): Promise<Changed> {
    return this.#change(create2, [path, value, ...acls, persistent], path, (body) => {
      body.text()
      return body.stat()
    })
  }

  /** @param version -1: any */
  set(path: string, value: Uint8Array, version: number): Promise<Changed> {
    return this.#change(setData, [path, value, version], path, (body) => body.stat())
  }

  /** @param version -1: any */
  remove(path: string, version: number): Promise<Changed> {
    return this.#change(remove, [path, version], path, nothing)
  }

  /** Tells the server, where that is quick. */
  close(): Promise<void> {
    return this.#connection.close()
  }

  async #read<T>(type: number, path: string, isWatched: boolean, read: (body: Body) => T): Promise<T | undefined> {
    const { code, value } = await this.#connection.ask(type, [path, isWatched], read)
    if (code === 0 || code === noNode) return value
    throw this.#refusal(code, 'read', path)
  }

  async #change(
    type: number,
    fields: readonly Field[],
    path: string,
    read: (body: Body) => Stat | undefined,
  ): Promise<Changed> {
    const { code, value } = await this.#connection.ask(type, fields, read)
    if (code === 0) return { kind: 'done', stat: value }
    const kind = answers[code]
    if (kind) return { kind }
    throw this.#refusal(code, 'write', path)
  }

  #refusal(code: number, what: 'read' | 'write' | 'watch', path: string): Error {
    const why = code === noAuth ? `may not ${what} ${path}` : `refuses to ${what} ${path} (${code})`
    return this.#connection.error(why, { transient: code !== noAuth })
  }
}

function nothing(): undefined {
  return undefined
}
