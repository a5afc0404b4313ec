/** The few requests of the control plane's API that the tour makes itself: `docs/control-plane.md` has all of them. */

export class Api {
  private readonly url: string
  private readonly token: string

  constructor(url: string, token: string) {
    this.url = url
    this.token = token
  }

  /** @throws Error with the problem, for every answer but success. */
  async ask<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...this.auth, ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return JSON.parse(text) as T
  }

  async has(path: string): Promise<boolean> {
    const answer = await fetch(`${this.url}${path}`, { headers: this.auth })
    await answer.arrayBuffer()
    if (answer.ok || answer.status === 404) return answer.ok
    throw new Error(`GET ${path}: ${answer.status}`)
  }

  /** Server-sent events of what is at and below `prefix`. Ends when the control plane closes. */
  async *events(prefix: string): AsyncGenerator<{ type: string; data: unknown }> {
    const query = new URLSearchParams({ prefix })
    const answer = await fetch(`${this.url}/v1/events?${query}`, { headers: this.auth })
    if (!answer.ok || !answer.body) throw new Error(`GET /v1/events: ${answer.status}`)
    let rest = ''
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
      const frames = (rest + text).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) {
        const type = /^event: (.*)$/m.exec(frame)?.[1]
        const data = /^data: (.*)$/m.exec(frame)?.[1]
        if (type !== undefined && data !== undefined) yield { type, data: JSON.parse(data) }
      }
    }
  }

  private get auth(): Record<string, string> {
    return { authorization: `Bearer ${this.token}` }
  }
}
