/**
 * What is looked at before anybody is asked who they are: the names that the server answers to (against DNS rebinding),
 * the origins of pages (against cross-site requests), paths that mean another place, and request ids.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'
import { Problem } from './problem.ts'

export interface Names {
  /** As they come in `Host`, in lower case: `127.0.0.1:7700`. */
  readonly hosts: ReadonlySet<string>
  readonly origins: ReadonlySet<string>
}

const loopbackNames = ['127.0.0.1', 'localhost', '[::1]']

/**
 * @param allowed names or `name:port` by which callers reach the server besides loopback; without a port, both the
 *   server's own and the scheme's default are meant.
 */
export function namesOf(scheme: 'http' | 'https', host: string, port: number, allowed: readonly string[]): Names {
  const standard = scheme === 'http' ? 80 : 443
  const own = host === '0.0.0.0' || host === '::' ? [] : [isIPv6(host) ? `[${host}]` : host]
  const hosts = new Set<string>()
  for (const name of [...loopbackNames, ...own, ...allowed]) {
    const lower = name.toLowerCase()
    if (/:\d+$/.test(lower)) {
      hosts.add(lower)
      continue
    }
    hosts.add(`${lower}:${port}`)
    if (port === standard || allowed.includes(name)) hosts.add(lower)
  }
  return { hosts, origins: new Set([...hosts].map((name) => `${scheme}://${name}`)) }
}

/** @throws Problem `foreign-host`, `foreign-origin` */
export function requireNames({ headers }: IncomingMessage, { hosts, origins }: Names): void {
  const host = (headers.host ?? '').toLowerCase()
  if (!hosts.has(host)) {
    const found = host === '' ? 'Host is missing' : `Host is ${shown(host)}`
    throw new Problem('foreign-host', `${found}; want a name of this server, see allowedHosts`)
  }
  const { origin } = headers
  if (origin === undefined || origins.has(origin.toLowerCase())) return
  throw new Problem('foreign-origin', `Origin is ${shown(origin)}; want none, or the server's own`)
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}

/** @throws Problem `bad-path` for what could be taken for another place, once or twice decoded. */
export function requirePlainPath(url: string): void {
  const path = url.split('?', 1)[0] ?? ''
  let decoded: string
  try {
    decoded = decodeURIComponent(path)
  } catch {
    throw new Problem('bad-path', 'the path is not percent-encoded UTF-8')
  }
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (/[\u0000-\u001f\u007f\\]/.test(decoded)) {
    throw new Problem('bad-path', 'the path holds a control character or a backslash; want neither')
  }
  if (/%2e|%2f|%5c/i.test(decoded)) throw new Problem('bad-path', 'the path is encoded twice; want it encoded once')
  if (decoded.split('/').some((segment) => segment === '..' || segment === '.')) {
    throw new Problem('bad-path', 'the path holds "." or ".." as a segment; want names only')
  }
}

/** The caller's own id if it is one that may stand in a log, else a new one. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(given) ? given : randomUUID()
}
