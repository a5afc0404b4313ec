/** What the conformance suite of sources needs from whoever runs it, and how a case drives a source. */
import type { Source } from '../../source.ts'

export type Key = string

/**
 * Where a source is to read. `key`: one key holds the document, as JSON. `prefix`: each key below it is a path
 * (`a`, `b/c`), and each value is JSON.
 */
export interface SourceAt {
  readonly mode: 'key' | 'prefix'
  /** To be given to the source where it has a limit. */
  readonly maxBytes?: number
}

/** A server, or a place on one, for one case. Keys are those of the case: `doc` in mode `key`, `a`, `b/c` below the prefix. */
export interface SourceRig {
  /**
   * A new source that reads this place through whatever `cutOff` cuts. Give it short waits (`retry: { maxMs: 200 }`,
   * keepalive, polls): cases wait for what must come, and end when it has.
   */
  newSource(at: SourceAt): Source | Promise<Source>
  /** Resolves when the server has taken it. Not through what `cutOff` cuts. */
  write(key: Key, value: string | Uint8Array): Promise<void>
  /** As a user removes one key. */
  remove(key: Key): Promise<void>
  /** Everything goes, or cannot be seen any more, without a removal that a source could see: 404, emptied, no permission. */
  loseAll?(): Promise<void>
  /** Connections between source and server are cut, and new ones are refused until `letBack`. */
  cutOff?(): Promise<void>
  /** Nothing passes between source and server, and nobody is told (a half-open connection), until `letBack`. */
  silence?(): Promise<void>
  /** Answers come a few bytes at a time, or not to their end, until `letBack`. */
  drip?(): Promise<void>
  /** Ends `cutOff`, `silence` and `drip`. */
  letBack?(): Promise<void>
  /** The server process ends, and keeps its data. */
  stopServer?(): Promise<void>
  startServer?(): Promise<void>
  /** The server forgets what was before now: compaction, a short history, an index that starts over. */
  compact?(): Promise<void>
  /** A source with a wrong password or token, and how often the server was asked by it. */
  wrongAuth?(): Promise<Attempted>
  /** A source that does not trust the server's certificate. */
  wrongTls?(): Promise<Attempted>
  /** Connections from the source, where the server can tell. */
  connections?(): number
  close(): Promise<void>
}

export interface Attempted {
  readonly source: Source
  attempts(): number
}

/** What a case may need and a source may lack. */
export type Ability =
  | 'key' // one key holds the document
  | 'prefix' // keys become a tree
  | 'removal' // a removal can be seen and told from absence
  | 'raw' // values are bytes, so that they can be other than UTF-8
  | 'maxBytes'
  | 'watch' // asks for reloads by itself
  | 'loseAll'
  | 'network' // cutOff, letBack
  | 'silence'
  | 'drip'
  | 'restart' // stopServer, startServer
  | 'compact'
  | 'auth'
  | 'tls'

export interface SourceFactory {
  /** A new place of its own for one case: a server, or a fresh prefix on a running one. Nothing is written there. */
  open(): Promise<SourceRig>
  /** What this source or this server cannot do, and why. A case that needs it is skipped with the reason. */
  readonly without?: Readonly<Partial<Record<Ability, string>>>
  /** How long whatever must come may take, milliseconds, default 15,000. */
  readonly deadlineMs?: number
}

export interface SourceCase {
  /** What is promised. */
  readonly name: string
  /** Why it is not asked of this source. */
  readonly skip?: string
  run(): Promise<void>
}
