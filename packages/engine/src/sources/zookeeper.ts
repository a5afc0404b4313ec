/**
 * Configuration from ZooKeeper: one znode, or the znodes below a path. It needs the peer `node-zookeeper-client`, which
 * is imported at the first load. What is watched and read is `zookeeper/tree.ts`, the connection `zookeeper/session.ts`.
 */
import { pause, within } from '../deadline.ts'
import { FollowError, watching, type Feed, type News, type Place } from './watching.ts'
import type { WatchingOptions, WatchingSource } from './watching.ts'
import type { Token } from './watching/request.ts'
import { Session, type Server } from './zookeeper/session.ts'
import { Tree, type Root } from './zookeeper/tree.ts'

export type { Token } from './watching/request.ts'

/** With one of `key` and `prefix`. */
export interface ZookeeperOptions extends WatchingOptions {
  /** As ZooKeeper's own clients have it: `host:2181,other:2181`, and at its end the path that all paths are below. */
  readonly servers: string
  /** The path of a znode whose value is the document: `/app/config.yaml`. */
  readonly key?: string
  /** The znodes below it are the document's tree: `/app/`, or `/` for all. */
  readonly prefix?: string
  /** For znodes with an ACL of the scheme `digest`. */
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  /** How often all is read anew in any case, milliseconds, ±10 %, 100 to 86,400,000, default 300,000. */
  readonly pollMs?: number
  /** How often the server is asked whether it is there, milliseconds, 10 to 3,600,000, default 10,000. */
  readonly pingMs?: number
  /** How long a connection and each answer may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
}

interface Access {
  readonly servers: readonly Server[]
  readonly login: { readonly user: string; readonly password: Token } | undefined
  readonly pollMs: number
  readonly pingMs: number
  readonly timeoutMs: number
}

/**
 * Reads and follows the znode `key`, or those below `prefix`. A znode that was deleted, or ended with its session, is a
 * removal; where nothing is left and nobody was seen to delete it, it is refused, and what is live stays live.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function zookeeper(options: ZookeeperOptions): WatchingSource {
  const { pollMs = 300_000, pingMs = 10_000, timeoutMs = 5_000, maxBytes = 16 * 1024 * 1024 } = options
  const { servers, chroot } = placesOf(options.servers)
  const place = placeOf(options)
  inRange('pollMs', pollMs, 100, 86_400_000)
  inRange('pingMs', pingMs, 10, 3_600_000)
  inRange('timeoutMs', timeoutMs, 1, 3_600_000)
  const name = 'key' in place ? place.key : place.prefix
  const root: Root = { path: join(chroot, name), chroot, isKey: 'key' in place, maxBytes }
  return watching(
    `zookeeper:${name}`,
    place,
    options,
    feedOf(root, { servers, login: loginOf(options), pollMs, pingMs, timeoutMs }),
  )
}

/** The session is kept from one call to the next, so that a look costs no new one. */
function feedOf(root: Root, access: Access): Feed {
  let tree: Tree | undefined
  return {
    async *follow(signal) {
      try {
        if (!tree?.isOpen) tree = new Tree(root, await connected(access, signal), tree)
        yield* following(tree, access, signal)
      } catch (error) {
        // After an abort nothing is wrong with it: the next call goes on with what is still being answered.
        if (!signal.aborted) await tree?.close()
        throw error
      }
    },
    close: async () => tree?.close(),
  }
}

async function* following(tree: Tree, { pollMs, pingMs }: Access, signal: AbortSignal): AsyncGenerator<News> {
  for (let anewAt = 0; !signal.aborted;) {
    if (performance.now() >= anewAt) {
      tree.readAnew()
      anewAt = performance.now() + pollMs * (0.9 + 0.2 * Math.random())
    }
    await until(signal, tree.settled())
    yield tree.news()
    const waitMs = Math.max(0, Math.min(pingMs, anewAt - performance.now()))
    const how = await pause(waitMs, signal, tree.nextEvent())
    if (how === 'elapsed' || !tree.isOpen) await until(signal, tree.heard())
  }
}

/** Each of `work` has limits of its own. */
function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return within(Infinity, signal, () => work)
}

/** To any of the servers, so that those who come back at once spread. */
async function connected({ servers, login, timeoutMs }: Access, signal: AbortSignal): Promise<Session> {
  const said = login && `${login.user}:${await textOf(login.password)}`
  const errors: FollowError[] = []
  const first = Math.floor(Math.random() * servers.length)
  for (const server of [...servers.slice(first), ...servers.slice(0, first)]) {
    try {
      return await Session.open(server, said, timeoutMs, signal)
    } catch (error) {
      if (signal.aborted || !(error instanceof FollowError && error.transient)) throw error
      errors.push(error)
    }
  }
  throw new FollowError(errors.map(({ message }) => message).join('; '))
}

async function textOf(token: Token): Promise<string> {
  return typeof token === 'function' ? token() : token
}

function loginOf({ user, password }: ZookeeperOptions): Access['login'] {
  if (user === undefined && password === undefined) return undefined
  if (user === undefined || password === undefined || !/^[^:]+$/.test(user)) {
    throw new TypeError('zookeeper(): want user and password, the user without a colon, or neither')
  }
  return { user, password }
}

function placesOf(text: string): { servers: readonly Server[]; chroot: string } {
  const [, hosts, chroot] = /^([^/]*)(\/.*)?$/s.exec(text) ?? []
  const servers = hosts?.split(',').map(serverOf)
  // Without the text itself: it may hold a password.
  if (!servers?.every((server) => server !== undefined)) {
    throw new TypeError('zookeeper(): want servers as host:port,host:port/path, and credentials in options')
  }
  if (chroot === undefined || chroot === '/') return { servers, chroot: '' }
  return { servers, chroot: checkedPath(chroot) }
}

function serverOf(text: string): Server | undefined {
  const [, v6, name, port = '2181'] = /^(?:\[([\da-f:.]+)\]|([-\w.]+))(?::(\d{1,5}))?$/i.exec(text) ?? []
  const host = v6 ?? name
  return host === undefined || Number(port) > 65_535 ? undefined : { host, port: Number(port) }
}

function placeOf({ key, prefix }: ZookeeperOptions): Place {
  if (key !== undefined && prefix === undefined) return { key: checkedPath(key) }
  if (prefix === undefined || key !== undefined) throw new TypeError('zookeeper(): want one of key and prefix')
  if (prefix !== '/') checkedPath(prefix.replace(/\/$/, ''))
  return { prefix, separator: '/' }
}

/** As the server would take it. */
function checkedPath(path: string): string {
  const isPath = /^(?:\/(?!\.\.?(?:\/|$))[^/\p{Cc}\p{Cs}\p{Co}\ufff0-\uffff]+)+$/u.test(path)
  if (!isPath) {
    throw new TypeError(`zookeeper(): ${JSON.stringify(path)} is no path of ZooKeeper; want /name/name, none . or ..`)
  }
  return path
}

function join(chroot: string, name: string): string {
  return `${chroot}${name}`.replace(/\/$/, '') || '/'
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (!(value >= min && value <= max)) throw new RangeError(`zookeeper(): ${name} is ${value}; want ${min} to ${max}`)
}
