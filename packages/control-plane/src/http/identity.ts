/** Who asks: by a token of ours, a token of an OpenID provider, or a client certificate. What they may do is `permit.ts`. */
import type { IncomingMessage } from 'node:http'
import { TLSSocket, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls'
import { configNameProblem } from 'midflight/protocol'
import type { Principal } from '../access.ts'
import type { Oidc } from './oidc.ts'

export interface IdentityOptions {
  /** By the secret of a token of ours. */
  readonly token: (secret: string) => Promise<Principal | undefined>
  readonly oidc?: Oidc | undefined
  /** By a client certificate that was verified against `tls.clientCa`. */
  readonly certificate?: ((certificate: PeerCertificate) => Principal | undefined) | undefined
  /** Whoever brings nothing is this. Only for what nobody else can reach. */
  readonly anyone?: Principal | undefined
}

export type Identify = (request: IncomingMessage) => Promise<Principal | undefined>

export function identification(options: IdentityOptions): Identify {
  return async (request) => {
    const authorization = request.headers.authorization ?? bySubprotocol(request)
    if (authorization === undefined) return byCertificate(request, options) ?? options.anyone
    // A token that is not good is refused even where none is needed.
    const secret = /^Bearer +([\x21-\x7e]{1,8192}) *$/i.exec(authorization)?.[1]
    if (secret === undefined) return undefined
    if (options.oidc !== undefined && jwt.test(secret)) return await options.oidc.identify(secret)
    return await options.token(secret)
  }
}

/** Where a client of WebSockets cannot set headers, the token is a second subprotocol: `bearer.<base64url>`. */
function bySubprotocol({ headers }: IncomingMessage): string | undefined {
  if (headers.upgrade === undefined) return undefined
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim())
  const bearers = offered.filter((one) => one.startsWith('bearer.'))
  if (bearers.length === 0) return undefined
  // Two are none: it must be plain who asks.
  const encoded = bearers.length === 1 ? (bearers[0] ?? '').slice('bearer.'.length) : ''
  const token = Buffer.from(encoded, 'base64url')
  // Only the one spelling that the protocol has; what is no token then is refused as any other that is not good.
  return token.toString('base64url') === encoded ? `Bearer ${token.toString('latin1')}` : 'Bearer'
}

const jwt = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

function byCertificate({ socket }: IncomingMessage, { certificate }: IdentityOptions): Principal | undefined {
  if (certificate === undefined || !(socket instanceof TLSSocket) || !socket.authorized) return undefined
  const found: PeerCertificate | DetailedPeerCertificate = socket.getPeerCertificate()
  return Object.keys(found).length === 0 ? undefined : certificate(found)
}

/**
 * A certificate with the URI `urn:midflight:agent:shop/gateway` among its alternative names is an agent for that config
 * and those below. Without such a name it is nobody: that a CA signed it says nothing about configs.
 */
export function agentOfCertificate({
  subject,
  subjectaltname,
  fingerprint256,
}: PeerCertificate): Principal | undefined {
  const found = [...(subjectaltname ?? '').matchAll(/(?:^|, )URI:urn:midflight:agent:([^,"]*)/g)]
  const prefix = found[0]?.[1]
  if (found.length !== 1 || prefix === undefined || configNameProblem(prefix) !== undefined) return undefined
  const name = `certificate:${(typeof subject?.CN === 'string' ? subject.CN : prefix).slice(0, 200)}`
  // Names of subjects are whatever the authority writes there, and many nodes may have the same.
  return { name, id: `certificate:${fingerprint256}`, role: 'agent', prefix }
}
