/** Who asks an engine for reloads: its triggers, and those of its sources that are triggers too. */
import type { Source } from './source.ts'
import { isTrigger, type Trigger } from './trigger.ts'

interface Given {
  readonly sources: readonly Source[]
  readonly triggers?: readonly Trigger[]
}

/** The triggers that are no source as well: those are listened to once, and after they have been loaded. */
export function apart({ triggers, sources }: Given): readonly Trigger[] {
  return (triggers ?? []).filter((trigger) => !watching(sources).includes(trigger))
}

/** The sources that ask for reloads themselves. */
export function watching(sources: readonly Source[]): Trigger[] {
  return sources.flatMap((source) => (isTrigger(source) ? [source] : []))
}
