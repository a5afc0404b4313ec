/**
 * The listening socket. It is bound before the first configuration is live, so that a taken port fails the start, and
 * it never moves afterwards: `server` is restart-only. What is answered is `proxy.ts`.
 *
 * Written against `Component` by hand: what it can take while it runs is nothing, so there is nothing to commit.
 */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Component } from 'midflight'
import type { Config } from './config.ts'

export interface Listening {
  readonly component: Component<Config['server']>
  /** `http://127.0.0.1:8080` once it listens. */
  readonly address: string
}

/** How long `close()` waits for requests that are being answered. */
const closeMs = 5000
const nothing = { commit() {}, rollback() {}, dispose() {} }

export function listenWith(listener: RequestListener, after: readonly string[]): Listening {
  let server: Bound | undefined
  let address = ''
  const close = async () => {
    if (server) await closed(server)
    server = undefined
  }
  const component: Listening['component'] = {
    name: 'server',
    after,
    paths: ['server'],
    slice: ([value]) => value as Config['server'],
    hot: 'none',
    async prepare({ after: { host, port } }) {
      if (server) return nothing
      server = await bound(listener, host, port)
      const bare = host.includes(':') ? `[${host}]` : host
      address = `http://${bare}:${(server.server.address() as AddressInfo).port}`
      return { ...nothing, rollback: close }
    },
    close,
  }
  return {
    component,
    get address() {
      return address
    },
  }
}

/** A server and its connections: Node does not count one that never said anything as idle. */
interface Bound {
  readonly server: Server
  readonly connections: Set<Socket>
}

function bound(listener: RequestListener, host: string, port: number): Promise<Bound> {
  return new Promise((resolve, reject) => {
    const server = createServer(listener)
    const connections = new Set<Socket>()
    server.on('connection', (socket) => {
      connections.add(socket)
      socket.once('close', () => connections.delete(socket))
    })
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve({ server, connections })
    })
  })
}

function closed({ server, connections }: Bound): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), closeMs)
    server.close(() => {
      clearTimeout(cut)
      resolve()
    })
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
  })
}
