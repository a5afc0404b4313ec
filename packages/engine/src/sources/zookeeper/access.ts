/** How to reach ZooKeeper and who to be there, for whoever reads or writes: checked once, and then a session at a time. */
import { createSecureContext } from 'node:tls'
import { nodeTls, secretText, type TlsOptions, type Token } from '../../credentials.ts'
import { errorText, within } from '../../deadline.ts'
import { inRange } from '../../range.ts'
import { FollowError } from '../watching.ts'
import type { Server } from './connection.ts'
import { Session } from './session.ts'

export interface ZookeeperConnection {
  /** As ZooKeeper's own clients have it: `host:2181,other:2181`, and at its end the path that all paths are below. */
  readonly servers: string
  /** For znodes with an ACL of the scheme `digest`. */
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  /** Given, the servers' ports must be ones with TLS (`secureClientPort`). */
  readonly tls?: TlsOptions
  /** How long a connection, each answer and the password may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
}

export interface Access {
  /** All servers and the chroot, for people. */
  readonly name: string
  readonly servers: readonly Server[]
  /** Before each path. Empty where there is none. */
  readonly chroot: string
  readonly login: { readonly user: string; readonly password: Token } | undefined
  readonly tls: TlsOptions | undefined
  readonly timeoutMs: number
}

/** @throws TypeError, RangeError if an option cannot be meant. */
export function accessOf(options: ZookeeperConnection): Access {
  const { tls, timeoutMs = 5_000 } = options
  inRange('zookeeper()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  checkTls(tls)
  const { servers, chroot } = placesOf(options.servers)
  const name = servers.map((server) => server.name).join(',') + chroot
  return { name, servers, chroot, login: loginOf(options), tls, timeoutMs }
}

/**
 * To any of the servers, so that those who come back at once spread.
 * @throws FollowError that names each of them; it is worth another try where one of them is.
 */
export async function connected(access: Access, signal: AbortSignal): Promise<Session> {
  const { servers, tls, timeoutMs } = access
  const options = { login: await loginText(access, signal), tls, timeoutMs }
  const errors: FollowError[] = []
  const first = Math.floor(Math.random() * servers.length)
  for (const server of [...servers.slice(first), ...servers.slice(0, first)]) {
    try {
      return await Session.open(server, options, signal)
    } catch (error) {
      if (signal.aborted || !(error instanceof FollowError)) throw error
      errors.push(error)
    }
  }
  throw new FollowError(errors.map(({ message }) => message).join('; '), {
    transient: errors.some(({ transient }) => transient),
  })
}

async function loginText({ login, timeoutMs }: Access, signal: AbortSignal): Promise<string | undefined> {
  if (!login) return undefined
  try {
    return `${login.user}:${await within(timeoutMs, signal, () => secretText(login.password))}`
  } catch (error) {
    throw new FollowError(`the password was not given: ${errorText(error)}`, { cause: error })
  }
}

/** As the server would take it, but for `/`: without what takes two places in UTF-16. */
export function isPath(path: string): boolean {
  return /^(?:\/(?!\.\.?(?:\/|$))[^/\p{Cc}\p{Cs}\p{Co}\u{fff0}-\u{10ffff}]+)+$/u.test(path)
}

/** @throws TypeError */
export function checkedPath(path: string): string {
  if (isPath(path)) return path
  throw new TypeError(`zookeeper(): ${JSON.stringify(path)} is no path of ZooKeeper; want /name/name, none . or ..`)
}

function loginOf({ user, password }: ZookeeperConnection): Access['login'] {
  if (user === undefined && password === undefined) return undefined
  if (user === undefined || password === undefined || !/^[^:]+$/.test(user)) {
    throw new TypeError('zookeeper(): want user and password, the user without a colon, or neither')
  }
  return { user, password }
}

function checkTls(tls: TlsOptions | undefined): void {
  try {
    if (tls) createSecureContext(nodeTls(tls))
  } catch (error) {
    throw new TypeError(`zookeeper(): tls cannot be used: ${errorText(error)}`, { cause: error })
  }
}

function placesOf(text: string): Pick<Access, 'servers' | 'chroot'> {
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
  const [, place, v6, port = '2181'] = /^(\[([\da-f:.]+)\]|[-\w.]+)(?::(\d{1,5}))?$/i.exec(text) ?? []
  if (place === undefined || Number(port) > 65_535) return undefined
  return { name: `${place}:${port}`, host: v6 ?? place, port: Number(port) }
}
