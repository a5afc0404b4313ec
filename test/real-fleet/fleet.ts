/**
 * A fleet of real processes on one machine: a control plane on SQLite, nodes, and between each node and the control plane
 * a wire that can fail. Runs a schedule, heals everything, waits until all has come to rest, and gives the evidence.
 */
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TcpProxy } from '../../packages/engine/test/tcp-proxy.ts'
import { freePort } from '../rig/free-ports.ts'
import { Api } from './api.ts'
import type { Content, Evidence, LogLine, Runs, Sample } from './evidence.ts'
import { Program } from './processes.ts'
import type { Deed, Fault, Happening, Spec } from './schedule.ts'

interface Node {
  readonly name: string
  readonly program: Program
  readonly proxy: TcpProxy
  readonly logPath: string
  readonly errorsPath: string
}

const lookMs = 700
/** Node processes that are started at a time: each takes a while of a processor. */
const startedTogether = 4
const zones = ['a', 'b', 'c']

export class Fleet {
  readonly names: readonly string[]
  readonly api = new Api()
  /** What was done, for people. */
  readonly story: string[] = []
  private readonly beganMs = Date.now()
  private readonly directory: string
  private readonly nodes: Node[] = []
  private readonly acknowledged: (Runs & { readonly id: number })[] = []
  private readonly samples: Sample[] = []
  private readonly timers = new Set<NodeJS.Timeout>()
  private plane!: Program
  private planePort = 0
  private gate!: Server
  private looking: Promise<void> | undefined
  private isOver = false

  private constructor(directory: string, count: number) {
    this.directory = directory
    this.names = Array.from({ length: count }, (_, i) => `n${String(i).padStart(2, '0')}`)
  }

  static async start(count: number): Promise<Fleet> {
    const fleet = new Fleet(await mkdtemp(join(tmpdir(), 'midflight-real-fleet-')), count)
    try {
      await fleet.begin()
    } catch (error) {
      fleet.say(`could not be started: ${String(error)}\n${await fleet.errors()}`)
      await fleet.close()
      throw new Error(fleet.story.join('\n'), { cause: error })
    }
    return fleet
  }

  private async begin(): Promise<void> {
    this.gate = createServer((request, response) => {
      // Whoever asked may have been killed meanwhile.
      this.answerGate(request, response).catch(() => response.destroy())
    })
    this.gate.listen(0, '127.0.0.1')
    await once(this.gate, 'listening')
    const gateUrl = `http://127.0.0.1:${(this.gate.address() as AddressInfo).port}/`
    const dataDir = join(this.directory, 'plane')
    this.planePort = await freePort()
    for (const [i, name] of this.names.entries()) await this.addNode(name, zones[i % zones.length] as string)
    const hosts = this.nodes.map(({ proxy }) => new URL(proxy.url).host).join()
    let listens = false
    this.plane = new Program({
      program: 'plane-process.ts',
      args: () => [dataDir, String(this.planePort), gateUrl, hosts],
      errorsPath: join(this.directory, 'plane.errors'),
      cacheDir: join(this.directory, 'cache'),
      onLine: () => (listens = true),
    })
    this.api.url = `http://127.0.0.1:${this.planePort}`
    this.plane.start()
    await this.until('the control plane listens', () => listens, 60_000)
    const content: Content = { id: 1, moods: {}, gate: 'good' }
    this.acknowledged.push(await this.api.create(content))
    for (let i = 0; i < this.nodes.length; i += startedTogether) {
      const some = this.nodes.slice(i, i + startedTogether)
      for (const { program } of some) program.start()
      await this.until(
        `${some.map(({ name }) => name).join()} run release 1`,
        async () => {
          const there = (await this.api.sample())?.nodes.filter(({ runs }) => runs?.number === 1) ?? []
          return some.every(({ name }) => there.some(({ labels }) => labels['name'] === name))
        },
        120_000,
      )
    }
    this.say(`${this.nodes.length} nodes run release 1`)
    this.looking = this.look()
  }

  private async addNode(name: string, zone: string): Promise<void> {
    const folder = join(this.directory, name)
    await mkdir(folder)
    const proxy = await TcpProxy.listen(this.planePort)
    const logPath = join(folder, 'log.jsonl')
    const errorsPath = join(folder, 'errors')
    const program = new Program({
      program: 'node-process.ts',
      args: () => [proxy.url, join(folder, 'state'), logPath, name, zone],
      errorsPath,
      cacheDir: join(this.directory, 'cache'),
    })
    this.nodes.push({ name, program, proxy, logPath, errorsPath })
  }

  /** Does what is due when it is due, whether or not what came before has an answer. */
  async run(happenings: readonly Happening[]): Promise<void> {
    const startMs = performance.now()
    const doing: Promise<void>[] = []
    for (const { atMs, deed } of happenings) {
      const waitMs = startMs + atMs - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      doing.push(this.do(deed))
    }
    await Promise.all(doing)
  }

  private async do(deed: Deed): Promise<void> {
    switch (deed.kind) {
      case 'publish':
        return await this.publish(deed.content, deed.strategy)
      case 'control': {
        const current = await this.api.current()
        const reason = deed.control === 'resume' ? (current?.pauses[0]?.reason ?? 'chance') : 'chance'
        this.say(`somebody wants to ${deed.control}`)
        return await this.api.control(deed.control, reason)
      }
      case 'kill-nodes':
        this.say(`killed for ${deed.ms} ms: ${this.named(deed.nodes)}`)
        return this.each(deed.nodes, ({ program }) => program.kill(deed.ms))
      case 'stop-nodes':
        this.say(`stopped for ${deed.ms} ms: ${this.named(deed.nodes)}`)
        this.each(deed.nodes, ({ program }) => program.stop())
        return this.after(deed.ms, () => this.each(deed.nodes, ({ program }) => program.wake()))
      case 'kill-plane':
        this.say(`the control plane is killed for ${deed.ms} ms`)
        return this.plane.kill(deed.ms)
      case 'stop-plane':
        this.say(`the control plane is stopped for ${deed.ms} ms`)
        this.plane.stop()
        return this.after(deed.ms, () => this.plane.wake())
      case 'wire':
        this.say(`wires are ${deed.fault} for ${deed.ms} ms: ${this.named(deed.nodes)}`)
        this.each(deed.nodes, ({ proxy }) => spoil(proxy, deed.fault))
        return this.after(deed.ms, () => this.each(deed.nodes, ({ proxy }) => mend(proxy)))
    }
  }

  private async publish(content: Content, strategy: Spec): Promise<void> {
    const published = await this.api.publish(content, strategy)
    const what = `${content.id} ${JSON.stringify(content.moods)} ${content.gate} by ${JSON.stringify(strategy)}`
    this.say(`content ${what}: ${published ? `release ${published.number}` : 'no answer'}`)
    if (published) this.acknowledged.push(published)
  }

  /** All faults end. Resolves when nothing moves any more; rejects never: what does not come to rest, the checker says. */
  async heal(withinMs: number): Promise<void> {
    this.say('everything is healed')
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    this.plane.heal()
    for (const { program, proxy } of this.nodes) {
      mend(proxy)
      program.heal()
    }
    const isQuiet = async (): Promise<boolean> => {
      const current = await this.api.current()
      for (const { reason } of current?.pauses ?? []) await this.api.control('resume', reason)
      if (current !== null) return false
      const [head, sample] = [await this.api.head(), await this.api.sample()]
      if (head === undefined || sample?.nodes.length !== this.nodes.length) return false
      return sample.nodes.every(settledOn(head))
    }
    await this.until('everything comes to rest', isQuiet, withinMs).catch((error: Error) => this.say(error.message))
    // What a node has written down of itself is looked at no more often than this.
    await sleep(1_000)
  }

  /** A publish in good weather, and what became of it. @throws if nothing did. */
  async publishAndSee(content: Content, strategy: Spec, withinMs: number): Promise<string> {
    await this.publish(content, strategy)
    const last = this.acknowledged.at(-1)
    if (last?.id !== content.id) throw new Error(`content ${content.id} could not be published in good weather`)
    let phase = ''
    await this.until(
      `the rollout of ${last.number} ends`,
      async () => {
        const rollout = await this.api.rollout(last.number)
        phase = rollout?.phase ?? phase
        return rollout !== undefined && rollout.endedAt !== null
      },
      withinMs,
    )
    this.say(`the rollout of ${last.number} is ${phase}`)
    return phase
  }

  async evidence(): Promise<Evidence> {
    const record = await this.api.record()
    const logs = new Map<string, LogLine[]>()
    for (const { name, logPath } of this.nodes) logs.set(name, linesOf(await readFile(logPath, 'utf8')))
    const [acknowledged, samples, badAnswers] = [[...this.acknowledged], [...this.samples], [...this.api.bad]]
    return { ...record, acknowledged, samples, logs, badAnswers }
  }

  /** How many times a process was started, for people. */
  get starts(): { readonly plane: number; readonly nodes: number } {
    return { plane: this.plane.starts, nodes: this.nodes.reduce((sum, { program }) => sum + program.starts, 0) }
  }

  /** What the processes wrote to their standard errors, the last of it. */
  async errors(): Promise<string> {
    const texts: string[] = []
    const paths = [join(this.directory, 'plane.errors'), ...this.nodes.map(({ errorsPath }) => errorsPath)]
    for (const path of paths) {
      const text = await readFile(path, 'utf8').catch(() => '')
      if (text !== '') texts.push(`${path}:\n${text.slice(-3_000)}`)
    }
    for (const { name, logPath } of this.nodes) {
      const lines = linesOf(await readFile(logPath, 'utf8').catch(() => ''))
      const warnings = lines.flatMap((line) =>
        line.kind === 'warning' ? [`${line.wallMs - this.beganMs} ${line.text}`] : [],
      )
      if (warnings.length > 0) texts.push(`${name} warned:\n${warnings.slice(-5).join('\n')}`)
    }
    return texts.join('\n')
  }

  async close(): Promise<void> {
    this.isOver = true
    for (const timer of this.timers) clearTimeout(timer)
    await Promise.all(this.nodes.map(({ program }) => program.end()))
    await this.plane?.end()
    await this.looking
    for (const { proxy } of this.nodes) await proxy.close()
    this.gate.closeAllConnections()
    this.gate.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  private say(text: string): void {
    this.story.push(`${String(Date.now() - this.beganMs).padStart(8)} ${text}`)
  }

  private async look(): Promise<void> {
    while (!this.isOver) {
      const sample = await this.api.sample()
      if (sample) this.samples.push(sample)
      await sleep(lookMs)
    }
  }

  private async answerGate(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { release } = JSON.parse(Buffer.concat(chunks).toString()) as { release: number | Runs }
    const number = typeof release === 'number' ? release : release.number
    // Which content that is, is asked like everything else.
    const healthy = (await this.api.content(number))?.gate === 'good'
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ healthy, reason: healthy ? '' : 'it was to be so' }))
  }

  private named(nodes: readonly number[]): string {
    return nodes.length === this.nodes.length ? 'all' : nodes.map((i) => this.names[i]).join()
  }

  private each(nodes: readonly number[], act: (node: Node) => void): void {
    for (const i of nodes) act(this.nodes[i] as Node)
  }

  private after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      act()
    }, ms)
    this.timers.add(timer)
  }

  private async until(what: string, holds: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
    const endMs = performance.now() + withinMs
    while (!(await holds())) {
      if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`)
      await sleep(200)
    }
  }
}

const refusals = ['FAILED', 'ROLLED_BACK', 'DEGRADED', 'RESTART_REQUIRED']

function settledOn(head: number) {
  return ({ connected, runs, seen, status }: Sample['nodes'][number]): boolean =>
    connected && seen === head && (runs?.number === head ? status === 'APPLIED' : refusals.includes(status))
}

function spoil(proxy: TcpProxy, fault: Fault): void {
  switch (fault) {
    case 'reset':
      return proxy.reset()
    case 'half-open':
      proxy.swallow = true
      return
    case 'one-way':
      proxy.swallowAnswers = true
      return
    case 'slow':
      proxy.delayMs = 500
      return
    case 'trickle':
      proxy.bytesPerSecond = 1_000
      return
    case 'mid-frame':
      proxy.cutAfterBytes = 150
      return
    case 'refuse':
      proxy.refuse = true
      return proxy.reset()
  }
}

/** Where bytes were lost the connection is too, as with TCP. */
function mend(proxy: TcpProxy): void {
  const hasLost = proxy.swallow || proxy.swallowAnswers
  proxy.swallow = false
  proxy.swallowAnswers = false
  proxy.delayMs = 0
  proxy.bytesPerSecond = Infinity
  proxy.cutAfterBytes = Infinity
  proxy.refuse = false
  if (hasLost) proxy.reset()
}

/** What a SIGKILL cut off in the middle was not written. */
function linesOf(text: string): LogLine[] {
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine]
    } catch {
      return []
    }
  })
}
