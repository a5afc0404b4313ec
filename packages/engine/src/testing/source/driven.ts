/** One place and the engines that run on it: what the cases of the suite are written with. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { start } from '../../engine.ts'
import type { Json, JsonObject } from '../../json.ts'
import type { Engine } from '../../options.ts'
import type { Outcome } from '../../outcome.ts'
import type { StandardSchemaV1 } from '../../schema/types.ts'
import type { Source } from '../../source.ts'
import { isTrigger } from '../../trigger.ts'
import { scripted, type ScriptedComponent } from '../scripted.ts'
import type { SourceAt, SourceRig } from './rig.ts'

/** Takes everything: what a document must look like is not a source's business. */
const anything: StandardSchemaV1<unknown, Json> = {
  '~standard': { version: 1, vendor: 'midflight', validate: (value) => ({ value: value as Json }) },
}

export interface Driven {
  readonly engine: Engine<Json>
  readonly source: Source
  readonly a: ScriptedComponent
  readonly b: ScriptedComponent
  /** Of reloads, oldest first, that of the start included. */
  readonly outcomes: readonly Outcome[]
  /** What was said: warnings, and what was wrong with refused reloads. */
  said(): string
  /** Until it is live. */
  reaches(config: Json): Promise<void>
}

export class Place {
  readonly rig: SourceRig
  readonly deadlineMs: number
  readonly #mode: SourceAt['mode']
  readonly #engines: Engine<Json>[] = []
  readonly #folders: string[] = []
  readonly #sources: Source[] = []
  #written: JsonObject = {}

  constructor(rig: SourceRig, mode: SourceAt['mode'], deadlineMs: number) {
    this.rig = rig
    this.#mode = mode
    this.deadlineMs = deadlineMs
  }

  /** Makes `config` what the place holds: by one key, or by as many as its entries, with removals. */
  async put(config: JsonObject): Promise<void> {
    const before = this.#written
    this.#written = config
    if (this.#mode === 'key') return this.rig.write('doc', JSON.stringify(config))
    for (const [key, value] of Object.entries(config)) {
      if (!isDeepStrictEqual(before[key], value)) await this.rig.write(key, JSON.stringify(value))
    }
    for (const key of Object.keys(before)) if (!Object.hasOwn(config, key)) await this.rig.remove(key)
  }

  /** The key that holds `a`. */
  get keyOfA(): string {
    return this.#mode === 'key' ? 'doc' : 'a'
  }

  /** Writes it again as it is. */
  async putAgain(): Promise<void> {
    const entries = Object.entries(this.#written)
    if (this.#mode === 'key') return this.rig.write('doc', JSON.stringify(this.#written))
    for (const [key, value] of entries) await this.rig.write(key, JSON.stringify(value))
  }

  async source(at: Partial<SourceAt> = {}): Promise<Source> {
    const source = await this.rig.newSource({ mode: this.#mode, ...at })
    this.#sources.push(source)
    return source
  }

  async start(options: { stateDir?: string; at?: Partial<SourceAt>; source?: Source } = {}): Promise<Driven> {
    const source = options.source ?? (await this.source(options.at))
    const a = scripted('a')
    const b = scripted('b')
    const outcomes: Outcome[] = []
    const said: string[] = []
    const engine: Engine<Json> = await start({
      schema: anything,
      sources: [source],
      components: [a, b],
      logger: {
        info: (message) => void said.push(message),
        warn: (message) => void said.push(message),
        error: (message) => void said.push(message),
      },
      retries: { limit: 1, firstMs: 10, maxMs: 50 },
      ...(options.stateDir !== undefined && { stateDir: options.stateDir }),
    })
    this.#engines.push(engine)
    for (const event of engine.events.recent()) if (event.kind === 'reload') outcomes.push(event.outcome)
    engine.events.subscribe((event) => {
      if (event.kind === 'reload') outcomes.push(event.outcome)
    })
    return {
      engine,
      source,
      a,
      b,
      outcomes,
      said: () => said.join('\n'),
      reaches: (config) =>
        this.until(
          () => {
            if (!isTrigger(source)) void engine.reload()
            return isDeepStrictEqual(engine.live, config)
          },
          () =>
            `${JSON.stringify(config)} is not live but ${JSON.stringify(engine.live)}; it said:\n${said.join('\n')}`,
        ),
    }
  }

  /** Waits until it holds; past the deadline the case has failed. */
  async until(holds: () => boolean, otherwise: () => string): Promise<void> {
    const lastAt = performance.now() + this.deadlineMs
    while (!holds()) {
      if (performance.now() > lastAt) assert.fail(`after ${this.deadlineMs} ms: ${otherwise()}`)
      await sleep(5)
    }
  }

  async newFolder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'midflight-source-'))
    this.#folders.push(folder)
    return folder
  }

  async close(): Promise<void> {
    for (const engine of this.#engines) await engine.close()
    for (const source of this.#sources) await source.close?.()
    await this.rig.close()
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true })
  }
}
