/**
 * Runs rollouts: counts their nodes, lets time pass, asks their gates, and writes down what `rollout.ts` makes of it
 * before anything follows from it. One coordinator at a time: the one that took over last. What an earlier one still
 * wants to write is refused by the store, and it stops (I10).
 *
 * It sends nothing. Which node is to run what follows from what is written (`desired.ts`); the hub is told to look.
 */
import { asRollout, auditOf, eventOf, handedOver, isPlain, movedAt, requirePossible } from './course.ts'
import type { CoordinatorOptions, Course, Wanting } from './course.ts'
import { Facts, type Tally } from './facts.ts'
import { activeFreeze, freezeMoves } from './freeze.ts'
import type { GateResult } from './gates/gate.ts'
import { GateWatch } from './gates/watch.ts'
import { RefusedError } from './release.ts'
import { next, type Control, type RolloutCommand } from './rollout.ts'
import { hasEnded, type Failure, type RolloutEvent, type RolloutState } from './rollout-state.ts'
import { FencedError, type NodeRecord, type RolloutRecord, type StoreTx } from './store.ts'
import { cutsOf } from './strategy.ts'
import { Lines, realTurns } from './turns.ts'
import { author, giveUp, wayBack } from './way-back.ts'

/** In one go at most so much time passes: while this process stood still, nobody watched. */
const longestTickMs = 2_000
const saveMs = 5_000
const gateNodes = 1_000
const retryMs = 1_000

export class Coordinator {
  readonly epoch: number
  private readonly options: CoordinatorOptions
  private readonly courses = new Map<string, Course>()
  private readonly lines = new Lines()
  private readonly dirty = new Set<string>()
  /** Configs whose newest rollout could not be looked for. */
  private readonly unpicked = new Set<string>()
  private readonly endTicks: () => void
  private looksSoon = false
  private stopped: 'closed' | 'fenced' | undefined

  private constructor(options: CoordinatorOptions, epoch: number) {
    this.options = options
    this.epoch = epoch
    this.endTicks = (options.turns ?? realTurns).every(options.tickMs ?? 250, () => this.tick())
    options.roster.observe((node) => this.noticed(node))
  }

  /** Takes over from whoever coordinated before, and goes on with what is under way. */
  static async start(options: CoordinatorOptions): Promise<Coordinator> {
    const { store } = options.domain
    const epoch = await store.transaction((tx) => tx.takeOver())
    const coordinator = new Coordinator(options, epoch)
    try {
      const open = await store.read((read) => read.rollouts.open())
      for (const config of new Set(open.map((rollout) => rollout.config))) await coordinator.published(config)
      return coordinator
    } catch (error) {
      // What was not recovered must not be gone on with: its ticks would.
      coordinator.stop('closed')
      throw error
    }
  }

  /** A release was published that may have a rollout. Resolves when that has begun, or stands in the queue. */
  async published(config: string): Promise<void> {
    try {
      await this.lines.inTurn(config, () => this.pick(config))
    } catch (error) {
      // The store may be back soon.
      if (this.stopped === undefined) this.unpicked.add(config)
      throw error
    }
  }

  /** Those under way, one for each config at most. */
  rollouts(): RolloutRecord[] {
    return [...this.courses.values()].map(({ record }) => record)
  }

  /** The rollout under way with its newest counts, or as it was left. */
  async rollout(config: string, number: number): Promise<RolloutRecord | undefined> {
    const course = this.courses.get(config)
    if (course?.record.number === number) return course.record
    return await this.options.domain.store.read((read) => read.rollouts.get(config, number))
  }

  /** How many nodes of each of its steps are how far; `undefined` if it is not under way. */
  steps(config: string, number: number): readonly Readonly<Tally>[] | undefined {
    const course = this.courses.get(config)
    return course?.record.number === number ? course.facts.bySteps() : undefined
  }

  /**
   * @param number of the release; `undefined`: the one under way.
   * @throws RefusedError `not-found`; `state` if it is not in a state for that. FencedError
   */
  async control(
    config: string,
    number: number | undefined,
    control: Control,
    wanting: Wanting,
  ): Promise<RolloutRecord> {
    return await this.lines.inTurn(config, async () => {
      if (this.stopped !== undefined) throw new RefusedError('busy', `this coordinator has stopped: ${this.stopped}`)
      await this.pick(config)
      const course = this.courses.get(config)
      if (course === undefined || (number !== undefined && course.record.number !== number)) {
        return await this.controlElsewhere(config, number, control, wanting)
      }
      requirePossible(course.record, control)
      if (control === 'abort' && course.record.state.phase === 'queued') {
        await this.follow(course, await this.giveUp(course.record, wanting), [{ kind: 'ended' }])
      } else await this.step(course, eventOf(control, wanting), wanting)
      return course.record
    })
  }

  async close(): Promise<void> {
    this.stop('closed')
    await this.lines.idle()
  }

  private stop(why: 'closed' | 'fenced'): void {
    this.stopped ??= why
    this.endTicks()
    for (const { gates } of this.courses.values()) gates.stop()
  }

  /** One that waits in the queue can be given up. */
  private async controlElsewhere(
    config: string,
    number: number | undefined,
    control: Control,
    wanting: Wanting,
  ): Promise<RolloutRecord> {
    const { store } = this.options.domain
    const found = number === undefined ? undefined : await store.read((read) => read.rollouts.get(config, number))
    if (found === undefined) {
      const which = number === undefined ? 'no rollout under way' : `no rollout of release ${number}`
      throw new RefusedError('not-found', `${config} has ${which}`)
    }
    requirePossible(found, control)
    if (control !== 'abort') throw new RefusedError('state', `the rollout of ${config} ${found.number} has not begun`)
    return await this.giveUp(found, wanting)
  }

  private async giveUp(found: RolloutRecord, wanting: Wanting): Promise<RolloutRecord> {
    const { record, event } = await giveUp(this.options.domain, found, wanting, (...on) => this.put(...on, wanting))
    this.options.onMoved?.(record, event)
    this.options.moved(record.config).catch(this.options.onProblem)
    return record
  }

  private later(config: string, work: () => Promise<void>): void {
    if (this.stopped !== undefined) return
    this.lines
      .inTurn(config, async () => {
        if (this.stopped === undefined) await work()
      })
      .catch((error: unknown) => this.trouble(error))
  }

  private trouble(error: unknown): void {
    if (error instanceof FencedError) this.stop('fenced')
    this.options.onProblem(error)
  }

  /** Sees to it that the oldest open rollout of the config is under way, unless a newer one takes its place. */
  private async pick(config: string): Promise<void> {
    while (this.stopped === undefined) {
      const open = await this.options.domain.store.read((read) => read.rollouts.open(config))
      const [first] = open
      if (first === undefined) {
        this.forget(config)
        return
      }
      let course = this.courses.get(config)
      if (course?.record.number !== first.number) {
        this.forget(config)
        course = this.courseOf(first)
        this.courses.set(config, course)
        await (first.state.phase === 'queued' ? this.begin(course) : this.recover(course))
        continue
      }
      const heir = open.findLast(
        ({ number, strategy }) =>
          number > first.number && (strategy.whenBusy === 'supersede' || course.record.state.phase === 'failed'),
      )
      const { phase, rollback } = course.record.state
      if (heir === undefined || (phase === 'rolling-back' && rollback === null)) return
      const reason = `release ${heir.number} takes its place`
      for (const record of open.filter(({ number }) => number > first.number && number < heir.number)) {
        const event: RolloutEvent = { kind: 'superseded', by: heir.number, reason }
        await this.write(this.after(record, next(asRollout(record), record.state, event)[0]), event)
      }
      await this.step(course, { kind: 'superseded', by: heir.number, reason })
    }
  }

  private courseOf(record: RolloutRecord): Course {
    const now = this.options.monotonicMs()
    const { gateOf, monotonicMs, onProblem } = this.options
    const gates = new GateWatch({
      gateOf,
      monotonicMs,
      onProblem,
      onAnswer: (step, gate, result) => this.later(record.config, () => this.answered(course, step, gate, result)),
    })
    const facts = this.factsOf(record)
    const course: Course = { record, facts, countedMs: now, savedMs: now, gates, retryRollbackMs: -Infinity }
    return course
  }

  private forget(config: string): void {
    this.courses.get(config)?.gates.stop()
    this.courses.delete(config)
  }

  private factsOf(record: RolloutRecord): Facts {
    const facts = new Facts(record, this.options.roster)
    for (const uid of this.options.roster.uids(record.config)) facts.look(uid)
    return facts
  }

  private async begin(course: Course): Promise<void> {
    await this.heedFreezes(course)
    const { config, number, strategy, state } = course.record
    // One that is held does not begin either; it is looked again with each tick.
    if (this.courses.get(config) !== course || state.pauses.length > 0) return
    const { roster, domain } = this.options
    const from = state.from ?? (await domain.store.read((read) => handedOver(read, config, number)))
    const nodes = roster.uids(config).flatMap((uid) => roster.node(uid) ?? [])
    const cuts = cutsOf(strategy.steps, nodes)
    course.facts = this.factsOf({ ...course.record, state: { ...state, cuts } })
    const phase = strategy.twoPhase ? 'preparing' : 'applying'
    const counts = course.facts.counts({ phase, step: 0 })
    await this.step(course, { kind: 'began', epoch: this.epoch, from, cuts, counts })
  }

  /** Holds it while a freeze lasts, and lets it go when that is over. */
  private async heedFreezes(course: Course): Promise<void> {
    const { domain } = this.options
    const { config } = course.record
    const freezes = await domain.store.read((read) => read.config(config)?.rollout?.freezes ?? [])
    const moves = freezeMoves(course.record, activeFreeze(freezes, domain.now()), author)
    for (const move of moves) await this.step(course, move, move)
  }

  private async recover(course: Course): Promise<void> {
    await this.step(course, { kind: 'recovered', epoch: this.epoch })
    await this.count(course)
  }

  /** One event, and what follows from it. */
  private async step(course: Course, event: RolloutEvent, wanting?: Wanting): Promise<void> {
    const before = course.record
    const [state, commands] = next(asRollout(before), before.state, event)
    if (state === before.state) return
    const record = this.after(before, state)
    if (isPlain(before.state, state) && wanting === undefined) {
      course.record = record
      return
    }
    await this.write(record, event, wanting)
    await this.follow(course, record, commands)
  }

  private async follow(course: Course, record: RolloutRecord, commands: readonly RolloutCommand[]): Promise<void> {
    const before = course.record.state
    course.record = record
    course.savedMs = this.options.monotonicMs()
    const { config, state } = record
    if (state.rollback?.number !== before.rollback?.number) course.facts = this.factsOf(record)
    this.options.moved(config).catch(this.options.onProblem)
    for (const command of commands) {
      if (command.kind === 'make-rollback') await this.rollBack(course, command.failure)
      else this.later(config, () => this.pick(config))
    }
    // Whoever waits behind one that has nothing to go back to takes its place.
    if (state.phase === 'failed' && before.phase !== 'failed') this.later(config, () => this.pick(config))
    // What is counted changes with the step.
    if (!hasEnded(state) && (state.step !== before.step || state.phase !== before.phase)) await this.count(course)
  }

  private after(before: RolloutRecord, state: RolloutState): RolloutRecord {
    return movedAt(this.options.domain.now().toISOString(), before, state)
  }

  private async write(record: RolloutRecord, event: RolloutEvent, wanting?: Wanting): Promise<void> {
    await this.options.domain.store.transaction((tx) => this.put(tx, record, event, wanting))
    this.options.onMoved?.(record, event)
  }

  private put(tx: StoreTx, record: RolloutRecord, event: RolloutEvent, wanting?: Wanting): void {
    const at = this.options.domain.now().toISOString()
    tx.rollouts.move(record, event, this.epoch, at)
    const entry = auditOf(record, event, wanting)
    if (entry !== undefined) tx.appendAudit({ at, actor: wanting?.by ?? author, config: record.config, ...entry })
  }

  private async rollBack(course: Course, failure: Failure): Promise<void> {
    const { domain, monotonicMs } = this.options
    const { config, number } = course.record
    let { record } = course
    try {
      await wayBack(domain, record, failure, (tx, made) => {
        const event: RolloutEvent = { kind: 'rollback-made', release: made }
        record = this.after(course.record, next(asRollout(course.record), course.record.state, event)[0])
        this.put(tx, record, event)
        // They were made on what has failed.
        for (const waiting of tx.rollouts.open(config)) {
          if (waiting.state.phase !== 'queued') continue
          const reason = `release ${number}, which it was made on, has failed`
          const given: RolloutEvent = { kind: 'superseded', by: made.number, reason }
          this.put(tx, this.after(waiting, next(asRollout(waiting), waiting.state, given)[0]), given)
        }
      })
    } catch (error) {
      if (error instanceof RefusedError && error.code !== 'busy') {
        await this.step(course, { kind: 'rollback-impossible', reason: error.message })
        return
      }
      // The store may be back soon: it is tried again with a later tick.
      course.retryRollbackMs = monotonicMs() + retryMs
      throw error
    }
    if (record.state.rollback) this.options.onMoved?.(record, { kind: 'rollback-made', release: record.state.rollback })
    await this.follow(course, record, [])
  }

  // What is seen, and what time brings

  private noticed({ uid, config }: NodeRecord): void {
    const course = this.courses.get(config)
    if (course === undefined || this.stopped !== undefined || !course.facts.look(uid)) return
    this.dirty.add(config)
    if (this.looksSoon) return
    this.looksSoon = true
    const { soon } = this.options.turns ?? realTurns
    soon(() => {
      this.looksSoon = false
      const configs = [...this.dirty]
      this.dirty.clear()
      for (const one of configs) this.later(one, () => this.countIn(one))
    })
  }

  private async countIn(config: string): Promise<void> {
    const course = this.courses.get(config)
    if (course !== undefined) await this.count(course)
  }

  private async count(course: Course): Promise<void> {
    await this.pass(course)
    if (this.courses.get(course.record.config) !== course) return
    await this.step(course, { kind: 'counted', counts: course.facts.counts(course.record.state) })
  }

  private async pass(course: Course): Promise<void> {
    const now = this.options.monotonicMs()
    const ms = Math.min(now - course.countedMs, longestTickMs)
    course.countedMs = now
    if (ms > 0) await this.step(course, { kind: 'elapsed', ms })
  }

  private async answered(course: Course, step: number, gate: string, { ok, noData, found }: GateResult): Promise<void> {
    if (this.courses.get(course.record.config) !== course || course.record.state.step !== step) return
    await this.pass(course)
    await this.step(course, { kind: 'gate', gate, ok, found, ...(noData && { noData }) })
  }

  private tick(): void {
    for (const config of new Set([...this.courses.keys(), ...this.unpicked])) {
      if (!this.lines.isBusy(config)) this.later(config, () => this.tickIn(config))
    }
  }

  private async tickIn(config: string): Promise<void> {
    const course = this.courses.get(config)
    if (course === undefined) {
      await this.pick(config)
      this.unpicked.delete(config)
      return
    }
    if (course.record.state.phase === 'queued') return await this.begin(course)
    await this.heedFreezes(course)
    await this.pass(course)
    if (this.courses.get(config) !== course || hasEnded(course.record.state)) return await this.pick(config)
    const now = this.options.monotonicMs()
    const { state } = course.record
    if (state.phase === 'rolling-back' && state.rollback === null && now >= course.retryRollbackMs && state.failure) {
      return await this.rollBack(course, state.failure)
    }
    course.gates.look(course.record, () => course.facts.uids(state.step, gateNodes))
    if (now - course.savedMs < saveMs || state.phase === 'failed') return
    course.savedMs = now
    const { record } = course
    const at = this.options.domain.now().toISOString()
    await this.options.domain.store.transaction((tx) => tx.rollouts.move(record, null, this.epoch, at))
  }
}
