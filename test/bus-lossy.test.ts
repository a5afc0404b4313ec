/**
 * A fleet on a fake bus that loses, doubles and reorders, and on which somebody says again what was said before, or makes
 * things up; with random publishes and rollouts, and restarts of everything. The control plane, the agents and the
 * engines are the real ones. A seed fixes what is done, and not when: time is real. MIDFLIGHT_SEED=17 does one again.
 */
import { expect, test } from 'vitest'
import { LossyServer } from '../packages/engine/test/lossy-bus.ts'
import { config, Rig, until, type Program } from './bus-fleet-rig.ts'
import { Chance } from './simulation/world.ts'

const isLong = process.env['MIDFLIGHT_LONG'] === '1'
const only = process.env['MIDFLIGHT_SEED']
const seeds = only === undefined ? Array.from({ length: isLong ? 200 : 4 }, (_, i) => i + 1) : [Number(only)]
const rounds = 8
const hub = { heartbeatMs: 500, leaseMs: 10_000, pollMs: 500 }

interface Member {
  readonly stateDir: string
  readonly options: { readonly websocket: boolean; readonly acks?: 'bus'; readonly labels: Record<string, string> }
  program: Program
  /** What its programs have applied, those before it first. */
  readonly earlier: (readonly number[])[]
  highest: number
}

const kinds: readonly Member['options'][] = [
  { websocket: true, labels: { canary: 'yes' } },
  { websocket: false, labels: { canary: 'yes' } },
  { websocket: false, labels: {}, acks: 'bus' },
  { websocket: false, labels: { canary: 'no' } },
  { websocket: true, labels: {} },
]

class Fleet {
  readonly #rig: Rig
  readonly #chance: Chance
  readonly #server = new LossyServer()
  readonly #wrong: string[] = []
  readonly #said: string[] = []
  #members: Member[] = []
  #plane: Awaited<ReturnType<Rig['plane']>> | undefined
  #spy: Awaited<ReturnType<Rig['spy']>> | undefined
  #limit = 0

  constructor(rig: Rig, seed: number) {
    this.#rig = rig
    this.#chance = new Chance(seed)
    const chance = new Chance(seed + 1_000_000)
    const delayMs = () => Math.floor(chance.next() * 150)
    this.#server.fate = () => {
      const luck = chance.next()
      return luck < 0.3 ? [] : luck < 0.5 ? [delayMs(), delayMs()] : [delayMs()]
    }
  }

  get plane() {
    if (!this.#plane) throw new Error('there is no control plane yet')
    return this.#plane
  }

  async open(): Promise<void> {
    const server = {
      newBus: () => this.#server.newBus(),
      stop: async () => {},
      start: async () => {},
      close: async () => {},
    }
    this.#rig.add(async () => this.#server.close())
    this.#spy = await this.#rig.spy(server)
    this.#plane = await this.#rig.plane({ buses: [this.#server.newBus()], takesReports: true }, { limits: { hub } })
    await this.publish()
    for (const options of kinds) {
      const stateDir = await this.#rig.directory()
      const program = await this.#program(stateDir, options)
      this.#members.push({ stateDir, options, program, earlier: [], highest: 0 })
    }
    const watching = setInterval(() => this.#watch(), 5)
    this.#rig.add(async () => clearInterval(watching))
  }

  #program(stateDir: string, options: Member['options']): Promise<Program> {
    const { plane } = this
    return this.#rig.program(plane.proxy.url, { ...options, stateDir, token: plane.token, bus: this.#server.newBus() })
  }

  /** I5 */
  #watch(): void {
    for (const [i, member] of this.#members.entries()) {
      const runs = member.program.runs()
      if (runs > 0 && runs < member.highest) this.#wrong.push(`node ${i} runs ${runs} after ${member.highest}`)
      member.highest = Math.max(member.highest, runs)
    }
  }

  async publish(strategy?: object): Promise<number> {
    const limit = ++this.#limit
    for (;;) {
      try {
        await this.plane.publish({ limit }, strategy)
        return limit
      } catch (error) {
        // A rollout was taken back between the look and this.
        if (!(error instanceof Error && error.message.includes(': 412 '))) throw error
      }
    }
  }

  /** One step of the course, by chance. */
  async round(): Promise<void> {
    const chance = this.#chance
    const what = chance.pick([
      'instant',
      'instant',
      'canary',
      'canary',
      'percent',
      'two-phase',
      'node',
      'plane',
      'bus',
      'say',
    ])
    this.#said.push(what)
    const applyMs = 30_000
    switch (what) {
      case 'instant':
        for (let i = chance.int(4); i >= 0; i--) await this.publish()
        break
      case 'canary':
        await this.#canary()
        break
      case 'percent':
        await this.publish({ kind: 'staged', steps: [{ percent: 20 }, { percent: 60 }], bakeMs: 50, applyMs })
        break
      case 'two-phase':
        // Whoever hears of it too late has not voted, and it is taken back.
        await this.publish({ kind: 'two-phase', prepareMs: 300, applyMs })
        break
      case 'node': {
        const member = chance.pick(this.#members)
        await member.program.engine.close()
        member.earlier.push(member.program.applied)
        member.program = await this.#program(member.stateDir, member.options)
        break
      }
      case 'plane':
        await this.plane.close()
        await this.#pause(200)
        await this.plane.start({ buses: [this.#server.newBus()], takesReports: true })
        break
      case 'bus':
        this.#server.stop()
        await this.#pause(200)
        this.#server.start()
        break
      case 'say':
        break
    }
    await this.#attack()
    await this.#pause(300)
  }

  /** Held at its first step, whatever is said on the bus: the others must not have it. */
  async #canary(): Promise<void> {
    const [chance, { plane }] = [this.#chance, this]
    // Far longer than it is looked at.
    const steps = [{ labels: { canary: 'yes' }, bakeMs: 600_000 }]
    const limit = await this.publish({ kind: 'staged', steps, bakeMs: 50, applyMs: 30_000, whenBusy: 'supersede' })
    const under = `/v1/configs/${encodeURIComponent(config)}/rollouts`
    const { items } = (await plane.call('GET', under)).body as unknown as { items: readonly { number: number }[] }
    const number = items[0]?.number ?? 0
    const rollout = `${under}/${number}`
    for (let i = 0; i < 3; i++) {
      await this.#attack()
      await this.#pause(300)
    }
    for (const [i, { options, program }] of this.#members.entries()) {
      if (options.labels['canary'] !== 'yes' && program.applied.includes(limit)) {
        this.#wrong.push(`node ${i} has ${number}, which is held at the canaries`)
      }
    }
    const end = chance.is(0.3) ? 'abort' : 'promote'
    this.#said.push(end)
    // The one before it may not be over yet; and the step for all others would be watched as long as this one.
    await until(async () => {
      await plane.ask('POST', `${rollout}/${end}`, { reason: 'to look' })
      const { endedAt } = (await plane.call('GET', rollout)).body as unknown as { endedAt: string | null }
      return endedAt !== null
    })
  }

  /** Whoever may write there says again what was said, and makes things up. */
  async #attack(): Promise<void> {
    const [chance, spy] = [this.#chance, this.#spy]
    if (!spy || spy.heard.length === 0) return
    for (let i = 0; i < 10; i++) {
      const { bytes } = chance.pick(spy.heard)
      const said = Uint8Array.from(bytes)
      if (chance.is(0.3)) said[chance.int(said.length)] = chance.int(256)
      await spy.say(said).catch(() => {}) // the bus is away
      const report = spy.reports.length > 0 ? chance.pick(spy.reports) : undefined
      if (report) await spy.bus.publish('reports', report).catch(() => {})
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.#chance.int(ms)))
  }

  /** Everybody comes to the newest while the bus is as bad as before, and what is said of them is true. */
  async ends(): Promise<void> {
    const { plane } = this
    const under = `/v1/configs/${encodeURIComponent(config)}`
    let head = 0
    const giveUpAt = performance.now() + 60_000
    await until(async () => {
      if (performance.now() > giveUpAt) throw new Error(`not all are at ${head}: ${this.#said.join()}\n${this.state()}`)
      head = ((await plane.call('GET', under)).body as unknown as { head: { number: number } }).head.number
      const nodes = await plane.nodes()
      return (
        this.#members.every(({ program }) => program.runs() === head) &&
        nodes.every(({ status, runs }) => status === 'APPLIED' && runs?.number === head)
      )
    })
    const contents = new Map<number, number>()
    for (let number = 1; number <= head; number++) {
      const { body } = await plane.call('GET', `${under}/content?release=${number}`)
      const { limit } = body as unknown as { limit: number }
      contents.set(limit, (contents.get(limit) ?? 0) + 1)
    }
    for (const [i, { program, earlier }] of this.#members.entries()) {
      for (const applied of [...earlier, program.applied]) {
        for (const limit of new Set(applied)) {
          const times = applied.filter((one) => one === limit).length
          if (times > (contents.get(limit) ?? 0)) this.#wrong.push(`node ${i} has applied ${limit} ${times} times (R7)`)
        }
      }
    }
  }

  get result() {
    return { wrong: this.#wrong, said: this.#said }
  }

  state(): string {
    const nodes = this.#members.map(({ program }) => {
      const { via, status, runs, seen } = program.source.status()
      return { via, status, runs: runs?.number, seen, applied: program.applied }
    })
    return JSON.stringify(nodes)
  }
}

test.each(seeds)(
  'I5, R7: seed %i: whatever a bus loses, doubles, reorders and makes up, nodes go forward, each in its turn, to the newest',
  { timeout: 120_000 },
  async (seed) => {
    const rig = new Rig()
    const fleet = new Fleet(rig, seed)
    try {
      await fleet.open()
      for (let i = 0; i < rounds; i++) await fleet.round()
      await fleet.ends()
      expect(fleet.result.wrong, `${fleet.result.said.join()}\n${fleet.state()}`).toEqual([])
    } finally {
      await rig.close()
    }
  },
)
