/** The control plane as publishers and those who look on have it: straight, not through the wires that fail. */
import type { ApiNode, ApiRollout, Content, Evidence, Runs, Sample } from './evidence.ts'
import type { Spec } from './schedule.ts'

export const config = 'fleet/real'
const answerMs = 10_000
const under = `/v1/configs/${encodeURIComponent(config)}`

export interface Answer {
  /** 0: there was none. */
  readonly status: number
  readonly body: never
}

export class Api {
  url = ''
  /** Answers that nobody should get. */
  readonly bad: string[] = []

  async ask(method: string, path: string, body?: unknown, more: Record<string, string> = {}): Promise<Answer> {
    let status = 0
    try {
      const answer = await fetch(`${this.url}${path}`, {
        method,
        headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...more },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(answerMs),
      })
      status = answer.status
      const text = await answer.text()
      if (status === 500) this.bad.push(`${method} ${path}: ${text}`)
      return { status, body: (text === '' ? null : JSON.parse(text)) as never }
    } catch {
      // It was killed or stopped, or is not there yet: no answer is one of the things that are tested.
      return { status: status === 500 ? 500 : 0, body: null as never }
    }
  }

  async create(content: Content): Promise<Runs & { id: number }> {
    await this.must('POST', '/v1/configs', { name: config })
    return await this.published(content, await this.must('PUT', `${under}/content`, content, { 'if-none-match': '*' }))
  }

  /** `undefined`: refused, or nobody knows. */
  async publish(content: Content, strategy: Spec): Promise<(Runs & { id: number }) | undefined> {
    const query = new URLSearchParams({ strategy: JSON.stringify(strategy) }).toString()
    const { status, body } = await this.ask('PUT', `${under}/content?${query}`, content, { 'if-match': '*' })
    if (status === 400 || status === 422) this.bad.push(`a publish was refused: ${JSON.stringify(body)}`)
    return status === 201 ? await this.published(content, body) : undefined
  }

  private async published({ id }: Content, body: never): Promise<Runs & { id: number }> {
    const { number, digest } = (body as { readonly release: Runs }).release
    return { number, digest, id }
  }

  async control(control: string, reason: string): Promise<void> {
    await this.ask('POST', `${under}/rollouts/current/${control}`, { reason })
  }

  /** `undefined`: nobody knows. */
  async sample(): Promise<Sample | undefined> {
    const askedMs = Date.now()
    const { status, body } = await this.ask('GET', `${under}/nodes?limit=1000`)
    if (status !== 200) return undefined
    return { askedMs, answeredMs: Date.now(), nodes: (body as { readonly items: readonly ApiNode[] }).items }
  }

  /** The number of the newest release; `undefined`: nobody knows. */
  async head(): Promise<number | undefined> {
    const { status, body } = await this.ask('GET', under)
    return status === 200 ? (body as { readonly head: Runs }).head.number : undefined
  }

  /** `undefined`: nobody knows. */
  async content(number: number): Promise<Content | undefined> {
    const { status, body } = await this.ask('GET', `${under}/content?release=${number}`)
    return status === 200 ? body : undefined
  }

  /** The one under way; `null`: there is none. */
  async current(): Promise<
    (ApiRollout & { readonly pauses: readonly { readonly reason: string }[] }) | null | undefined
  > {
    const { status, body } = await this.ask('GET', `${under}/rollouts/current`)
    return status === 200 ? body : status === 404 ? null : undefined
  }

  async rollout(number: number): Promise<ApiRollout | undefined> {
    const { status, body } = await this.ask('GET', `${under}/rollouts/${number}`)
    return status === 200 ? body : undefined
  }

  /** All that is on record, when all has come to rest. */
  async record(): Promise<Pick<Evidence, 'releases' | 'rollouts' | 'nodes' | 'audit'>> {
    const nodes = ((await this.must('GET', `${under}/nodes?limit=1000`)) as { items: ApiNode[] }).items
    const { kind } = (await this.must('POST', '/v1/audit/verify')) as { kind: string }
    const releases = []
    for (const { number, digest } of (await this.all<Runs>(`${under}/releases`)).toReversed()) {
      releases.push({ number, digest, content: await this.must('GET', `${under}/content?release=${number}`) })
    }
    const rollouts = []
    for (const { number } of (await this.all<Runs>(`${under}/rollouts`)).toReversed()) {
      rollouts.push(await this.wholeRollout(number))
    }
    return { nodes, audit: kind, releases, rollouts }
  }

  private async wholeRollout(number: number): Promise<ApiRollout> {
    const events: ApiRollout['events'][number][] = []
    let after: number | string = 0
    for (;;) {
      const found: Omit<ApiRollout, 'events'> & { readonly events: Page<ApiRollout['events'][number]> } =
        await this.must('GET', `${under}/rollouts/${number}?limit=1000&after=${after}`)
      events.push(...found.events.items)
      if (found.events.next === undefined) return { ...found, events }
      after = found.events.next
    }
  }

  private async all<T>(path: string): Promise<T[]> {
    const items: T[] = []
    let after = ''
    for (;;) {
      const page: Page<T> = await this.must('GET', `${path}?limit=1000${after}`)
      items.push(...page.items)
      if (page.next === undefined) return items
      after = `&after=${page.next}`
    }
  }

  private async must(method: string, path: string, body?: unknown, more?: Record<string, string>): Promise<never> {
    const answer = await this.ask(method, path, body, more)
    if (answer.status < 200 || answer.status > 299) {
      throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    }
    return answer.body
  }
}

interface Page<T> {
  readonly items: readonly T[]
  readonly next?: number | string
}
