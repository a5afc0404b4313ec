/** A TCP proxy that can misbehave between two ends that are real: cut, swallow, refuse, be slow. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const stallMs = 200

export class TcpProxy {
  /** Bytes from the server to the client that still pass, over all connections; then all are reset. */
  cutAfterBytes = Infinity
  /** Nothing passes, either way, and nobody is told: a half-open connection, a partition. */
  swallow = false
  /** Nothing passes from the server to the client. */
  swallowAnswers = false
  /** New connections are reset. */
  refuse = false
  /** How long each piece is under way. */
  delayMs = 0
  /** Of each connection, each way. */
  bytesPerSecond = Infinity
  /** What befalls a piece: as TCP shows the loss of packets, it comes late or not at all, and then ends the connection. */
  fate: () => 'pass' | 'stall' | 'reset' = () => 'pass'
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
      client.on('data', (chunk) => void (this.swallow || this.#pass(chunk, client, target)))
      target.on('data', (chunk) => {
        if (this.swallow || this.swallowAnswers) return
        this.#pass(chunk.subarray(0, this.cutAfterBytes), target, client)
        this.cutAfterBytes -= chunk.length
        if (this.cutAfterBytes > 0) return
        this.cutAfterBytes = Infinity
        this.reset()
      })
    })
  }

  #pass(chunk: Buffer, from: Socket, to: Socket): void {
    const fate = this.fate()
    if (fate === 'reset') to.resetAndDestroy()
    else if (fate === 'pass' && this.delayMs === 0 && this.bytesPerSecond === Infinity) to.write(chunk)
    else {
      // Whoever sends notices: what is under way does not pile up here.
      from.pause()
      void this.#slowly(chunk, to, this.delayMs + (fate === 'stall' ? stallMs : 0)).then(() => from.resume())
    }
  }

  async #slowly(chunk: Buffer, to: Socket, delayMs: number): Promise<void> {
    await sleep(delayMs)
    const pieceBytes = Math.ceil(Math.min(this.bytesPerSecond / 20, chunk.length))
    for (let at = 0; at < chunk.length && !to.destroyed; at += pieceBytes) {
      to.write(chunk.subarray(at, at + pieceBytes))
      if (this.bytesPerSecond !== Infinity) await sleep(50)
    }
  }

  static async listen(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  /** Of clients, that are open now. */
  get connections(): number {
    return Math.ceil(this.#sockets.size / 2)
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
