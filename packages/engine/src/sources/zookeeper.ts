/**
 * Configuration from ZooKeeper: one znode, or the znodes below a path. What is watched and read is `zookeeper/tree.ts`,
 * what is asked `zookeeper/session.ts`, and the protocol itself `zookeeper/connection.ts` and `zookeeper/wire.ts`.
 */
import { pause, within } from '../deadline.ts'
import { inRange } from '../range.ts'
import { watching, type Feed, type News, type Place } from './watching.ts'
import type { WatchingOptions, WatchingSource } from './watching.ts'
import { accessOf, checkedPath, connected, type Access, type ZookeeperConnection } from './zookeeper/access.ts'
import { Tree, type Root } from './zookeeper/tree.ts'

export type { ZookeeperConnection } from './zookeeper/access.ts'
export type { TlsOptions, Token } from '../credentials.ts'

/** With one of `key` and `prefix`. */
export interface ZookeeperOptions extends ZookeeperConnection, WatchingOptions {
  /** The path of a znode whose value is the document: `/app/config.yaml`. */
  readonly key?: string
  /** The znodes below it are the document's tree: `/app/`, or `/` for all. */
  readonly prefix?: string
  /** How often all is read anew in any case, milliseconds, ±10 %, 100 to 86,400,000, default 300,000. */
  readonly pollMs?: number
  /** How often the server is asked whether it is there, milliseconds, 10 to 3,600,000, default 10,000. */
  readonly pingMs?: number
}

/**
 * Reads and follows the znode `key`, or those below `prefix`. A znode that was deleted, or ended with its session, is a
 * removal; where nothing is left and nobody was seen to delete it, it is refused, and what is live stays live.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function zookeeper(options: ZookeeperOptions): WatchingSource {
  const { pollMs = 300_000, pingMs = 10_000, maxBytes = 16 * 1024 * 1024 } = options
  const access = accessOf(options)
  const place = placeOf(options)
  inRange('zookeeper()', 'pollMs', pollMs, 100, 86_400_000)
  inRange('zookeeper()', 'pingMs', pingMs, 10, 3_600_000)
  const name = 'key' in place ? place.key : place.prefix
  const { chroot } = access
  const root: Root = { path: join(chroot, name), chroot, isKey: 'key' in place, maxBytes }
  return watching(`zookeeper:${name}`, place, options, feedOf(root, access, { pollMs, pingMs }))
}

interface Paces {
  readonly pollMs: number
  readonly pingMs: number
}

/** The session is kept from one call to the next, so that a look costs no new one. */
function feedOf(root: Root, access: Access, paces: Paces): Feed {
  let tree: Tree | undefined
  // One watch for all that is below. One znode is watched with each read of it, which costs nothing.
  let isToldBelow = !root.isKey
  const opened = async (signal: AbortSignal): Promise<Tree> => {
    const session = await connected(access, signal)
    if (!isToldBelow) return new Tree(root, session, false, tree)
    try {
      isToldBelow = await until(signal, session.watchBelow(root.path))
      if (isToldBelow) return new Tree(root, session, true, tree)
    } catch (error) {
      await session.close()
      throw error
    }
    // An old server ends the connection with such an answer.
    await session.close()
    return opened(signal)
  }
  return {
    async *follow(signal) {
      try {
        if (!tree?.isOpen) tree = await opened(signal)
        // Also at first: a server whose sessions are its own (`localSessionsEnabled`) opens them while it is behind.
        await until(signal, tree.caughtUp())
        yield* following(tree, paces, signal)
      } catch (error) {
        // After an abort nothing is wrong with it: the next call goes on with what is still being answered.
        if (!signal.aborted) await tree?.close()
        throw error
      }
    },
    close: async () => tree?.close(),
    server: access.name,
  }
}

async function* following(tree: Tree, { pollMs, pingMs }: Paces, signal: AbortSignal): AsyncGenerator<News> {
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

function placeOf({ key, prefix }: ZookeeperOptions): Place {
  if (key !== undefined && prefix === undefined) return { key: checkedPath(key) }
  if (prefix === undefined || key !== undefined) throw new TypeError('zookeeper(): want one of key and prefix')
  if (prefix !== '/') checkedPath(prefix.replace(/\/$/, ''))
  return { prefix, separator: '/' }
}

function join(chroot: string, name: string): string {
  return `${chroot}${name}`.replace(/\/$/, '') || '/'
}
