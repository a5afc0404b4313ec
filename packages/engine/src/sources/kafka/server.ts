/** Which brokers and topic of Kafka, and who asks them: what may be said of that, apart from the library. */
import { isIP } from 'node:net'
import type { TlsOptions, Token } from '../../credentials.ts'
import { inRange } from '../../range.ts'

export interface LinkOptions {
  readonly tls: TlsOptions | undefined
  readonly login: Login | undefined
  /** Of making a connection, and of each request, milliseconds. */
  readonly timeoutMs: number
}

export interface Login {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  readonly user: string
  readonly password: Token
}

/** Where a topic is, and who asks for it. */
export interface KafkaConnection {
  /** `kafka://host:9092`, one or more of the cluster. */
  readonly brokers: string | readonly string[]
  readonly topic: string
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  /** How the password is shown, default `SCRAM-SHA-512`. */
  readonly mechanism?: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  /** Given, the brokers must be ones with TLS. */
  readonly tls?: TlsOptions
  /**
   * How long a connection and each request may take, milliseconds, 100 to 600,000, default 5,000. A broker that is
   * followed is asked twice in that time, so one that is gone is noticed within it.
   */
  readonly timeoutMs?: number
}

export interface Server extends LinkOptions {
  /** As errors show it. */
  readonly name: string
  readonly brokers: readonly Address[]
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** @throws TypeError, RangeError if an option cannot be meant. `what` begins the message. */
export function serverOf(what: string, options: KafkaConnection): Server {
  const { topic, user, password, mechanism = 'SCRAM-SHA-512', tls, timeoutMs = 5_000 } = options
  const brokers = addressesOf(what, options.brokers)
  const [first] = brokers
  if (!first) throw new TypeError(`${what}: brokers is empty; want at least one`)
  if (!/^[-.\w]{1,249}$/.test(topic) || topic === '.' || topic === '..') {
    throw new TypeError(`${what}: the topic is ${JSON.stringify(topic)}; want 1 to 249 letters, digits and -._`)
  }
  if ((user === undefined) !== (password === undefined)) throw new TypeError(`${what}: want user and password, or none`)
  inRange(what, 'timeoutMs', timeoutMs, 100, 600_000)
  const login = user === undefined || password === undefined ? undefined : { mechanism, user, password }
  return { name: `kafka:${textOf(first)}/${topic}`, brokers, login, tls, timeoutMs }
}

function addressesOf(what: string, brokers: string | readonly string[]): readonly Address[] {
  const all = typeof brokers === 'string' ? [brokers] : brokers
  return all.map((text) => {
    // Without the text itself: it may hold a password.
    const wanted = `${what}: want brokers as kafka://host:9092, and the user and password in options`
    const match = /^(?:kafka:\/\/)?(?:\[([\da-f:.]+)\]|([-\w.]+))(?::(\d{1,5}))?$/i.exec(text)
    const host = match?.[1] ?? match?.[2]
    const port = Number(match?.[3] ?? 9092)
    if (host === undefined || port < 1 || port > 65_535) throw new TypeError(wanted)
    return { host, port }
  })
}

export function textOf({ host, port }: Address): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
}
