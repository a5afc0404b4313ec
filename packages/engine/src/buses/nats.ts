/** A bus over NATS: core subjects, no JetStream. What is said while nobody listens is gone. */
import type { NatsConnection, Subscription } from '@nats-io/transport-node'
import { connected } from '../sources/nats/client.ts'
import { serverOf, type NatsConnectionOptions } from '../sources/nats/server.ts'
import { busOver, busUrl, checkedPrefix, checkedTimeoutMs, defaultPrefix, imported } from './bus.ts'
import type { Bus, BusConnection } from './bus.ts'

export interface NatsBusOptions extends Omit<NatsConnectionOptions, 'domain'> {
  /** Before each subject, default `midflight`. */
  readonly prefix?: string
}

/** @throws TypeError, RangeError at the call, if an option cannot be meant */
export function natsBus(options: NatsBusOptions): Bus {
  const timeoutMs = checkedTimeoutMs('natsBus()', options.timeoutMs ?? 5_000)
  const server = serverOf('natsBus()', { ...options, timeoutMs })
  const [first] = server.servers.map((one) => busUrl('natsBus()', one, ['nats', 'tls']))
  if (first === undefined) throw new TypeError('natsBus(): servers is empty; want at least one')
  const prefix = checkedPrefix('natsBus()', options.prefix ?? defaultPrefix)
  const library = () => imported('@nats-io/transport-node', () => import('@nats-io/transport-node'))
  return busOver({
    name: `${first.protocol}//${first.host}`,
    timeoutMs,
    connect: async (signal) => connectionOf(await connected(server, signal, library), prefix),
  })
}

function connectionOf(connection: NatsConnection, prefix: string): BusConnection {
  const subscriptions = new Map<string, Subscription>()
  const refused = permissionRefused(connection)
  return {
    maxBytes: connection.info?.max_payload ?? 0,
    async publish(topic, bytes) {
      connection.publish(`${prefix}.${topic}`, bytes)
      await connection.flush()
      await refused.check(`${prefix}.${topic}`)
    },
    async subscribe(topic, message) {
      subscriptions.get(topic)?.unsubscribe()
      const subscription = connection.subscribe(`${prefix}.${topic}`, {
        callback: (error, got) => {
          if (!error) message(got.data)
        },
      })
      subscriptions.set(topic, subscription)
      await connection.flush()
      await refused.check(`${prefix}.${topic}`)
    },
    async unsubscribe(topic) {
      subscriptions.get(topic)?.unsubscribe()
      subscriptions.delete(topic)
    },
    ended: connection.closed(),
    end: () => connection.close(),
  }
}

/** A permission that is missing is told beside everything else, before what was asked is answered. */
function permissionRefused(connection: NatsConnection) {
  const refused = new Map<string, string>()
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type !== 'error' || !('subject' in status.error)) continue
      refused.set(String(status.error.subject), status.error.message)
      if (refused.size > maxRefused) refused.delete(refused.keys().next().value as string)
    }
  })()
  return {
    async check(subject: string): Promise<void> {
      // The other loop has its turn first.
      await new Promise((resolve) => setImmediate(resolve))
      const why = refused.get(subject)
      refused.delete(subject)
      if (why !== undefined) throw new Error(why)
    },
  }
}

const maxRefused = 100
