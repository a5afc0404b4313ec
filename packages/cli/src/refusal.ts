/** Why a command cannot do what was asked: one line for people, a stable word for programs, and what would help. */

export type RefusalCode =
  | 'usage' // what was typed makes no sense
  | 'unreadable' // a file that was named cannot be used
  | 'schema' // the schema itself is wrong
  | 'unreachable' // nothing answers, or not in time
  | 'unauthorized' // a token is needed, or is not the right one
  | 'forbidden' // the other side does not let anybody do this, or not from here
  | 'not-midflight' // something answers, but not as an admin endpoint does
  | 'refused' // the other side says no
  | 'signal' // the process cannot be signalled
  | 'unsupported' // this Node cannot do it
  | 'internal' // a bug

/** Thrown by commands, printed by `main.ts`; never shown with a stack. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RefusalCode
  /** What would mend it. */
  readonly hint: string | undefined

  constructor(code: RefusalCode, message: string, hint?: string) {
    super(message)
    this.code = code
    this.hint = hint
  }
}
