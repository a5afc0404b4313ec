/**
 * What a client library connects, so that it can be let go where the library does not: gRPC and NATS leave a connection
 * open for good whose server took it and never said a word, and each try would leave one more.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

const opening = new AsyncLocalStorage<Sockets>()
let isTold = false

export class Sockets {
  readonly #open = new Set<Socket>()
  #isOver = false

  /** Calls `work`; what it connects, then or later, is among these. */
  of<T>(work: () => T): T {
    // Told while `net.connect` runs, so as part of what called it.
    if (!isTold) subscribe('net.client.socket', (message) => opening.getStore()?.add((message as Made).socket))
    isTold = true
    return opening.run(this, work)
  }

  add(socket: Socket): void {
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    // Not yet: `net.connect` has it still in hand, and would bring it back to life with nobody to hear of its errors.
    if (this.#isOver) process.nextTick(() => socket.destroy())
  }

  /** Also those to come. */
  destroy(): void {
    this.#isOver = true
    for (const socket of this.#open) socket.destroy()
  }
}

interface Made {
  readonly socket: Socket
}
