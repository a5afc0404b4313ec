/**
 * Starting and closing an engine, and who waits for whom: one reload at a time, requests that come during one are
 * covered together by the next, and everyone learns the outcome of the run that covers his request (I13).
 * What a reload does is `reload.ts`; how the first configuration is found is `first.ts`.
 */
import { join } from 'node:path'
import { coreStatus, supportOf } from './support.ts'
import type { Frozen } from './components-for.ts'
import { errorText, within } from './deadline.ts'
import { paced } from './debounce.ts'
import { digest } from './digest.ts'
import type { Event } from './event.ts'
import { firstConfiguration, type First } from './first.ts'
import { apart, watching } from './asking.ts'
import { openJournal, type OpenJournal } from './journal.ts'
import { issueText } from './issue.ts'
import { parsePath, type Json } from './json.ts'
import { lastGoodIn } from './last-good.ts'
import { tellSources, type Instead } from './load.ts'
import { ReloadMetrics } from './metrics.ts'
import { Notifier } from './notify.ts'
import { harmless, standardError, type Logger } from './logger.ts'
import type { Engine, StartOptions } from './options.ts'
import { outcomeText, succeeded, type Outcome, type PlanOutcome, type PreparedReload } from './outcome.ts'
import { ordered } from './plan.ts'
import { prepare } from './prepared.ts'
import { abort, commit, dressed, plan, reload, stage } from './reload.ts'
import type { Core, Ended, Given, Live, Run } from './reload.ts'
import { compile, type AnySchema, type ConfigOf, type PathOf, type ValueAt } from './schema.ts'
import { redactorFor } from './secrets.ts'
import { settingsOf } from './settings.ts'
import type { AttachedEngine, Source } from './source.ts'
import { ReloadStats } from './stats.ts'
import type { ComponentSupport, Stats, Status } from './status.ts'
import type { ComponentState } from './transaction.ts'
import type { Lifecycle, OpenEndpoint, ReloadRequest, Trigger } from './trigger.ts'
import { Watchers } from './watchers.ts'

const pace = { firstMs: 0, growth: 2, maxMs: 2_000 }
const closeMs = 10_000
/** How many issues of a refused configuration are logged; the outcome has them all. */
const maxLogged = 20

/**
 * Loads the first configuration, brings every component to it, and keeps it up to date from then on.
 * @throws StartError if there is no usable configuration or a component cannot take it; TypeError for a component
 *   named twice or an `after` that names nobody.
 */
export async function start<S extends AnySchema>(options: StartOptions<S>): Promise<Engine<ConfigOf<S>>> {
  const validator = await compile(options.schema, { unknownKeys: options.unknownKeys ?? 'refuse' })
  const components = ordered(options.components ?? [])
  const logger = options.logger === false ? undefined : harmless(options.logger ?? standardError)
  const warnings = new Map<string, string>()
  const journal = await openJournal({
    ...(options.stateDir !== undefined && { file: join(options.stateDir, 'events.jsonl') }),
    onWarning: (message) => logger?.warn(message),
  })
  const engine = new RunningEngine<ConfigOf<S>>(options, journal, logger, warnings, {
    sources: options.sources,
    validator,
    components,
    keys: { ...validator.keys, ...Object.assign({}, ...components.map((c) => c.keys ?? {})) },
    secretPatterns: [...validator.secretPaths, ...(options.secrets ?? [])],
    ...settingsOf(options),
    restartPolicy: options.restartPolicy ?? 'refuse',
    lastGood: options.stateDir === undefined ? undefined : lastGoodIn(options.stateDir),
  })
  try {
    await engine.begin(options)
    return engine
  } catch (error) {
    await engine.close()
    throw error
  }
}

interface Batch {
  readonly requests: ReloadRequest[]
  readonly outcome: Promise<Outcome>
}

type Begun = Omit<Core, 'states' | 'closing' | 'record' | 'swap' | 'live' | 'attempted' | 'pendingRestart'>

class RunningEngine<C> implements Engine<C> {
  live = undefined as unknown as Frozen<C>
  readonly events: OpenJournal
  readonly #core: Core
  readonly #closing = new AbortController()
  readonly #stats = new ReloadStats()
  readonly #metrics = new ReloadMetrics()
  readonly #notifier: Notifier
  readonly #logger: Logger | undefined
  readonly #warnings: Map<string, string>
  readonly #triggers: readonly Trigger[]
  readonly #endpoints: { readonly name: string; readonly open: OpenEndpoint }[] = []
  readonly #watchers = new Watchers()
  readonly #listening: Promise<void>[] = []
  readonly #startedAt = new Date()
  #first: First | undefined
  #lastOutcome: Outcome | undefined
  #digested: Json | undefined
  #next: Batch | undefined
  #superseding = new AbortController()
  #turn: Promise<unknown> = Promise.resolve()
  #running = false
  #runs = 0
  #closed: Promise<void> | undefined

  constructor(
    options: StartOptions<AnySchema>,
    journal: OpenJournal,
    logger: Logger | undefined,
    warnings: Map<string, string>,
    given: Begun,
  ) {
    this.events = journal
    this.#logger = logger
    this.#warnings = warnings
    this.#triggers = [...watching(options.sources), ...apart(options)]
    this.#notifier = new Notifier(options.notify ?? [], (message) => this.#warn('notify', message))
    const states = new Map<string, ComponentState>()
    for (const component of given.components)
      states.set(component.name, { runs: 'live', unreturned: 0, lastError: undefined })
    this.#core = {
      ...given,
      states,
      closing: this.#closing.signal,
      record: (event) => {
        if (event.kind === 'warning') this.#logger?.warn(event.message)
        if (event.kind === 'late')
          this.#logger?.warn(`${event.component}'s ${event.phase} returned after its deadline: ${event.result}`)
        journal.append(event)
      },
      swap: (live) => this.#swap(live),
      live: undefined,
      attempted: undefined,
      pendingRestart: [],
    }
  }

  async begin(options: StartOptions<AnySchema>): Promise<void> {
    // Before anything else: a SIGHUP that comes early must not end the process.
    for (const trigger of apart(options)) this.#listening.push(this.#listen(trigger))
    for (const source of options.sources) source.attached?.(this.#attachedTo(source))
    const run = this.#newRun([{ trigger: 'start' }])
    this.#first = await this.#exclusive(() => firstConfiguration(this.#core, run, options.bundled as Json | undefined))
    const { from, outcomes, ageMs, reason } = this.#first
    for (const outcome of outcomes) this.#settled(outcome)
    if (reason !== undefined)
      this.#warn(
        'start',
        `started from ${from}${ageMs === undefined ? '' : `, ${Math.round(ageMs / 1000)} s old`}: ${reason}`,
      )
    this.events.append({
      kind: 'started',
      from,
      ...(ageMs !== undefined && { ageMs }),
      ...(reason !== undefined && { reason }),
    })
    for (const trigger of watching(options.sources)) this.#listening.push(this.#listen(trigger))
    for (const endpoint of options.endpoints ?? []) {
      this.#endpoints.push({ name: endpoint.name, open: await endpoint.open(this.#lifecycle()) })
    }
  }

  reload(options: { readonly force?: boolean } = {}): Promise<Outcome> {
    return this.#request({ trigger: 'call', ...(options.force && { force: true }) })
  }

  plan(): Promise<PlanOutcome> {
    return this.#plan({ trigger: 'call' })
  }

  prepare(config: Json): Promise<PreparedReload | Outcome> {
    return this.#prepare({ kind: 'documents', documents: [{ config }], save: true })
  }

  watch<const P extends PathOf<C>>(
    path: P,
    listener: (next: Frozen<ValueAt<C, P>>, before: Frozen<ValueAt<C, P>>) => void,
  ): () => void {
    return this.#watchers.add(parsePath(path), listener)
  }

  stats(): Stats {
    return this.#stats.snapshot()
  }

  support(): readonly ComponentSupport[] {
    return this.#core.components.map((component) => supportOf(component, this.#core.validator.restartPaths))
  }

  status(): Status {
    return {
      ...coreStatus(this.#core, this.#startedAt, (config) => this.#digestOf(config)),
      state: this.#closed ? 'closed' : this.#running ? 'reloading' : 'running',
      startedFrom: this.#first?.from ?? 'sources',
      ...(this.#lastOutcome && { lastOutcome: this.#lastOutcome }),
      pendingRequests: this.#next?.requests.length ?? 0,
      triggers: this.#triggers.map((trigger) => trigger.name),
      warnings: [...this.#warnings.values()],
      stats: this.stats(),
    }
  }

  metrics(): string {
    const { live, states, pendingRestart } = this.#core
    return this.#metrics.text({
      pending: this.#next?.requests.length ?? 0,
      liveDigest: this.#digestOf(live?.config),
      committedAt: live?.committedAt,
      healthy: [...states.values()].every((state) => state.runs === 'live'),
      pendingRestart: pendingRestart.length,
    })
  }

  get addresses(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#endpoints.map(({ name, open }) => [name, open.address]))
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close() {
    this.#closing.abort()
    const errors: unknown[] = []
    const end = async (what: string, work: () => Promise<void> | undefined) => {
      await within(closeMs, undefined, work).catch((error: unknown) =>
        errors.push(new Error(`${what}: ${errorText(error)}`)),
      )
    }
    await end('triggers', async () => void (await Promise.all(this.#listening)))
    await this.#turn
    for (const { name, open } of this.#endpoints) await end(name, () => open.close())
    if (this.#core.live)
      for (const component of [...this.#core.components].reverse()) await end(component.name, () => component.close?.())
    for (const source of this.#core.sources) await end(source.name, () => source.close?.())
    await end('notifications', () => this.#notifier.close(closeMs))
    this.events.append({ kind: 'closed' })
    await end('journal', () => this.events.close())
    for (const error of errors) this.#logger?.error(this.#covered(`could not close ${errorText(error)}`))
  }

  #request(request: ReloadRequest): Promise<Outcome> {
    if (this.#next) this.#next.requests.push(request)
    else {
      const requests = [request]
      const outcome = this.#exclusive(async () => {
        this.#next = undefined
        if (this.#superseding.signal.aborted) this.#superseding = new AbortController()
        const run = this.#newRun(requests)
        this.events.append({ kind: 'reload-began', run: run.number, triggers: run.triggers })
        const ended = this.#closing.signal.aborted
          ? dressed(this.#core, run, { kind: 'closed' })
          : await reload(this.#core, run)
        return this.#settled(ended)
      })
      this.#next = { requests, outcome }
    }
    // With a reason, or an exception with its stack would be made of it, for each request and for nobody.
    if (this.#running) this.#superseding.abort('a newer request')
    return this.#next.outcome
  }

  #plan(request: ReloadRequest): Promise<PlanOutcome> {
    return this.#exclusive(() => plan(this.#core, this.#newRun([request])))
  }

  #prepare(given: Given | Instead): Promise<PreparedReload | Outcome> {
    return new Promise((resolve, reject) => {
      this.#exclusive(async () => {
        const run = this.#newRun([{ trigger: 'prepare' }])
        const end = ({ ended }: Ended) => {
          const outcome = this.#settled(dressed(this.#core, run, ended))
          if (given.kind === 'instead') {
            const others = this.#core.sources.filter((source) => source !== given.source)
            tellSources(others, outcome, (message) => this.#warn('source', message))
          }
          return outcome
        }
        const staged = await stage(this.#core, run, given)
        if ('ended' in staged) return resolve(end(staged))
        const { prepared, settled } = prepare(
          { plan: staged.plan(), digest: this.#digestOf(staged.live.config) },
          async () => end(await commit(this.#core, staged)),
          async () => end(await abort(this.#core, staged)),
          this.#closing.signal,
        )
        resolve(prepared)
        await settled
      }).catch(reject)
    })
  }

  #attachedTo(source: Source): AttachedEngine {
    return {
      support: this.support(),
      prepare: (document) => this.#prepare({ kind: 'instead', source, document }),
      redact: (text) => this.#covered(text),
    }
  }

  /** One at a time, in the order of the calls. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(async () => {
      this.#running = true
      return work()
    })
    const over = () => (this.#running = false)
    this.#turn = turn.then(over, over)
    return turn
  }

  #newRun(requests: readonly ReloadRequest[]): Run {
    return {
      number: ++this.#runs,
      triggers: [...new Set(requests.map((r) => r.trigger))],
      force: requests.some((r) => r.force === true),
      superseded: this.#superseding.signal,
      startedAt: new Date(),
      began: performance.now(),
      durationsMs: {},
      retries: 0,
    }
  }

  #swap(live: Live) {
    const before = this.#core.live
    this.#core.live = live
    this.live = live.config as Frozen<C>
    if (before === undefined) return
    this.#watchers.tell(live.config, before.config, (message) =>
      // A listener is given the old value as well, with secrets that are no longer live.
      this.#warn('watch', redactorFor(this.#core, before.merged).text(message)),
    )
  }

  #settled(outcome: Outcome): Outcome {
    this.#lastOutcome = outcome
    this.#stats.record(outcome)
    this.#metrics.record(outcome)
    const event = this.events.append({ kind: 'reload', outcome })
    this.#notifier.reload(event as Extract<Event, { kind: 'reload' }>)
    const issues =
      outcome.kind === 'rejected' ? outcome.issues.slice(0, maxLogged).map((issue) => `\n  ${issueText(issue)}`) : []
    const line = `reload ${outcome.run} (${outcome.triggers.join(', ')}) ${outcomeText(outcome)}${issues.join('')}`
    if (succeeded(outcome)) this.#logger?.info(line)
    else this.#logger?.error(line)
    return outcome
  }

  async #listen(trigger: Trigger) {
    const { signal } = this.#closing
    const warn = (message: string) => this.#warn(trigger.name, message)
    try {
      for await (const request of paced(trigger.requests(signal, warn), pace, signal)) {
        this.#request(request).catch((error: unknown) =>
          warn(`a reload ended with an internal error: ${errorText(error)}`),
        )
      }
    } catch (error) {
      if (!signal.aborted) warn(`trigger ${trigger.name} has ended and asks no more: ${errorText(error)}`)
    }
  }

  /** Worked out when asked for, and then in proportion to what changed since it was last asked for. */
  #digestOf(config: Json | undefined): string {
    if (config === undefined) return ''
    const text = digest(config, this.#digested)
    this.#digested = config
    return text
  }

  /** Without what is secret in what is live. */
  #covered(text: string): string {
    return redactorFor(this.#core, this.#core.live?.merged).text(text)
  }

  #warn(about: string, message: string) {
    const text = this.#covered(message)
    this.#warnings.set(about, text)
    this.#core.record({ kind: 'warning', about, message: text })
  }

  #lifecycle(): Lifecycle {
    return {
      reload: (request) => this.#request(request),
      plan: (request) => this.#plan(request),
      status: () => this.status(),
      config: () => {
        const { live } = this.#core
        return live ? redactorFor(this.#core, live.merged).value([], live.config) : null
      },
      events: this.events,
      metrics: () => this.metrics(),
    }
  }
}
