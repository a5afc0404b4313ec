/**
 * Who speaks to the HTTP door: exact Host and Origin checks. They keep web pages out that a browser on this machine
 * shows: by a name that someone made point to 127.0.0.1 (DNS rebinding), or by a form that posts across sites.
 */
import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'

/** Where a request came in: the port and the host that were bound; a unix socket has neither. */
export interface Listening {
  readonly port?: number
  readonly host?: string
}

/** Why this caller is refused, or `undefined`. */
export function refusal(request: IncomingMessage, at: Listening, allowedHosts: readonly string[]): string | undefined {
  const hosts = request.headersDistinct['host'] ?? []
  const own = ownNames(request, at)
  const allowed = allowedHosts.flatMap((name) => withPort(name.toLowerCase(), at.port))
  const host = hosts[0]?.toLowerCase()
  if (hosts.length !== 1 || host === undefined || !(own.includes(host) || allowed.includes(host))) {
    return `Host ${said(hosts)} is not a name of this server; want ${own[0] ?? 'localhost'} or one of allowedHosts`
  }
  const origins = request.headersDistinct['origin'] ?? []
  if (origins.length === 0) return undefined
  const origin = origins[0]?.toLowerCase() ?? ''
  const same = own.some((name) => origin === `http://${name}`)
  // Names that were allowed may stand for a proxy that speaks TLS to the browser.
  const permitted = allowed.some((name) => origin === `http://${name}` || origin === `https://${name}`)
  if (origins.length === 1 && (same || permitted)) return undefined
  return `Origin ${said(origins)} is not this server; requests from other sites are refused`
}

function ownNames(request: IncomingMessage, at: Listening): string[] {
  if (at.port === undefined) return ['localhost']
  const names = ['localhost', '127.0.0.1', '[::1]']
  if (at.host !== undefined) names.push(bracketed(at.host.toLowerCase()))
  // The address the caller reached us by: an address is safe to accept, since no one can make it point elsewhere.
  const local = request.socket.localAddress?.replace(/^::ffff:/, '')
  if (local !== undefined) names.push(bracketed(local))
  return names.flatMap((name) => (at.port === 80 ? [`${name}:80`, name] : [`${name}:${at.port}`]))
}

/** A name that was allowed without a port is also allowed with the one that was bound. */
function withPort(name: string, port: number | undefined): string[] {
  return port === undefined || /:\d+$/.test(name.replace(/^\[.*\]/, '')) ? [name] : [name, `${name}:${port}`]
}

function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}

function said(values: readonly string[]): string {
  return values.length === 0 ? '(none)' : JSON.stringify(values.join(', ').slice(0, 100))
}
