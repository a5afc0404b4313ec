/** What a publish would change, and what changed between two releases: as it may be shown, nothing is stored. */
import { changes, diff, digest, pathText, type Json, type ShownChange } from 'midflight'
import type { Domain } from './domain.ts'
import { edited, editValue } from './edit.ts'
import type { PlacedIssue } from './marks.ts'
import { configIn, headOf, releaseIn } from './publish.ts'
import { RefusedError, requireHead, type ConfigChange, type Head } from './release.ts'
import { comparison, issuesIn, type Demands } from './validation.ts'

export interface Difference {
  readonly changes: readonly ShownChange[]
  /** What the schema marks as applied by a restart only, and is touched. */
  readonly restartPaths: readonly string[]
  /** `places`: one side does not fit the schema of today, so it cannot be told what in it is secret. */
  readonly shown: 'values' | 'places'
}

export interface PublishPlan extends Difference {
  readonly head: Head
  /** Of the content it comes to. */
  readonly content: string
  /** Of the plan: this content on this head. What an approval is for. */
  readonly digest: string
  /** Why it would be refused; empty if it would not. */
  readonly issues: readonly PlacedIssue[]
  /** It is what the head holds: no release would be made. */
  readonly same: boolean
}

/** @throws RefusedError as `publish` does, but for what a schema or a rule says: that is in `issues`. */
export async function planPublish(domain: Domain, change: ConfigChange): Promise<PublishPlan> {
  const { config, before } = await domain.store.read((read) => {
    const found = configIn(read, change.config)
    requireHead(headOf(found), change.ifMatch)
    return { config: found, before: found.head === null ? undefined : read.content(found.name, found.head.number) }
  })
  editValue(change)
  const after = await edited(config.schema, before, change, domain.limits)
  const content = digest(after, before)
  const head = headOf(config)
  return {
    head,
    content,
    digest: planDigest(config.name, config.head?.number ?? null, content),
    issues: await issuesIn(config, after),
    same: content === head.digest,
    ...(await shownDifference(config, before, after)),
  }
}

/** Names one content on one head. */
export function planDigest(config: string, base: number | null, content: string): string {
  return digest({ config, base, content })
}

/** What makes release `to` of release `from`; 0 is the state before the first. */
export async function diffReleases(domain: Domain, name: string, from: number, to: number): Promise<Difference> {
  const { config, before, after } = await domain.store.read((read) => {
    const contentOf = (number: number): Json | undefined => {
      if (number === 0) return undefined
      releaseIn(read, name, number)
      const content = read.content(name, number)
      if (content === undefined)
        throw new RefusedError('not-found', `the content of ${name} ${number} is no longer kept`)
      return content
    }
    return { config: configIn(read, name), before: contentOf(from), after: contentOf(to) }
  })
  if (after === undefined) throw new RefusedError('invalid', 'to is 0; want the number of a release')
  return await shownDifference(config, before, after)
}

async function shownDifference(demands: Demands, before: Json | undefined, after: Json): Promise<Difference> {
  const compared = await comparison(demands, before, after)
  if ('changes' in compared) return { ...compared, shown: 'values' }
  const found = changes(diff(before ?? {}, after, compared.keys))
  return {
    changes: found.map(({ kind, path, from, to }) => ({ kind, path: pathText(path), from, to })),
    restartPaths: [],
    shown: 'places',
  }
}
