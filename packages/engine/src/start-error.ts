/** Why an engine could not start: nothing runs, and nothing was left open. */
import type { Outcome } from './outcome.ts'
import { outcomeText } from './outcome.ts'
import { issueText } from './issue.ts'

export class StartError extends Error {
  override readonly name = 'StartError'
  readonly outcome: Outcome

  constructor(outcome: Outcome, tried: readonly string[]) {
    const issues = outcome.kind === 'rejected' ? outcome.issues.map((issue) => `\n  ${issueText(issue)}`).join('') : ''
    const also = tried.map((line) => `\n  ${line}`).join('')
    super(`cannot start: ${outcomeText(outcome)}${issues}${also}`)
    this.outcome = outcome
  }
}
