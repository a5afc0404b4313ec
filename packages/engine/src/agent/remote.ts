/** Where the control plane is and how to speak to it: addresses, token, TLS. */
import type { Agent } from 'node:http'
import { isIP } from 'node:net'

/** PEM texts. For mutual TLS both `cert` and `key`. */
export interface TlsOptions {
  /** Certificate authorities to trust instead of the system's. */
  readonly ca?: string | readonly string[]
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** The name to expect in the server's certificate, where it is not the host of the URL. */
  readonly servername?: string
}

export type Token = string | (() => string | Promise<string>)

export interface Remote {
  readonly url: URL
  readonly config: string
  readonly token: Token | undefined
  readonly tls: TlsOptions | undefined
  /** Connections of plain requests; destroyed when the agent closes. */
  readonly agent: Agent
}

/** @throws TypeError for a token that would break out of its header. */
export async function tokenText(token: Token | undefined): Promise<string | undefined> {
  const text = typeof token === 'function' ? await token() : token
  if (text === undefined) return undefined
  if (!/^[\x21-\x7e]{1,4096}$/.test(text)) {
    throw new TypeError('the token is empty, too long, or holds other than visible ASCII characters')
  }
  return text
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
