/**
 * What may ask for a reload, and what may look at a running engine from outside. A trigger carries no data: it says
 * "look again". An endpoint (HTTP, gRPC, systemd) is a door through which others ask; it sees the engine only as
 * `Lifecycle`. The doors themselves are in `triggers/`.
 */
import type { Event, Journal } from './event.ts'
import type { Json } from './json.ts'
import type { Outcome, PlanOutcome } from './outcome.ts'
import type { Status } from './status.ts'

export interface ReloadRequest {
  /** Who asks, as metrics and events show it: `signal`, `file`, `http`, `call`. Few distinct values. */
  readonly trigger: string
  /** Reload although nothing changed: every component is prepared and committed again. */
  readonly force?: boolean
}

/** Says "look again", and carries no data. A source that can watch is a Trigger too. */
export interface Trigger {
  readonly name: string
  /**
   * Ends when `signal` aborts, and then holds no handle open. Throws only when it can never ask again.
   * @param onWarning told when it works worse than it should, such as polling because watches have run out.
   */
  requests(signal: AbortSignal, onWarning?: (message: string) => void): AsyncIterable<ReloadRequest>
}

export function isTrigger(source: object): source is Trigger {
  return 'requests' in source && typeof source.requests === 'function'
}

/** What a door may ask of the engine. Everything that comes out of it is already redacted. */
export interface Lifecycle {
  /** Resolves with the outcome of the run that covers this request, never before. */
  reload(request: ReloadRequest): Promise<Outcome>
  /** Dry run: everything up to and including `prepare`, then abort. */
  plan(request: ReloadRequest): Promise<PlanOutcome>
  status(): Status
  /** The live configuration, secrets shown as `‹secret›`. */
  config(): Json
  readonly events: Journal
  /** OpenMetrics text, ending in `# EOF`. */
  metrics(): string
}

/** A door to a running engine: an HTTP or gRPC server, systemd's notify socket. */
export interface Endpoint {
  readonly name: string
  /** Opens after the first configuration is live. Rejects if it cannot be opened, which fails the start. */
  open(lifecycle: Lifecycle): Promise<OpenEndpoint>
}

export interface OpenEndpoint {
  /** Where it can be reached, for people: `http://127.0.0.1:9901`. */
  readonly address: string
  close(): Promise<void>
}

export type { Event }
