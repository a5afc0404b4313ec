/** A reload that is prepared and waits for a decision, which is taken once: by whoever asked, or because the engine closes. */
import type { Outcome, PreparedReload } from './outcome.ts'

type End = () => Promise<Outcome>

/** @returns with `settled`, which resolves when it was committed or rolled back. */
export function prepare(
  shown: Pick<PreparedReload, 'plan' | 'digest'>,
  commit: End,
  rollback: End,
  closing: AbortSignal,
): { readonly prepared: PreparedReload; readonly settled: Promise<void> } {
  let outcome: Promise<Outcome> | undefined
  let settle = () => {}
  const settled = new Promise<void>((resolve) => (settle = resolve))
  const once = (end: End) =>
    (outcome ??= end().finally(() => {
      closing.removeEventListener('abort', giveUp)
      settle()
    }))
  const giveUp = () => void once(rollback)
  closing.addEventListener('abort', giveUp)
  if (closing.aborted) giveUp()
  return {
    prepared: { kind: 'prepared', ...shown, commit: () => once(commit), rollback: () => once(rollback) },
    settled,
  }
}
