/** Where the control plane is and how to speak to it: addresses, token, TLS. */
import type { Agent } from 'node:http'
import { isIP } from 'node:net'
import type { FreshTls, Token } from '../credentials.ts'

export interface Remote {
  readonly url: URL
  readonly config: string
  readonly token: Token | undefined
  readonly tls: FreshTls | undefined
  /** Connections of plain requests; destroyed when the agent closes. */
  readonly agent: Agent
}

export function socketUrl({ url }: Remote): string {
  const to = under(url, 'v1/agent/connect')
  to.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return to.href
}

export function agentUrl({ url, config }: Remote, what: 'poll' | 'report' | 'heartbeat'): URL {
  return under(url, `v1/agent/${encodeURIComponent(config)}/${what}`)
}

/** Below the path of the URL, which may be that of a proxy. */
function under(url: URL, path: string): URL {
  const base = new URL(url)
  if (!base.pathname.endsWith('/')) base.pathname += '/'
  base.search = ''
  base.hash = ''
  return new URL(path, base)
}

/** Whether a token on its way there can be read by others. */
export function isExposed({ protocol, hostname }: URL): boolean {
  if (protocol === 'https:') return false
  const host = hostname.replace(/^\[|\]$/g, '')
  return !(host === 'localhost' || host.endsWith('.localhost') || (isIP(host) > 0 && /^(127\.|::1$)/.test(host)))
}
