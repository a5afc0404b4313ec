/**
 * Writes to a key-value bucket of NATS JetStream: a message that the server takes only where the last one of its key has
 * the expected number. It needs the peers `@nats-io/transport-node` and `@nats-io/jetstream`.
 */
import type { JetStreamClient, JetStreamManager, JsMsg } from '@nats-io/jetstream'
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { errorText } from '../deadline.ts'
import { connected, explained, isMarker, library } from '../sources/nats/client.ts'
import { checkBucket, serverOf, type NatsConnectionOptions } from '../sources/nats/server.ts'
import { calling, Kept, type Call } from './calling.ts'
import { WriteError, type Expected, type StoredEntry, type Writer } from './writer.ts'

export type { NatsConnectionOptions } from '../sources/nats/server.ts'

export interface NatsWriterOptions extends NatsConnectionOptions {
  readonly bucket: string
}

interface Client {
  readonly connection: NatsConnection
  readonly stream: JetStreamClient
  readonly manager: JetStreamManager
  readonly headers: () => MsgHdrs
}

/** The last message of a key: a value, or the marker of a removal. */
interface Last {
  readonly sequence: number
  readonly value: Uint8Array | undefined
}

/** @throws TypeError, RangeError at the call, if an option cannot be meant. */
export function natsWriter(options: NatsWriterOptions): Writer {
  const { bucket, domain } = options
  const server = serverOf('natsWriter()', options)
  checkBucket(bucket)
  const { timeoutMs } = server
  const name = `nats:${server.servers[0]?.replace(/^\w+:\/\//, '')}/${bucket}`
  const kept = new Kept<Client>(
    async (signal) => {
      const { jetstream, jetstreamManager, headers } = await library()
      const connection = await connected(server, signal)
      try {
        const settings = { timeout: timeoutMs, ...(domain !== undefined && { domain }) }
        const manager = await jetstreamManager(connection, { ...settings, checkAPI: false })
        const client = { connection, stream: jetstream(connection, settings), manager, headers }
        void connection.closed().then(() => kept.drop(client))
        return client
      } catch (error) {
        await connection.close()
        throw error
      }
    },
    ({ connection }) => connection.close(),
  )
  const call = <T>(signal: AbortSignal, work: (client: Client, call: Call) => Promise<T>) =>
    // To connect, and to ask.
    calling(name, timeoutMs * 2, signal, async (made) => {
      try {
        const client = await kept.get()
        try {
          return await work(client, made)
        } catch (error) {
          if (!(error instanceof WriteError) && !isAnswer(error)) await kept.drop(client)
          throw error
        }
      } catch (error) {
        if (isAnswer(error)) throw new WriteError('refused', `${name}: ${explained(error, server, bucket).message}`)
        throw error instanceof WriteError ? error : explained(error, server, bucket)
      }
    })

  const lastOf = async ({ manager }: Client, key: string): Promise<Last | undefined> => {
    // By the API of the leader: what others have just written is seen.
    const message = await manager.streams.getMessage(`KV_${bucket}`, { last_by_subj: subjectOf(key) })
    return message === null
      ? undefined
      : { sequence: message.seq, value: isMarker(message.header) ? undefined : message.data }
  }
  const subjectOf = (key: string): string => {
    if (!/^[-/=\w]+(\.[-/=\w]+)*$/.test(key)) {
      throw new WriteError(
        'refused',
        `${name}: ${JSON.stringify(key)} is no key of NATS; want letters, digits and -/=_ parted by dots`,
      )
    }
    return `$KV.${bucket}.${key}`
  }
  /** @returns its number, or nothing where the last one is another than expected. */
  const publish = async (
    { stream, headers }: Client,
    { sent }: Call,
    subject: string,
    message: { readonly value: Uint8Array; readonly last: number | undefined; readonly operation?: string },
  ): Promise<number | undefined> => {
    const { value, last, operation } = message
    const marks = headers()
    if (operation !== undefined) marks.set('KV-Operation', operation)
    sent()
    try {
      const expect = last === undefined ? {} : { expect: { lastSubjectSequence: last } }
      return (await stream.publish(subject, value, { headers: marks, retries: 0, timeout: timeoutMs, ...expect })).seq
    } catch (error) {
      if (isWrongSequence(error)) return undefined
      // By the client, which sends nothing then.
      if (!/max_payload/.test(errorText(error))) throw error
      const message = `${name}: ${subject} would have ${value.length} bytes, more than this server takes; nothing was sent`
      throw new WriteError('refused', message)
    }
  }

  return {
    name,
    lacks: {},
    read: (key, signal) =>
      call(signal, async (client) => {
        const last = await lastOf(client, key)
        return last?.value && { value: last.value, revision: String(last.sequence) }
      }),
    async *list(prefix, signal) {
      const step = prefix.lastIndexOf('.') + 1
      const filter = `$KV.${bucket}.${prefix.slice(0, step)}>`
      const all = await call(signal, ({ stream }, { signal: inTime }) => last(stream, filter, inTime))
      for (const entry of all) if (entry.key.startsWith(prefix)) yield entry
    },
    write: (key, value, expected, signal) =>
      call(signal, async (client, current) => {
        const subject = subjectOf(key)
        const last = sequenceOf(expected)
        let sequence = await publish(client, current, subject, { value, last })
        if (sequence === undefined && expected === 'absent') {
          // A removed key has a last message too.
          const marker = await lastOf(client, key)
          if (marker && !marker.value) {
            sequence = await publish(client, current, subject, { value, last: marker.sequence })
          }
        }
        return sequence === undefined ? { kind: 'conflict' } : { kind: 'written', revision: String(sequence) }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (client, current) => {
        const subject = subjectOf(key)
        const last = await lastOf(client, key)
        if (!last?.value) return { kind: typeof expected === 'object' ? 'conflict' : 'absent' }
        if (expected === 'absent') return { kind: 'conflict' }
        const marker = { value: new Uint8Array(), last: sequenceOf(expected), operation: 'DEL' }
        const sequence = await publish(client, current, subject, marker)
        return { kind: sequence === undefined ? 'conflict' : 'removed' }
      }),
    close: () => kept.close(),
  }

  /** The last value of each key that `filter` names. */
  async function last(stream: JetStreamClient, filter: string, signal: AbortSignal): Promise<StoredEntry[]> {
    const consumer = await stream.consumers.getPushConsumer(`KV_${bucket}`, {
      deliver_policy: 'last_per_subject',
      filter_subjects: filter,
    })
    try {
      const found: StoredEntry[] = []
      let { num_pending: pending } = await consumer.info(true)
      if (pending === 0) return found
      const messages = await consumer.consume()
      const stop = () => void messages.close()
      signal.addEventListener('abort', stop)
      try {
        for await (const message of messages) {
          const entry = entryOf(message)
          if (entry) found.push(entry)
          pending = message.info.pending
          if (pending === 0) return found
        }
      } finally {
        signal.removeEventListener('abort', stop)
      }
      throw new Error(`gave not all keys: ${pending} are missing`)
    } finally {
      // The server forgets it by itself where it may not be deleted.
      await consumer.delete().catch(() => false)
    }
  }

  function entryOf({ subject, headers, data, seq }: JsMsg): StoredEntry | undefined {
    if (isMarker(headers)) return undefined
    return { key: subject.slice(`$KV.${bucket}.`.length), value: data, revision: String(seq) }
  }
}

/** 0: there is none. */
function sequenceOf(expected: Expected): number | undefined {
  if (expected === 'any') return undefined
  if (expected === 'absent') return 0
  return /^\d{1,15}$/.test(expected.revision) ? Number(expected.revision) : Number.MAX_SAFE_INTEGER
}

/** JetStream's numbers for "wrong last sequence". */
const wrongSequence = [10_071, 10_164]

function isWrongSequence(error: unknown): boolean {
  return isAnswer(error) && wrongSequence.includes((error as { code: number }).code)
}

/** JetStream has answered, and said no. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && 'status' in error && 'code' in error && typeof error.code === 'number'
}
