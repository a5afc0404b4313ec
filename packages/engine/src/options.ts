/** What an engine is given and what it gives: the shapes of `start()`. How it works is `engine.ts`. */
import type { Component, Deadlines } from './component.ts'
import type { Frozen } from './components-for.ts'
import type { Journal } from './event.ts'
import type { Json } from './json.ts'
import type { Logger } from './logger.ts'
import type { Notification } from './notify.ts'
import type { Outcome, PlanOutcome, PreparedReload } from './outcome.ts'
import type { Retries } from './settings.ts'
import type { AnySchema, ConfigOf, PathOf, ValueAt } from './schema.ts'
import type { Limits } from './snapshot.ts'
import type { Source } from './source.ts'
import type { ComponentSupport, Stats, Status } from './status.ts'
import type { Endpoint, Trigger } from './trigger.ts'

export interface StartOptions<S extends AnySchema> {
  /** Any Standard Schema (zod, valibot, arktype, …) or `jsonSchema(…)`. */
  readonly schema: S
  /** Merged in this order: later ones win. */
  readonly sources: readonly Source[]
  /** What asks for reloads; sources that can watch do so without being named here. */
  readonly triggers?: readonly Trigger[]
  /** Doors to the running engine: admin HTTP, gRPC, systemd. */
  readonly endpoints?: readonly Endpoint[]
  readonly components?: readonly Component[]
  /** What becomes of a reload that holds restart-only changes: refused as a whole, or those are held and the rest applies. */
  readonly restartPolicy?: 'refuse' | 'hold'
  /** Where the last good configuration and the journal are kept (made with mode 0700). Without it neither is. One for each process. */
  readonly stateDir?: string
  /** What to start from when neither the sources nor the last good have a usable configuration. */
  readonly bundled?: ConfigOf<S>
  /** Dotted paths, `*` for one step, of values that are never shown; those that the schema marks are known. */
  readonly secrets?: readonly string[]
  /** Keys that the schema does not know and its validator drops silently. */
  readonly unknownKeys?: 'refuse' | 'allow'
  readonly deadlines?: Partial<Deadlines>
  readonly retries?: Partial<Retries>
  readonly limits?: Partial<Limits>
  readonly notify?: readonly Notification[]
  /** Where outcomes and warnings are written, a line each. Standard error by default; `false` for nowhere. */
  readonly logger?: Logger | false
}

export interface Engine<C> {
  /** The live configuration: one frozen version. Take it once per request and read from that. */
  readonly live: Frozen<C>
  /** Asks for a reload; resolves with the outcome of the run that covers this call. */
  reload(options?: { readonly force?: boolean }): Promise<Outcome>
  /** Dry run: everything up to and including `prepare`, then abort. */
  plan(): Promise<PlanOutcome>
  /**
   * Prepares a given configuration instead of the sources', for a commit that others decide on. Takes `config` over:
   * it must not be changed afterwards.
   */
  prepare(config: Json): Promise<PreparedReload | Outcome>
  /** Calls `listener` after each commit that changed the value at `path`. Returns how to stop that. */
  watch<const P extends PathOf<C>>(
    path: P,
    listener: (next: Frozen<ValueAt<C, P>>, before: Frozen<ValueAt<C, P>>) => void,
  ): () => void
  readonly events: Journal
  stats(): Stats
  /** What each component can take while it runs. */
  support(): readonly ComponentSupport[]
  status(): Status
  /** OpenMetrics text. */
  metrics(): string
  /** The addresses of the open endpoints, by name. */
  readonly addresses: Readonly<Record<string, string>>
  /** Ends triggers and endpoints, lets a running commit finish, closes the components in reverse order. */
  close(): Promise<void>
}
