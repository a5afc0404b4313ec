/**
 * One schedule, made of a seed: nodes that suit the contents or do not, publishes with every kind of strategy, people who
 * pause and abort, control planes that die between any two writes or wake up when another has taken over, wires that
 * lose, delay and repeat, clocks that jump. Whatever happens, what is said here in `Watchman` must hold; and once it is
 * quiet, every node must run what it should.
 */
import type { ReleaseInfo } from 'midflight/protocol'
import { createConfig } from '../../packages/control-plane/src/configs.ts'
import { desired } from '../../packages/control-plane/src/desired.ts'
import { publish } from '../../packages/control-plane/src/publish.ts'
import { problemOf, type Control } from '../../packages/control-plane/src/rollout.ts'
import { hasEnded, type RolloutEvent, type RolloutState } from '../../packages/control-plane/src/rollout-state.ts'
import type { RolloutRecord, Store } from '../../packages/control-plane/src/store.ts'
import { memoryStore } from '../../packages/control-plane/src/stores/memory.ts'
import { strategyOf, type StrategySpec } from '../../packages/control-plane/src/strategies/spec.ts'
import { stepOf, type StrategyKind } from '../../packages/control-plane/src/strategy.ts'
import { SimNode, type Content, type Mood, type Watch } from './node.ts'
import { config, peek, Server, type Weather } from './server.ts'
import { Chance, World } from './world.ts'

export interface Verdict {
  readonly violations: readonly string[]
  readonly log: readonly string[]
  /** How many rollouts came to what. */
  readonly ends: Readonly<Record<string, number>>
}

const stormMs = 40_000
const calmMs = 400_000

export async function simulate(seed: number): Promise<Verdict> {
  const world = new World(seed)
  const { chance } = world
  const store = memoryStore()
  const isCalm = chance.is(0.3)
  const weather: Weather = { loss: isCalm ? 0 : chance.next() * 0.15, maxDelayMs: chance.pick([5, 50, 500]) }
  let wallOffsetMs = 0
  const servers: Server[] = []
  const violations: string[] = []
  const watchman = new Watchman(world, store, violations)
  const nodes = Array.from({ length: 2 + chance.int(5) }, (_, i) => new SimNode(world, watchman, i + 1))
  // F64: some come later. By a chance of its own, so that seeds mean what they meant.
  const comes = new Chance(seed ^ 0x5eed)
  const late = nodes.slice(1).filter(() => comes.is(0.15))
  for (const node of late) joinLater(world, node, comes.int(stormMs))

  const startServer = async (): Promise<Server> => {
    const server = new Server(
      world,
      weather,
      watchman.watched(store),
      () => Date.UTC(2026, 10, 20) + world.nowMs + wallOffsetMs,
    )
    servers.push(server)
    await server.start()
    return server
  }
  let server = new Server(world, weather, store, () => Date.UTC(2026, 10, 20))
  await createConfig(server.domain, { name: config, actor: 'sim' })
  server = await startServer()

  const reconnect = (): void => {
    for (const node of nodes) {
      if (!node.alive || cutOff.has(node)) continue
      if (server.state === 'running' && server.coordinator !== undefined && !server.has(node)) server.connect(node)
    }
    world.after(200 + chance.int(200), reconnect)
  }
  const cutOff = new Set<SimNode>()
  reconnect()

  // Somebody sees to it that there is a control plane.
  let isStarting = false
  const keepRunning = (): void => {
    if (server.state !== 'running' && !isStarting) {
      isStarting = true
      world.after(chance.int(3_000), () => {
        for (const node of nodes) node.wire = undefined
        world.say('another control plane takes over')
        void startServer().then((next) => {
          server = next
          isStarting = false
        })
      })
    }
    world.after(500, keepRunning)
  }
  keepRunning()

  let version = 0
  const publishOne = (mostlyGood: boolean): void => {
    if (server.state !== 'running' || server.coordinator === undefined) return
    const content: Content = {
      version: ++version,
      moods: moods(world, nodes, mostlyGood),
      gate: chance.pick(['good', 'good', 'bad', 'silent']),
    }
    const spec = anySpec(world)
    const by = server
    const strategy = spec && strategyOf(spec, () => ['a', 'b'])
    world.say(
      `publishes ${version} (gate ${content.gate}) ${spec?.kind ?? 'without a strategy'}${spec?.twoPhase ? ' in two phases' : ''} ${JSON.stringify(content.moods)}`,
    )
    publish(by.domain, {
      changes: [{ config, content: content as never }],
      author: 'sim',
      ...(strategy && { rolloutOf: () => ({ strategy }) }),
    }).then(
      () => by.coordinator.published(config),
      (error: unknown) => violations.push(`a publish failed: ${String(error)}`),
    )
  }
  const storm: (readonly [weight: number, what: () => void])[] = [
    [6, () => publishOne(chance.is(0.5))],
    [3, () => control(world, server)],
    [1, () => void (wallOffsetMs += chance.pick([400 * 86_400_000, -3_600_000]))],
  ]
  if (!isCalm) {
    storm.push(
      [2, () => server.die()],
      [4, () => (server.dieAt = { transactions: chance.int(6), when: chance.pick(['before', 'after']) })],
      [2, () => stopAWhile(world, server)],
      [3, () => crashAWhile(world, chance.pick(nodes))],
      [3, () => cutAWhile(world, server, cutOff, chance.pick(nodes))],
    )
  }
  const happen = (): void => {
    if (world.nowMs > stormMs) return
    weighted(world, storm)()
    world.after(chance.int(4_000), happen)
  }
  publishOne(true)
  world.after(2_000, happen)
  await world.run(stormMs)

  // Quiet: nothing is lost any more, all are there, and what is still paused goes on.
  world.say('quiet')
  weather.loss = 0
  cutOff.clear()
  server.dieAt = undefined
  const soothe = (): void => {
    for (const node of nodes) if (!node.alive) node.restart()
    server.dieAt = undefined
    resumeAll(server)
    world.after(3_000, soothe)
  }
  soothe()
  for (let untilMs = stormMs + 20_000; untilMs < stormMs + calmMs; untilMs += 20_000) {
    await world.run(untilMs)
    if (watchman.isQuiet(nodes)) break
  }

  watchman.end(nodes, isCalm && late.length === 0)
  for (const one of servers) {
    for (const problem of one.problems) {
      if (!/taken over/.test(String(problem)))
        violations.push(`a problem: ${String((problem as Error).stack ?? problem)}`)
    }
  }
  const rollouts = peek(store, (read) => read.rollouts.list(config, undefined, 1_000))
  const ends: Record<string, number> = {}
  for (const { state } of rollouts) ends[state.phase] = (ends[state.phase] ?? 0) + 1
  return { violations, log: world.log, ends }
}

/** What must hold, looked at whenever something is done. */
class Watchman implements Watch {
  private readonly world: World
  private readonly store: Store
  private readonly violations: string[]
  private readonly voted = new Map<number, Set<string>>()
  private readonly baked = new Set<number>()

  constructor(world: World, store: Store, violations: string[]) {
    this.world = world
    this.store = store
    this.violations = violations
  }

  /** A store that is looked at when it has been written to. */
  watched(store: Store): Store {
    return {
      ...store,
      transaction: async (work) => {
        const before = this.open()
        const result = await store.transaction(work)
        this.moved(before, this.open())
        return result
      },
    }
  }

  applies(node: SimNode, release: ReleaseInfo): void {
    const { number } = release
    this.world.say(`${node.name} runs ${number}`)
    const before = node.runs?.number ?? 0
    if (number < before) this.violate(`I5: ${node.name} runs ${number} after ${before}`)
    const rollout = this.rollout(number)
    // One that has ended was decided on, or given up and then never sent anew.
    if (rollout === undefined || rollout.state.phase === 'completed') return
    const step = stepOf(rollout.strategy.steps, rollout.state.cuts, node)
    if (rollout.state.phase === 'queued' || step >= rollout.state.decided) {
      this.violate(
        `${node.name} of step ${step} runs ${number}, which is decided up to ${rollout.state.decided} (${rollout.state.phase})`,
      )
    }
  }

  givesUp(node: SimNode, release: ReleaseInfo): void {
    this.world.say(`${node.name} gives up ${release.number}`)
    const rollout = this.rollout(release.number)
    if (rollout === undefined) return
    const step = stepOf(rollout.strategy.steps, rollout.state.cuts, node)
    const isDecided = rollout.state.phase !== 'queued' && step < rollout.state.decided
    if (isDecided && rollout.state.rollback === null && !hasEnded(rollout.state)) {
      this.violate(`I8: ${node.name} gives up ${release.number}, on which commit was decided`)
    }
  }

  votes(node: SimNode, release: ReleaseInfo): void {
    this.world.say(`${node.name} votes for ${release.number}`)
    if (node.disk.ballot?.held.release.number !== release.number)
      this.violate(`I8: ${node.name} votes for what it has not kept`)
    const voters = this.voted.get(release.number) ?? new Set()
    this.voted.set(release.number, voters.add(node.uid))
  }

  returns(node: SimNode): void {
    const { ballot } = node.disk
    if (ballot !== undefined && node.prepared === undefined)
      this.violate(`I8: ${node.name} has forgotten that it voted for ${ballot.held.release.number}`)
  }

  /** Whether nothing more is to be expected. */
  isQuiet(nodes: readonly SimNode[]): boolean {
    return (
      this.open().every(({ state }) => state.phase === 'failed') &&
      nodes.every((node) => this.laggard(node) === undefined)
    )
  }

  /** When it is quiet. */
  end(nodes: readonly SimNode[], isCalm: boolean): void {
    const rollouts = peek(this.store, (read) => read.rollouts.list(config, undefined, 1_000))
    for (const rollout of rollouts) {
      const { number, state } = rollout
      if (!hasEnded(state) && state.phase !== 'failed' && state.phase !== 'confirming') {
        this.violate(`the rollout of ${number} is ${state.phase} for ever: ${JSON.stringify(state)}`)
      }
      const events = peek(this.store, (read) => read.rollouts.events(config, number, undefined, 10_000))
      const epochs = events.map(({ epoch }) => epoch)
      if (epochs.some((epoch, i) => epoch < (epochs[i - 1] ?? 0)))
        this.violate(`I10: epochs of ${number} go back: ${epochs.join()}`)
      this.checkEnd(
        rollout,
        nodes,
        isCalm,
        events.map(({ event }) => event),
      )
    }
    const made = rollouts.map(({ state }) => state.rollback?.number)
    const releases = peek(this.store, (read) => read.releases(config, undefined, 1_000))
    for (const { kind, number } of releases) {
      // Written with the rollout, or not at all: else whoever takes over makes another.
      if (kind === 'rollback' && !made.includes(number)) this.violate(`${number} is the way back from nothing`)
    }
    for (const node of nodes) {
      const problem = this.laggard(node)
      if (problem !== undefined) this.violate(problem)
    }
  }

  private laggard(node: SimNode): string | undefined {
    if (node.prepared !== undefined) return `${node.name} still has ${node.prepared.number} prepared`
    const head = peek(this.store, (read) => read.config(config)?.head ?? null)
    const wish = desired({ head, rollout: this.open()[0] ?? null }, node)
    if (wish === null || node.runs?.number === wish.number || this.maySulk(node, wish.number)) return undefined
    // Nobody goes back to an older number: one that ran what failed for good waits for a newer.
    if ((node.runs?.number ?? 0) > wish.number) return undefined
    return `${node.name} runs ${node.runs?.number ?? 'nothing'}; want ${wish.number}`
  }

  /** A node that a content does not suit need not run it. */
  private maySulk(node: SimNode, number: number): boolean {
    const content = peek(this.store, (read) => read.content(config, number)) as unknown as Content
    return (content.moods[node.name] ?? 'good') !== 'good'
  }

  private checkEnd(
    rollout: RolloutRecord,
    nodes: readonly SimNode[],
    isCalm: boolean,
    events: readonly RolloutEvent[],
  ): void {
    const { number, state, strategy } = rollout
    if (state.phase !== 'completed' || strategy.maxFailed > 0) return
    const content = peek(this.store, (read) => read.content(config, number)) as unknown as Content
    const bad = nodes.filter(({ name }) => (content.moods[name] ?? 'good') !== 'good')
    const isLate = events.some(({ kind }) => kind === 'promoted')
    if (this.baked.has(number) && strategy.gates.length > 0 && content.gate !== 'good' && !isLate) {
      this.violate(`I12: the rollout of ${number} is completed, and its gate said ${content.gate}`)
    }
    // Where nobody was away, nobody can have been passed over. What is said of health has come after some hundred milliseconds.
    const isWatched = strategy.steps.every(({ bakeMs }) => bakeMs >= 1_000)
    const seen = bad.filter(({ name }) => isWatched || content.moods[name] !== 'sick')
    if (isCalm && !isLate && seen.length > 0) {
      this.violate(`the rollout of ${number} is completed, and does not suit ${seen.map(({ name }) => name).join()}`)
    }
  }

  private open(): readonly RolloutRecord[] {
    return peek(this.store, (read) => read.rollouts.open(config))
  }

  private moved(before: readonly RolloutRecord[], after: readonly RolloutRecord[]): void {
    for (const rollout of after) {
      const { number, strategy, state } = rollout
      const was = before.find((one) => one.number === number)?.state
      if (was?.phase !== state.phase)
        this.world.say(
          `the rollout of ${number} is ${state.phase} (step ${state.step})${state.failure ? ` ${state.failure.found}` : ''}`,
        )
      if (state.phase === 'baking') this.baked.add(number)
      if (was !== undefined) this.checkMove(number, was, state)
      const back = state.rollback?.number ?? 0
      const left = after.find((one) => one.number > number && one.number < back && was?.rollback === null)
      if (left !== undefined) this.violate(`${left.number} was made on ${number}, and outlives it`)
      if (!strategy.twoPhase || was === undefined || state.decided <= was.decided || strategy.absent.max > 0) continue
      const voters = this.voted.get(number)
      // A step without a node is passed over.
      if (state.step !== was.step) continue
      const { waiting, away, failed, lost } = state.counts
      if (waiting + away + failed + lost > 0) {
        this.violate(`I8: commit of ${number} was decided without all of them: ${JSON.stringify(state.counts)}`)
      }
      if (state.counts.prepared > 0 && voters === undefined) this.violate(`I8: commit of ${number} without a vote`)
    }
  }

  private checkMove(number: number, was: RolloutState, state: RolloutState): void {
    // What a coordinator has decided and not written, the next one does not know of.
    if (was.phase === 'preparing' && state.epoch > was.epoch && state.failure === null) {
      this.violate(`I9: ${number} goes on undecided under epoch ${state.epoch}; it was asked for under ${was.epoch}`)
    }
    if (was.phase !== 'queued' || hasEnded(state) || state.from === null) return
    const before = this.rollout(state.from.number)?.state.phase ?? 'completed'
    if (before !== 'completed') this.violate(`${number} would go back to ${state.from.number}, which is ${before}`)
  }

  private rollout(number: number): RolloutRecord | undefined {
    return peek(this.store, (read) => read.rollouts.get(config, number))
  }

  private violate(what: string): void {
    this.world.say(`!!! ${what}`)
    this.violations.push(what)
  }
}

function moods({ chance }: World, nodes: readonly SimNode[], mostlyGood: boolean): Record<string, Mood> {
  if (mostlyGood || chance.is(0.3)) return {}
  const mood = chance.pick<Mood>(['refused', 'sick', 'stuck', 'fails-late'])
  const share = chance.pick([0.2, 0.5, 1])
  return Object.fromEntries(nodes.filter(() => chance.is(share)).map(({ name }) => [name, mood]))
}

type Spec = StrategySpec & { readonly kind: StrategyKind | 'instant' }

function anySpec({ chance }: World): Spec | undefined {
  if (chance.is(0.1)) return undefined
  const kind = chance.pick([
    'all-at-once',
    'two-phase',
    'two-phase',
    'staged',
    'linear',
    'by-zone',
    'exponential',
    'instant',
  ] as const)
  if (kind === 'instant') return { kind }
  return {
    kind,
    bakeMs: chance.pick([0, 100, 1_000]),
    prepareMs: chance.pick([500, 2_000, 5_000]),
    applyMs: chance.pick([1_000, 5_000]),
    twoPhase: kind === 'two-phase' || chance.is(0.4),
    ...(kind === 'linear' && { percent: 34 }),
    ...(kind === 'exponential' && { percent: 10, factor: 3 }),
    ...(chance.is(0.2) && { absent: { kind: 'count', max: 1 } }),
    ...(chance.is(0.2) && { confirmMs: 2_000 }),
    ...(chance.is(0.3) && ({ gates: [{ kind: 'webhook', name: 'g', hook: 'g' }], gateMs: 1_000 } as const)),
    whenBusy: chance.pick(['wait', 'supersede']),
  }
}

function control(world: World, server: Server): void {
  if (server.state !== 'running' || server.coordinator === undefined) return
  const control = world.chance.pick<Control>(['pause', 'pause', 'resume', 'abort', 'promote', 'confirm'])
  world.say(`somebody wants to ${control}`)
  server.coordinator.control(config, undefined, control, { by: 'sim', reason: 'chance' }).catch(() => {})
}

function resumeAll(server: Server): void {
  if (server.state !== 'running' || server.coordinator === undefined) return
  server.coordinator
    .rollouts()
    .filter(({ state }) => state.pauses.length > 0 && problemOf(state, 'resume') === undefined)
    .forEach((rollout) =>
      rollout.state.pauses.forEach(({ reason }) =>
        server.coordinator.control(config, rollout.number, 'resume', { by: 'sim', reason }).catch(() => {}),
      ),
    )
}

function stopAWhile(world: World, server: Server): void {
  if (server.state !== 'running') return
  world.say('the control plane stands still')
  server.stop()
  world.after(1_000 + world.chance.int(10_000), () => {
    if (server.state !== 'stopped') return
    world.say('the control plane that stood still goes on')
    server.wake()
  })
}

function crashAWhile(world: World, node: SimNode): void {
  if (!node.alive) return
  world.say(`${node.name} dies`)
  node.crash()
  world.after(world.chance.int(8_000), () => {
    if (node.alive) return
    world.say(`${node.name} is back`)
    node.restart()
  })
}

function joinLater(world: World, node: SimNode, afterMs: number): void {
  node.crash()
  world.after(afterMs, () => {
    if (node.alive) return
    world.say(`${node.name} joins`)
    node.restart()
  })
}

function cutAWhile(world: World, server: Server, cutOff: Set<SimNode>, node: SimNode): void {
  world.say(`${node.name} is cut off`)
  cutOff.add(node)
  server.cut(node)
  world.after(world.chance.int(12_000), () => cutOff.delete(node))
}

function weighted({ chance }: World, all: readonly (readonly [weight: number, what: () => void])[]): () => void {
  let left = chance.next() * all.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, what] of all) if ((left -= weight) < 0) return what
  return () => {}
}
