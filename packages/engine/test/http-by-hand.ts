/** HTTP as a test wants it: whole answers, also over unix sockets. */
import { request, type IncomingHttpHeaders } from 'node:http'

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
