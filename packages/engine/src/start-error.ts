/** Why an engine could not start: nothing runs, and nothing was left open. */
import type { Outcome } from './outcome.ts'
import { outcomeText } from './outcome.ts'
import { issueText } from './issue.ts'

export class StartError extends Error {
  override readonly name = 'StartError'
  declare readonly outcome: Outcome

  constructor(outcome: Outcome, tried: readonly string[]) {
    const issues = outcome.kind === 'rejected' ? outcome.issues.map((issue) => `\n  ${issueText(issue)}`).join('') : ''
    const also = tried.map((line) => `\n  ${line}`).join('')
    super(`cannot start: ${text(outcome)}${issues}${also}`)
    // Not enumerable: Node prints an error that nobody caught with all that can be enumerated, and the message says it.
    Object.defineProperty(this, 'outcome', { value: outcome })
  }
}

/** As `outcomeText`, where nothing was live before. */
function text(outcome: Outcome): string {
  if (outcome.kind === 'rejected') return `rejected in ${outcome.phase}`
  if (outcome.kind === 'rolled-back') return `${outcome.failed} failed in ${outcome.phase}: ${outcome.cause}`
  return outcomeText(outcome)
}
