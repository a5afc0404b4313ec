/** From a message to a release that may be used: config, signature, delta onto its base, digest. Pure but for hashing. */
import { digest } from '../digest.ts'
import { applyPatch, PatchError } from '../patch.ts'
import type { ReleaseMessage } from '../protocol/messages.ts'
import { freezeDeep } from '../snapshot.ts'
import type { Held, NodeEvent } from './node-state.ts'
import type { Policy } from './policy.ts'

/**
 * @param bases releases whose content is at hand, newest first.
 * @returns `unfit` where the whole release may help, `refused` where nothing would.
 */
export function receive(
  { release, body, force }: ReleaseMessage,
  config: string,
  policy: Policy,
  bases: readonly Held[],
): NodeEvent {
  const { number } = release
  const refused = (detail: string): NodeEvent => ({ kind: 'refused', number, digest: release.digest, detail })
  if (release.config !== config) return refused(`release ${number} is of ${release.config}; want ${config}`)
  const problem = policy.problem(release)
  if (problem !== undefined) return refused(problem)

  if (body.kind === 'whole') {
    const content = freezeDeep(body.content)
    const found = digest(content, bases[0]?.content)
    if (found !== release.digest) return refused(`release ${number} comes to ${found}; want ${release.digest}`)
    return { kind: 'release', held: { release, content }, force: force ?? false }
  }
  const base = bases.find((held) => held.release.number === body.base && held.release.digest === body.baseDigest)
  if (!base) return { kind: 'unfit', number }
  try {
    const content = applyPatch(base.content, body.patch)
    if (digest(content, base.content) !== release.digest) return { kind: 'unfit', number }
    return { kind: 'release', held: { release, content }, force: force ?? false }
  } catch (error) {
    if (error instanceof PatchError) return { kind: 'unfit', number }
    throw error
  }
}
