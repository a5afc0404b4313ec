/**
 * Writes to etcd v3. A change is one transaction that compares the key's revision. It needs the peers `@grpc/grpc-js` and
 * `@grpc/proto-loader`. A key that had a lease has none after it was written.
 */
import { Buffer } from 'node:buffer'
import { CallError, type Change, type Changed, type Connection, type Pair } from '../sources/etcd/client.ts'
import { clusterOf, type EtcdConnection } from '../sources/etcd/cluster.ts'
import { rangeOf } from '../sources/etcd/follow.ts'
import { Members } from '../sources/etcd/members.ts'
import { calling, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

export type { EtcdConnection } from '../sources/etcd/cluster.ts'

/** etcd takes 1.5 MiB in one request, unless it is told otherwise. */
const maxBytes = 16 * 1024 * 1024
const pageKeys = 500

/** @throws TypeError, RangeError at the call, if an option cannot be meant. */
export function etcdWriter(options: EtcdConnection): Writer {
  const cluster = clusterOf(options, maxBytes)
  const members = new Members(cluster)
  const name = `etcd:${cluster.endpoints.map(({ host }) => host).join(',')}`
  // A login and a list of members come before the answer.
  const limitMs = cluster.timeoutMs * (2 + cluster.endpoints.length)
  const warn = () => {}
  const ask = async <Answer>(question: (connection: Connection) => Promise<Answer>, { signal }: Call) =>
    (await members.ask(question, signal, warn)).answer
  const call = <T>(signal: AbortSignal, work: (call: Call) => Promise<T>) =>
    calling(name, limitMs, signal, async (made) => {
      try {
        return await work(made)
      } catch (error) {
        throw explained(name, error)
      }
    })

  async function change(made: Change, current: Call): Promise<Changed> {
    // Asked for something harmless first where no member has answered yet: a change is sent once, and to one.
    const connection =
      members.kept ??
      (await ask(async (one) => (await one.range(keyRange(made.key), { limit: 1 }, current.signal), one), current))
    current.sent()
    try {
      return await connection.change(made, current.signal)
    } catch (error) {
      members.drop(connection)
      throw error
    }
  }

  return {
    name,
    lacks: {},
    read: (key, signal) =>
      call(signal, async (current) => {
        const page = await ask((one) => one.range(keyRange(Buffer.from(key)), { limit: 1 }, current.signal), current)
        return page.kvs[0] && storedOf(page.kvs[0])
      }),
    async *list(prefix, signal) {
      const range = rangeOf({ prefix, separator: '/' })
      for (let from = range.key; ;) {
        const at = { key: from, end: range.end }
        const page = await call(signal, (current) =>
          ask((one) => one.range(at, { limit: pageKeys }, current.signal), current),
        )
        for (const pair of page.kvs) yield { key: pair.key.toString(), ...storedOf(pair) }
        const last = page.kvs.at(-1)
        if (!page.more || !last) return
        from = Buffer.concat([last.key, Buffer.of(0)])
      }
    },
    write: (key, value, expected, signal) =>
      call(signal, async (current) => {
        const { succeeded, header } = await change({ key: Buffer.from(key), value, ...revisionOf(expected) }, current)
        return succeeded ? { kind: 'written', revision: header.revision } : { kind: 'conflict' }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (current) => {
        const made = { key: Buffer.from(key), value: undefined, ...revisionOf(expected) }
        const { succeeded, responses } = await change(made, current)
        if (!succeeded) return { kind: 'conflict' }
        return { kind: Number(responses[0]?.response_delete_range?.deleted ?? 0) > 0 ? 'removed' : 'absent' }
      }),
    async close() {
      members.drop()
    },
  }
}

function keyRange(key: Uint8Array) {
  return { key, end: undefined }
}

function storedOf({ value, mod_revision: revision }: Pair): Stored {
  return { value: Buffer.from(value), revision } // a copy: the message that it lies in is let go
}

function revisionOf(expected: Expected): Pick<Change, 'modRevision'> {
  if (expected === 'any') return { modRevision: undefined }
  return { modRevision: expected === 'absent' ? '0' : /^\d{1,18}$/.test(expected.revision) ? expected.revision : '-1' }
}

/** What etcd says of a request that it took and refused: nothing was written. */
function explained(name: string, error: unknown): unknown {
  if (!(error instanceof CallError)) return error
  if (/too large|no space|database space|key is not provided|larger than max/.test(error.details)) {
    return new WriteError('refused', `${name}: ${error.message}`, { cause: error })
  }
  if (error.isDenied) return new WriteError('denied', `${name}: ${error.message}`, { cause: error })
  return error
}
