/** What a node says of itself, and how that follows from an engine's outcome. Browser-safe. */
import { issueText } from '../issue.ts'
import { outcomeText, type Outcome } from '../outcome.ts'
import { oneOf, type Of } from './shape.ts'

/**
 * `UNSET`: nothing yet. `RECEIVED`: verified, not yet tried. `PREPARED`: ready for a commit that others decide on.
 * `APPLYING`: being tried. `APPLIED`: in use. `FAILED`: refused, nothing was touched. `ROLLED_BACK`: tried, and the
 * old is in use. `RESTART_REQUIRED`: it cannot be applied, or not all of it, while the process runs. `DEGRADED`: nobody
 * can say what is in use.
 */
export const nodeStatus = oneOf(
  'UNSET',
  'RECEIVED',
  'PREPARED',
  'APPLYING',
  'APPLIED',
  'FAILED',
  'ROLLED_BACK',
  'RESTART_REQUIRED',
  'DEGRADED',
)
export type NodeStatus = Of<typeof nodeStatus>

/** The statuses that a report ends with: no other will follow for this attempt. */
export type FinalStatus = Exclude<NodeStatus, 'UNSET' | 'RECEIVED' | 'PREPARED' | 'APPLYING'>

export const maxDetailLength = 4096

/** `undefined` for `closed`: nothing was tried. Held-back changes (policy `hold`) count as `RESTART_REQUIRED`. */
export function statusOf(outcome: Outcome): FinalStatus | undefined {
  switch (outcome.kind) {
    case 'committed':
    case 'unchanged':
      return outcome.pendingRestart.length > 0 ? 'RESTART_REQUIRED' : 'APPLIED'
    case 'rejected':
      return 'FAILED'
    case 'restart-required':
      return 'RESTART_REQUIRED'
    case 'rolled-back':
      return 'ROLLED_BACK'
    case 'degraded':
      return 'DEGRADED'
    case 'closed':
      return undefined
  }
}

/** Why it did not simply become live, at most `maxDetailLength` characters; `undefined` if it did. Redacted, as outcomes are. */
export function detailOf(outcome: Outcome): string | undefined {
  if (outcome.kind === 'closed' || statusOf(outcome) === 'APPLIED') return undefined
  const held =
    outcome.kind === 'committed' || outcome.kind === 'unchanged'
      ? [`held until a restart: ${outcome.pendingRestart.join(', ')}`]
      : []
  const issues = outcome.kind === 'rejected' ? outcome.issues.map(issueText) : []
  return cut([outcomeText(outcome), ...held, ...issues].join('\n'))
}

/** The first `maxDetailLength` characters, never half of one. */
export function cut(detail: string): string {
  if (detail.length <= maxDetailLength) return detail
  return `${detail
    .slice(0, maxDetailLength - 1)
    .toWellFormed()
    .replace(/\ufffd$/, '')}…`
}
