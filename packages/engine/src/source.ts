/**
 * What a source of configuration must do. The sources themselves are in `sources/`, one file each; what is done
 * with a document is `reload.ts`.
 */
import type { Issue, Origin } from './issue.ts'
import { issueText } from './issue.ts'
import type { Json, Path } from './json.ts'
import type { Outcome, PreparedReload } from './outcome.ts'
import type { ComponentSupport } from './status.ts'

/** Reads one whole document. Throws SourceError; never returns a part of one. */
export interface Source {
  readonly name: string
  /**
   * Must settle soon after `signal` aborts. The same document object, or the same subtrees, may be returned again
   * when nothing changed: the engine then compares references and does no further work.
   */
  load(signal: AbortSignal): Promise<Document>
  /** Called once, before the first load. For sources that tell others about the engine, or that others decide for. */
  attached?(engine: AttachedEngine): void
  /**
   * What became of the run for which `load` was called last; `undefined` if that was a dry run. For sources that tell
   * others about it. Must return at once.
   */
  settled?(outcome: Outcome | undefined): void
  /** The engine has closed, or could not start. For sources that hold something open between loads. */
  close?(): Promise<void>
  /**
   * Reads a secret by its reference again, for a start from the last good configuration, which holds only references.
   * Rejects if the reference is not one of its own: the next source is asked.
   */
  resolve?(reference: string, signal: AbortSignal): Promise<Json>
}

/** The engine that a source belongs to, as far as the source may ask of it. */
export interface AttachedEngine {
  /** What the components can take while they run. */
  readonly support: readonly ComponentSupport[]
  /**
   * Prepares a reload with `document` as this source's, and the others' loaded as usual. Waits for its turn; then no
   * reload runs until it is committed or rolled back. The source's own `settled` is not called for it.
   */
  prepare(document: Document): Promise<PreparedReload | Outcome>
  /** `text` without the secrets of what is live. */
  redact(text: string): string
}

/** One whole configuration as a source saw it at one moment. */
export interface Document {
  /** Plain JSON data. The engine freezes what it takes over: a source that keeps it must not change it. */
  readonly config: Json
  /**
   * Where the value at `path` (object keys and array indexes) was written. Worked out when asked for; a document before
   * the source's last two may no longer know.
   */
  readonly origin?: (path: Path) => Origin | undefined
  /** Where it was written in many pieces, such as keys: the path and the value of each. */
  readonly pieces?: () => Iterable<Piece>
  /** The values that came from a secret reference, and the reference, which is not secret: `${file:/run/secrets/x}`. */
  readonly secrets?: readonly SecretValue[]
  /** Files that the configuration only names. Another digest is a change of the value at `path`, though it is equal. */
  readonly named?: readonly NamedFile[]
}

export interface Piece {
  readonly path: readonly string[]
  readonly value: Json
}

export interface NamedFile {
  readonly path: Path
  /** Of the content; of all contents where the value is a pattern. */
  readonly digest: string
}

export interface SecretValue {
  readonly path: Path
  readonly reference: string
}

/** Why a source has no document. What is live stays live. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
  readonly issues: readonly Issue[]
  /** Worth another try soon: the server is away, the file is being written. A syntax error is not. */
  readonly transient: boolean

  constructor(issues: readonly Issue[], options: { transient?: boolean; cause?: unknown } = {}) {
    super(issues.map(issueText).join('\n'), options.cause === undefined ? {} : { cause: options.cause })
    this.issues = issues
    this.transient = options.transient ?? false
  }
}
