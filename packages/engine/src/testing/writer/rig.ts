/** What the conformance suite of writers needs from whoever runs it. */
import type { Source } from '../../source.ts'
import type { Writer, WriterAbility } from '../../writers/writer.ts'

/** A server, or a place on one, for one case. */
export interface WriterRig {
  /** A new writer, through whatever `cutOff` cuts. Give it a time limit of a second or less. */
  newWriter(): Writer | Promise<Writer>
  /** The store's own name of the case's key `name`: `a`, `b`, `list/a`, steps parted by `/`. Names keep their beginnings. */
  key(name: string): string
  /** As another user does it, not through what `cutOff` cuts. Resolves when the server has taken it. */
  put(key: string, value: Uint8Array): Promise<void>
  get(key: string): Promise<Uint8Array | undefined>
  remove(key: string): Promise<void>
  /** A source that reads the document at a key, where there is one for this store. */
  newSource?(key: string): Source | Promise<Source>
  /** Connections between writer and server are cut, and new ones are refused until `letBack`. */
  cutOff?(): Promise<void>
  /** Nothing passes between writer and server, and nobody is told, until `letBack`. */
  silence?(): Promise<void>
  /** Ends `cutOff` and `silence`. */
  letBack?(): Promise<void>
  /** A writer with the password or token `of-nobody`. */
  wrongAuth?(): Writer | Promise<Writer>
  /** A writer that does not trust the server's certificate. */
  wrongTls?(): Writer | Promise<Writer>
  close(): Promise<void>
}

/** What a case may need, and a store or its rig may lack. */
export type WriterNeed = WriterAbility | 'source' | 'network' | 'silence' | 'auth' | 'tls'

export interface WriterFactory {
  /** A new place of its own for one case: nothing is written there. */
  open(): Promise<WriterRig>
  /** What this store or its rig cannot do, and why. What the writer `lacks` must stand here too. */
  readonly without?: Readonly<Partial<Record<WriterNeed, string>>>
  /** How many keys the case of many writes, default 1,200: more than one page of the store's answers. */
  readonly manyKeys?: number
}

export interface WriterCase {
  /** What is promised. */
  readonly name: string
  /** Why it is not asked of this writer. */
  readonly skip?: string
  run(): Promise<void>
}
