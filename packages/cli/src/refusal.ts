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
  | 'not-found' // a config, release, draft or token that is not there, or may not be seen
  | 'conflict' // somebody else was first: the head is another one
  | 'busy' // not now; whether it happened may not be known
  | 'invalid' // the content is not what schema and rules want
  | 'signal' // the process cannot be signalled
  | 'unsupported' // this Node cannot do it
  | 'internal' // a bug

export interface RefusedPlace {
  /** Dotted. */
  readonly path: string
  readonly message: string
}

/** Thrown by commands, printed by `main.ts`; never shown with a stack. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RefusalCode
  /** What would mend it. */
  readonly hint: string | undefined
  /** What is wrong, place by place. */
  readonly issues: readonly RefusedPlace[]

  constructor(code: RefusalCode, message: string, hint?: string, issues: readonly RefusedPlace[] = []) {
    super(message)
    this.code = code
    this.hint = hint
    this.issues = issues
  }
}
