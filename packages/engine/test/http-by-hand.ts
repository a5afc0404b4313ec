/** HTTP as a test wants it: `ask` for whole answers, `wire` for bytes that a well-behaved client would never send. */
import { request, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  json(): any
}

export interface Question {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** @param where a URL `http://127.0.0.1:9901`, or the path of a unix socket. */
export async function ask(where: string, path: string, question: Question = {}): Promise<Answer> {
  const target = where.startsWith('http')
    ? { host: new URL(where).hostname, port: new URL(where).port }
    : { socketPath: where }
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body } = question
    const asked = request({ ...target, path, method, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) }),
      )
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

export interface Wire {
  readonly socket: Socket
  /** All that came so far. */
  text(): string
  /** Resolves once `pattern` has come; rejects if the connection closes before. */
  until(pattern: RegExp): Promise<string>
  readonly closed: Promise<void>
}

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
