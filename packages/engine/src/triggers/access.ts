/**
 * Who may come in through a door that listens on a network: where it may listen, and the token. Used by the doors
 * that serve others (HTTP, gRPC). Host and Origin, which only HTTP has, are in `admin-http/caller.ts`.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { BlockList, isIPv6 } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

export function isLoopback(address: string): boolean {
  return loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/**
 * The IP address to bind for `host`.
 * @throws Error if others could reach it and there is no token, or if the name has no address.
 */
export async function bindAddress(
  door: string,
  host: string,
  port: number,
  token: string | undefined,
): Promise<string> {
  const { address } = await lookup(host)
  if (token === undefined && !isLoopback(address)) {
    throw new Error(
      `${door}: refuses to listen on ${hostPort(host, port)} without a token, because other machines can reach it; ` +
        'pass { token } and put TLS before it, or listen on 127.0.0.1 or a unix socket',
    )
  }
  return address
}

/** `127.0.0.1:80`, `[::1]:80` */
export function hostPort(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** @throws RangeError if it is not an integer from 0 (any free port) to 65535. */
export function checkPort(door: string, port: number): void {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new RangeError(`${door}: port is ${port}; want an integer from 0 (any free one) to 65535`)
  }
}

/**
 * Whether an Authorization header carries the token. With no token to have, everything passes.
 * @throws TypeError at the call, if `token` could not be sent in a header; an empty one most often means that the
 *   environment variable it should come from is not set, and must not open the door to all.
 */
export function bearerCheck(door: string, token: string | undefined): (authorization: string | undefined) => boolean {
  if (token === undefined) return () => true
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new TypeError(`${door}: the token is ${token === '' ? 'empty' : 'not visible ASCII without spaces'}`)
  }
  const wanted = sha256(token)
  return (authorization) => {
    const found = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization ?? '')?.[1]
    // Digests have one length, so the comparison takes the same time whatever was sent.
    return timingSafeEqual(sha256(found ?? ''), wanted)
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** What went wrong at listening, in words that name the address. */
export function listenError(door: string, address: string, error: unknown): Error {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const reason =
    code === 'EADDRINUSE'
      ? 'something else listens there already'
      : code === 'EACCES'
        ? 'permission denied'
        : code === 'EADDRNOTAVAIL'
          ? 'this machine has no such address'
          : error instanceof Error
            ? error.message
            : String(error)
  return new Error(`${door}: cannot listen on ${address}: ${reason}${code === undefined ? '' : ` (${String(code)})`}`, {
    cause: error,
  })
}
