/**
 * A WebSocket to the control plane: the package `ws` where it is installed (headers, certificates, pings), else the
 * global one of Node 22 and later (no headers: the token goes as a subprotocol), else none, and the agent polls.
 */
import type { Socket as NetSocket } from 'node:net'
import type { WebSocket as WsSocket } from 'ws'
import { nodeTls, tokenText } from '../credentials.ts'
import { retryAfterMs } from '../http-request.ts'
import { maxReleaseBytes } from '../protocol/codec.ts'
import { subprotocol } from '../protocol/messages.ts'
import type { Drop } from './connection.ts'
import { socketUrl, type Remote } from './remote.ts'

export interface Socket {
  send(text: string): void
  /** Asks for a sign of life. Without pings (`canPing` false) silence says nothing. */
  ping(): void
  readonly canPing: boolean
  /** Bytes that were given to `send` and have not left. */
  readonly waitingBytes: number
  /** Bytes that have come, also of a message that has not come to its end. 0 where that cannot be seen. */
  readonly receivedBytes: number
  /** Lets go at once; no event comes any more. */
  drop(): void
}

export interface SocketEvents {
  opened(): void
  /** `undefined` for a binary frame. */
  message(frame: string | Uint8Array | undefined): void
  /** Any sign of life. */
  alive(): void
  dropped(reason: string, drop?: Drop): void
}

/** `token` was read before; the socket begins to open at once. */
export type OpenSocket = (token: string | undefined, events: SocketEvents) => Socket

/** `undefined` if this process has no WebSocket that could be used. */
export async function socketOpener(remote: Remote): Promise<OpenSocket | undefined> {
  try {
    const { WebSocket } = await import('ws')
    return (token, events) => viaPackage(WebSocket, remote, token, events)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
  }
  // The global one takes no certificates: with TLS options of one's own it could only fail, or trust the wrong ones.
  if (typeof globalThis.WebSocket === 'undefined' || remote.tls !== undefined) return undefined
  return (token, events) => viaGlobal(remote, token, events)
}

export function readToken(remote: Remote): Promise<string | undefined> {
  return tokenText(remote.token)
}

function viaPackage(
  WebSocket: typeof WsSocket,
  remote: Remote,
  token: string | undefined,
  events: SocketEvents,
): Socket {
  const socket = new WebSocket(socketUrl(remote), [subprotocol], {
    maxPayload: maxReleaseBytes,
    followRedirects: false,
    ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    ...nodeTls(remote.tls),
  })
  let live = true
  let wire: NetSocket | undefined
  socket.on('upgrade', (response) => (wire = response.socket))
  const dropped = (reason: string, drop?: Drop) => {
    if (!live) return
    live = false
    socket.terminate()
    events.dropped(reason, drop)
  }
  socket.on('open', () => live && events.opened())
  socket.on('message', (data: Buffer, isBinary) => {
    if (!live) return
    events.alive()
    events.message(isBinary ? undefined : data)
  })
  for (const sign of ['ping', 'pong'] as const) socket.on(sign, () => live && events.alive())
  socket.on('unexpected-response', (request, response) => {
    dropped(`the control plane answers ${response.statusCode} to the WebSocket`, {
      retryAfterMs: retryAfterMs(response.headers),
    })
    request.destroy()
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    dropped(error.message || (error.code ?? 'unknown'), { nobody: nobody.has(error.code ?? '') })
  })
  socket.on('close', (code, reason) => dropped(closeText(code, reason.toString())))
  return {
    send: (text) => socket.send(text, () => {}), // what could not be sent shows as `close`
    ping: () => socket.ping(undefined, undefined, () => {}),
    canPing: true,
    get waitingBytes() {
      return socket.bufferedAmount
    },
    get receivedBytes() {
      return wire?.bytesRead ?? 0
    },
    drop() {
      live = false
      // An open one says goodbye; the rest of the handshake is not waited for.
      if (socket.readyState === WebSocket.OPEN) socket.close(1000)
      setTimeout(() => socket.terminate(), socket.readyState === WebSocket.CLOSING ? goodbyeMs : 0)
    },
  }
}

const nobody: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'])

/** How long a goodbye may take before the socket is cut. */
const goodbyeMs = 1_000

function viaGlobal(remote: Remote, token: string | undefined, events: SocketEvents): Socket {
  const protocols = [subprotocol]
  if (token !== undefined) protocols.push(`bearer.${Buffer.from(token).toString('base64url')}`)
  const socket = new globalThis.WebSocket(socketUrl(remote), protocols)
  socket.binaryType = 'arraybuffer'
  let live = true
  socket.addEventListener('open', () => live && events.opened())
  socket.addEventListener('message', ({ data }) => {
    if (!live) return
    events.alive()
    events.message(typeof data === 'string' ? data : undefined)
  })
  socket.addEventListener('close', ({ code, reason }) => {
    if (!live) return
    live = false
    events.dropped(closeText(code, reason))
  })
  // A `close` follows every `error`.
  socket.addEventListener('error', () => {})
  return {
    send: (text) => socket.send(text),
    ping: () => {},
    canPing: false,
    get waitingBytes() {
      return socket.bufferedAmount
    },
    receivedBytes: 0,
    drop() {
      live = false
      socket.close()
    },
  }
}

function closeText(code: number, reason: string): string {
  return `the WebSocket was closed with ${code}${reason ? `: ${reason}` : ''}`
}
