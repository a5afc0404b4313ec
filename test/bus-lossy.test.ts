/**
 * A fleet on a fake bus that loses, doubles and reorders, and on which somebody says again what was said before, or makes
 * things up; with random publishes and rollouts, nodes that refuse or are slow to vote, join late and change the ways on
 * which they hear and speak, wires that are cut, and restarts and kills of everything. The control plane, the agents and
 * the engines are the real ones. A seed fixes what is done, and not when: time is real. MIDFLIGHT_SEED=17 does one again.
 */
import { expect, test } from 'vitest'
import { LossyServer } from '../packages/engine/test/lossy-bus.ts'
import { config, Rig, until, type Program } from './bus-fleet-rig.ts'
import { Chance } from './simulation/world.ts'

const isLong = process.env['MIDFLIGHT_LONG'] === '1'
const only = process.env['MIDFLIGHT_SEED']
const seeds = only === undefined ? Array.from({ length: isLong ? 200 : 4 }, (_, i) => i + 1) : [Number(only)]
const rounds = 12
const hub = { heartbeatMs: 500, leaseMs: 10_000, pollMs: 500 }

interface Ways {
  readonly websocket: boolean
  readonly acks?: 'bus'
}

interface Member {
  readonly stateDir: string
  readonly labels: Record<string, string>
  ways: Ways
  program: Program
  /** What its programs have applied, those before it first. */
  readonly earlier: (readonly number[])[]
  highest: number
}

const socket: Ways = { websocket: true }
const polls: Ways = { websocket: false }
const bus: Ways = { websocket: false, acks: 'bus' }
const kinds: readonly (readonly [Ways, Member['labels']])[] = [
  [socket, { canary: 'yes' }],
  [polls, { canary: 'yes' }],
  [bus, {}],
  [polls, { canary: 'no' }],
  [socket, {}],
]
const mostMembers = 7

const deeds = ['instant', 'instant', 'canary', 'canary', 'percent', 'node', 'plane', 'bus', 'say'] as const
const votes = ['two-phase', 'two-phase', 'two-phase', 'switch', 'join', 'kill', 'kill', 'cut'] as const

/** What was published to be voted on. */
interface Vote {
  readonly limit: number
  /** The canaries first. */
  readonly bySteps: boolean
}

interface Rollout {
  readonly phase: string
  readonly endedAt: string | null
  readonly decided: number
  readonly failure: { readonly kind: string; readonly found: string } | null
  readonly kind: string
}

const canaries = { canary: 'yes' }
const under = `/v1/configs/${encodeURIComponent(config)}`

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
  readonly #votes: Vote[] = []
  /** By limit: which member would not have it. */
  readonly #refusing = new Map<number, number>()
  readonly #slow: Chance

  constructor(rig: Rig, seed: number) {
    this.#rig = rig
    this.#chance = new Chance(seed)
    this.#slow = new Chance(seed + 2_000_000)
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
    for (const [ways, labels] of kinds) await this.#join(ways, labels)
    const watching = setInterval(() => this.#watch(), 5)
    this.#rig.add(async () => clearInterval(watching))
  }

  async #join(ways: Ways, labels: Member['labels']): Promise<void> {
    const stateDir = await this.#rig.directory()
    const program = await this.#program(stateDir, ways, labels, this.#members.length)
    // Whoever has not said hello has no vote.
    await until(async () => (await this.plane.nodes()).length > this.#members.length)
    this.#members.push({ stateDir, labels, ways, program, earlier: [], highest: 0 })
  }

  #program(stateDir: string, ways: Ways, labels: Member['labels'], i: number): Promise<Program> {
    const { plane } = this
    return this.#rig.program(plane.proxy.url, {
      ...{ ...ways, labels, stateDir, token: plane.token, bus: this.#server.newBus() },
      prepare: async (limit) => {
        if (this.#votes.some((vote) => vote.limit === limit)) await wait(this.#slow.int(400))
        if (this.#refusing.get(limit) === i) throw new Error(`no room for ${limit}`)
      },
    })
  }

  async #restart(i: number, ways: Ways): Promise<void> {
    const member = this.#members[i] as Member
    await member.program.engine.close()
    member.earlier.push(member.program.applied)
    member.ways = ways
    member.program = await this.#program(member.stateDir, ways, member.labels, i)
  }

  /** I5 */
  #watch(): void {
    for (const [i, member] of this.#members.entries()) {
      const runs = member.program.runs()
      if (runs > 0 && runs < member.highest) this.#wrong.push(`node ${i} runs ${runs} after ${member.highest}`)
      member.highest = Math.max(member.highest, runs)
    }
  }

  async publish(strategy?: object, limit = ++this.#limit): Promise<number> {
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
    const what = chance.pick(chance.is(0.5) ? votes : deeds)
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
        await this.#twoPhase()
        break
      case 'node':
      case 'switch': {
        const i = chance.int(this.#members.length)
        const { ways } = this.#members[i] as Member
        await this.#restart(i, what === 'node' ? ways : chance.pick([socket, polls, bus]))
        break
      }
      case 'join':
        if (this.#members.length < mostMembers) await this.#join(chance.pick([socket, polls, bus]), {})
        break
      case 'plane':
        await this.plane.close()
        await this.#pause(200)
        await this.plane.start({ buses: [this.#server.newBus()], takesReports: true })
        break
      case 'kill':
        await this.plane.kill()
        await this.#pause(200)
        await this.plane.start({ buses: [this.#server.newBus()], takesReports: true })
        break
      case 'cut':
        this.plane.cutOff()
        await this.#pause(1_000)
        this.plane.proxy.refuse = false
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

  /** All or none, some of which come to nothing: too short for whoever hears of it late, or refused by one. */
  async #twoPhase(): Promise<void> {
    const chance = this.#chance
    const bySteps = chance.is(0.3)
    const prepareMs = chance.pick([300, 2_000, 5_000])
    const limit = ++this.#limit
    this.#votes.push({ limit, bySteps })
    if (chance.is(0.25)) this.#refusing.set(limit, chance.int(this.#members.length))
    const kind = bySteps ? { kind: 'staged', twoPhase: true, steps: [{ labels: canaries }] } : { kind: 'two-phase' }
    await this.publish({ ...kind, bakeMs: 50, prepareMs, applyMs: 30_000 }, limit)
    if (chance.is(0.2)) {
      const { head } = await this.#look<{ head: { number: number } }>('')
      // It may be decided, over, or wait in the queue.
      await this.plane.ask('POST', `${under}/rollouts/${head.number}/abort`, { reason: 'to look' })
    }
    // Far enough for some to have voted, for all, or for the decision: what comes next comes just then.
    const isDecided = async () => {
      const { items } = await this.#look<{ items: readonly Rollout[] }>('/rollouts')
      return items.every(({ phase }) => phase !== 'preparing' && phase !== 'queued')
    }
    if (chance.is(0.5)) await until(isDecided)
    await this.#pause(chance.pick([20, 300, 1_000]))
  }

  async #look<T>(path: string): Promise<T> {
    return (await this.plane.call('GET', `${under}${path}`)).body as T
  }

  /** Held at its first step, whatever is said on the bus: the others must not have it. */
  async #canary(): Promise<void> {
    const [chance, { plane }] = [this.#chance, this]
    // Far longer than it is looked at.
    const steps = [{ labels: canaries, bakeMs: 600_000 }]
    const limit = await this.publish({ kind: 'staged', steps, bakeMs: 50, applyMs: 30_000, whenBusy: 'supersede' })
    const { items } = await this.#look<{ items: readonly { number: number }[] }>('/rollouts')
    const number = items[0]?.number ?? 0
    const rollout = `${under}/rollouts/${number}`
    for (let i = 0; i < 3; i++) {
      await this.#attack()
      await this.#pause(300)
    }
    for (const [i, { labels, program }] of this.#members.entries()) {
      if (labels['canary'] !== 'yes' && program.applied.includes(limit)) {
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
    await wait(this.#chance.int(ms))
  }

  /** Everybody comes to the newest while the bus is as bad as before, and what is said of them is true. */
  async ends(): Promise<void> {
    const { plane } = this
    let head = 0
    const giveUpAt = performance.now() + 60_000
    await until(async () => {
      if (performance.now() > giveUpAt) throw new Error(`not all are at ${head}: ${this.#said.join()}\n${this.state()}`)
      head = (await this.#look<{ head: { number: number } }>('')).head.number
      const open = (await this.#look<{ items: readonly Rollout[] }>('/rollouts')).items
      const nodes = await plane.nodes()
      return (
        open.every(({ endedAt }) => endedAt !== null) &&
        this.#members.every(({ program }) => program.runs() === head && !program.source.status().prepared) &&
        nodes.every(({ status, runs }) => status === 'APPLIED' && runs?.number === head)
      )
    })
    /** Of each limit the releases that had it, the oldest first. */
    const contents = new Map<number, number[]>()
    for (let number = 1; number <= head; number++) {
      const { limit } = await this.#look<{ limit: number }>(`/content?release=${number}`)
      contents.set(limit, [...(contents.get(limit) ?? []), number])
    }
    for (const [i, { program, earlier }] of this.#members.entries()) {
      for (const applied of [...earlier, program.applied]) {
        for (const limit of new Set(applied)) {
          const times = applied.filter((one) => one === limit).length
          if (times > (contents.get(limit)?.length ?? 0))
            this.#wrong.push(`node ${i} has applied ${limit} ${times} times (R7)`)
        }
      }
    }
    for (const vote of this.#votes) await this.#allOrNone(vote, contents.get(vote.limit)?.[0] ?? 0)
  }

  /** I8: whoever has applied it was to, as it was decided for their step; and nothing is decided that one would not have. */
  async #allOrNone({ limit, bySteps }: Vote, number: number): Promise<void> {
    const { phase, decided, failure, kind } = await this.#look<Rollout>(`/rollouts/${number}`)
    this.ballots.push(`${number} ${phase} ${decided} ${failure?.kind ?? ''}`)
    for (const [i, { labels, program, earlier }] of this.#members.entries()) {
      const isTheirs = decided > (bySteps && labels['canary'] !== 'yes' ? 1 : 0)
      const hasIt = [...earlier, program.applied].some((applied) => applied.includes(limit))
      const what = `${number} (limit ${limit}, ${kind}, decided ${decided}, ${phase}: ${failure?.found})`
      if (hasIt && !isTheirs) this.#wrong.push(`node ${i} has applied ${what}`)
      if (isTheirs && this.#refusing.get(limit) === i) this.#wrong.push(`node ${i} would not have ${what}`)
    }
  }

  /** What came of each that was voted on. */
  readonly ballots: string[] = []

  get result() {
    return { wrong: this.#wrong, said: this.#said }
  }

  state(): string {
    const nodes = this.#members.map(({ program }) => {
      const { via, status, runs, seen, prepared } = program.source.status()
      return { via, status, runs: runs?.number, seen, prepared, applied: program.applied }
    })
    return JSON.stringify(nodes)
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

test.each(seeds)(
  'I5, I8, R7: seed %i: whatever a bus loses, doubles, reorders and makes up, nodes go forward, each in its turn, all or none, to the newest',
  { timeout: 120_000 },
  async (seed) => {
    const rig = new Rig()
    const fleet = new Fleet(rig, seed)
    try {
      await fleet.open()
      for (let i = 0; i < rounds; i++) await fleet.round()
      await fleet.ends()
      if (process.env['MIDFLIGHT_TALK']) console.log(seed, fleet.result.said.join(), '|', fleet.ballots.join('; '))
      expect(fleet.result.wrong, `${fleet.result.said.join()}\n${fleet.state()}`).toEqual([])
    } finally {
      await rig.close()
    }
  },
)
