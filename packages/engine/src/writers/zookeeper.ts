/**
 * Writes to ZooKeeper: a znode is set where it has the version that it had with the expected revision, and made with all
 * that is above it where there is none.
 */
import { accessOf, connected, isPath, type ZookeeperConnection } from '../sources/zookeeper/access.ts'
import type { Changed, Session } from '../sources/zookeeper/session.ts'
import type { Stat } from '../sources/zookeeper/wire.ts'
import { calling, Kept, type Call } from './calling.ts'
import { WriteError, type Expected, type Removed, type StoredEntry, type Writer, type Written } from './writer.ts'

export type { ZookeeperConnection } from '../sources/zookeeper/access.ts'

/** Servers take 1 MiB for all of a request. */
const maxValueBytes = 1024 * 1024 - 4_096
/** Znodes asked for at once. */
const atOnce = 64
/** How often others may make and remove a znode in between before it is given up. */
const mostTries = 10
/** Whatever is there at the moment. */
const impossible = new Map<Changed['kind'], string>([
  ['below-ephemeral', 'is below an ephemeral znode, which has none'],
  ['beyond-quota', 'goes beyond a quota that is set above it'],
])
/** What the server keeps of itself. */
const ownPath = '/zookeeper'

/**
 * Keys are paths, below the path at the end of `servers`. Znodes without a value are not listed. A znode that has others
 * below it is not removed. One that was removed and made again has another revision, but for who does so within the round
 * trip of a write, and as often written: ZooKeeper compares the number of writes only.
 * @throws TypeError, RangeError at the call, if an option cannot be meant.
 */
export function zookeeperWriter(options: ZookeeperConnection): Writer {
  const access = accessOf(options)
  const { chroot, servers, timeoutMs } = access
  const name = `zookeeper:${access.name}`
  const kept = new Kept<Session>(
    (signal) => connected(access, signal),
    (session) => session.close(),
  )
  const call = <T>(signal: AbortSignal, work: (session: Session, call: Call) => Promise<T>) =>
    // To connect to each in turn, and a few questions.
    calling(name, timeoutMs * (servers.length + 2), signal, async (made) => {
      let session = await kept.get()
      if (!session.isOpen) {
        await kept.drop(session)
        session = await kept.get()
      }
      return work(session, made)
    })
  const refused = (key: string, why: string) => new WriteError('refused', `${name}: ${JSON.stringify(key)} ${why}`)
  const pathOf = (key: string): string => {
    if (!isPath(key)) throw refused(key, 'is no path of ZooKeeper; want /name/name, none . or ..')
    return chroot + key
  }

  return {
    name,
    lacks: {},
    read: (key, signal) =>
      call(signal, async (session) => {
        const path = pathOf(key)
        await session.caughtUp(path)
        const found = await session.data(path)
        return found && { value: found.value, revision: revisionOf(found.stat) }
      }),
    async *list(prefix, signal) {
      if (prefix !== '' && !prefix.startsWith('/')) return
      const above = chroot + prefix.slice(0, prefix.lastIndexOf('/'))
      const isWanted = (path: string) => path.startsWith(chroot + prefix) && path !== ownPath
      const first = await call(signal, async (session) => {
        await session.caughtUp(above || '/')
        return session.children(above || '/')
      })
      const left = pathsBelow(above, first).filter(isWanted)
      while (left.length > 0) {
        const some = left.splice(-atOnce)
        for (const { entry, below } of await call(signal, (session) => Promise.all(some.map(found(session))))) {
          left.push(...below)
          if (entry && entry.value.length > 0) yield { ...entry, key: entry.key.slice(chroot.length) }
        }
      }
    },
    write: (key, value, expected, signal) =>
      call(signal, async (session, current): Promise<Written> => {
        const path = pathOf(key)
        if (value.length > maxValueBytes) {
          throw refused(key, `would have ${value.length} bytes; want at most ${maxValueBytes}`)
        }
        const changed = await written(session, path, value, expected, current)
        const why = impossible.get(changed.kind)
        if (why !== undefined) throw refused(key, why)
        if (changed.kind !== 'done' || !changed.stat) return { kind: 'conflict' }
        return { kind: 'written', revision: revisionOf(changed.stat) }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (session, current): Promise<Removed> => {
        const path = pathOf(key)
        const version = await versionOf(session, path, expected)
        if (version === undefined) return { kind: typeof expected === 'object' ? 'conflict' : 'absent' }
        if (version === 'other') return { kind: 'conflict' }
        current.sent()
        const { kind } = await session.remove(path, version)
        if (kind === 'has-children') throw refused(key, 'has others below it, and is not removed')
        if (kind === 'done') return { kind: 'removed' }
        return { kind: kind === 'absent' && expected === 'any' ? 'absent' : 'conflict' }
      }),
    close: () => kept.close(),
  }
}

async function written(
  session: Session,
  path: string,
  value: Uint8Array,
  expected: Expected,
  { sent }: Call,
): Promise<Changed> {
  if (typeof expected === 'object') {
    const version = await versionOf(session, path, expected)
    if (typeof version !== 'number') return { kind: 'other-version' }
    sent()
    return session.set(path, value, version)
  }
  let changed: Changed = { kind: 'absent' }
  for (let tries = 0; tries < mostTries; tries++) {
    sent()
    if (expected === 'any') changed = await session.set(path, value, -1)
    if (changed.kind !== 'absent') return changed
    changed = await session.create(path, value)
    if (changed.kind === 'absent') changed = (await madeAbove(session, path)) ?? { kind: 'absent' }
    else if (changed.kind !== 'exists' || expected === 'absent') return changed
    if (impossible.has(changed.kind)) return changed
  }
  return changed
}

/** Makes what it is to be below. @returns why not */
async function madeAbove(session: Session, path: string): Promise<Changed | undefined> {
  for (let end = path.indexOf('/', 1); end !== -1; end = path.indexOf('/', end + 1)) {
    const above = path.slice(0, end)
    if (await session.exists(above)) continue
    const changed = await session.create(above)
    if (impossible.has(changed.kind)) return changed
  }
  return undefined
}

/** The version to expect; undefined if there is none. -1: any. */
async function versionOf(session: Session, path: string, expected: Expected): Promise<number | 'other' | undefined> {
  if (expected === 'any') return -1
  await session.caughtUp(path)
  const stat = await session.exists(path)
  if (!stat) return undefined
  return expected !== 'absent' && expected.revision === revisionOf(stat) ? stat.version : 'other'
}

function found(session: Session) {
  return async (path: string): Promise<{ entry: StoredEntry | undefined; below: readonly string[] }> => {
    const [data, children] = await Promise.all([session.data(path), session.children(path)])
    const entry = data && { key: path, value: data.value, revision: revisionOf(data.stat) }
    return { entry, below: pathsBelow(path, children) }
  }
}

function pathsBelow(above: string, names: readonly string[] = []): readonly string[] {
  return names.map((name) => `${above}/${name}`)
}

/** The number of the change that wrote it. */
function revisionOf({ mzxid }: Stat): string {
  return mzxid.toString(16)
}
