/** Bytes that a well-behaved client would never send, and what comes back for them. */
import { connect, type Socket } from 'node:net'

export interface Wire {
  readonly socket: Socket
  /** All that came so far. */
  text(): string
  /** Resolves once `pattern` has come; rejects if the connection closes before. */
  until(pattern: RegExp): Promise<string>
  readonly closed: Promise<void>
}

/** @param where a URL `http://127.0.0.1:9901`, or the path of a unix socket. */
export function wire(where: string, send: string): Wire {
  const socket = where.startsWith('http') ? connect(Number(new URL(where).port), '127.0.0.1') : connect(where)
  let text = ''
  let over = false
  let wake = () => {}
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    wake()
  })
  const closed = new Promise<void>((resolve) =>
    socket.on('close', () => {
      over = true
      wake()
      resolve()
    }),
  )
  // A reset is one way for the other side to close; what came before it is what the test looks at.
  socket.on('error', () => {})
  socket.write(send)
  return {
    socket,
    text: () => text,
    closed,
    async until(pattern) {
      while (!pattern.test(text)) {
        if (over) throw new Error(`closed without ${pattern}, after ${JSON.stringify(text.slice(-300))}`)
        await new Promise<void>((resolve) => (wake = resolve))
      }
      return text
    },
  }
}
