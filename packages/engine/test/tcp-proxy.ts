/** A TCP proxy that can misbehave between two ends that are real: cut, swallow, refuse. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export class TcpProxy {
  /** Bytes from the server to the client that still pass, over all connections; then all are reset. */
  cutAfterBytes = Infinity
  /** Nothing passes, either way, and nobody is told: a half-open connection, a partition. */
  swallow = false
  /** Nothing passes from the server to the client. */
  swallowAnswers = false
  /** New connections are reset. */
  refuse = false
  accepted = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      this.accepted++
      if (this.refuse) {
        client.resetAndDestroy()
        return
      }
      const target = connect(targetPort, '127.0.0.1')
      for (const socket of [client, target]) {
        this.#sockets.add(socket)
        socket.on('error', () => {}) // the other end is told by `close`
        socket.on('close', () => {
          this.#sockets.delete(socket)
          if (!this.swallow) (socket === client ? target : client).destroy()
        })
      }
      client.on('data', (chunk) => void (this.swallow || target.write(chunk)))
      target.on('data', (chunk) => {
        if (this.swallow || this.swallowAnswers) return
        client.write(chunk.subarray(0, this.cutAfterBytes))
        this.cutAfterBytes -= chunk.length
        if (this.cutAfterBytes > 0) return
        this.cutAfterBytes = Infinity
        this.reset()
      })
    })
  }

  static async listen(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Cuts every connection. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    this.reset()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
