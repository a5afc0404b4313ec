/**
 * What a client library connects, so that it can be let go where the library does not: gRPC and NATS leave a connection
 * open for good whose server took it and never said a word, and each try would leave one more.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

const opening = new AsyncLocalStorage<Set<Socket>>()
let isTold = false

export class Sockets {
  readonly #open = new Set<Socket>()

  /** Calls `work`; what it connects, then or later, is among these. */
  of<T>(work: () => T): T {
    // Told while `net.connect` runs, so as part of what called it.
    if (!isTold) subscribe('net.client.socket', (message) => keep((message as { readonly socket: Socket }).socket))
    isTold = true
    return opening.run(this.#open, work)
  }

  destroy(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

function keep(socket: Socket): void {
  const open = opening.getStore()
  if (!open) return
  open.add(socket)
  socket.once('close', () => open.delete(socket))
}
