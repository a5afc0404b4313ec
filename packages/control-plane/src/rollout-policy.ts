/** How the releases of a config are brought to its nodes where nobody says otherwise, and when nothing is to be changed. */
import { digest, type Json } from 'midflight'
import { configIn, requireText } from './publish.ts'
import type { Domain } from './domain.ts'
import { checkFreezes } from './freeze.ts'
import { RefusedError } from './release.ts'
import type { ConfigRecord, RolloutPolicy } from './store.ts'
import { settled } from './strategies/by-risk.ts'
import { strategyOf, type StrategySpec } from './strategies/spec.ts'

const none: RolloutPolicy = { strategy: null, freezes: [] }

export function policyOf({ rollout }: Pick<ConfigRecord, 'rollout'>): RolloutPolicy {
  return rollout ?? none
}

/** Names a policy, so that two who change it do not undo what the other did. */
export function policyDigest(policy: RolloutPolicy): string {
  return digest(policy as unknown as Json)
}

/**
 * What is left out stays.
 * @param ifMatch the digests of policies, one of which must be in force; `undefined`: whichever is.
 * @throws RefusedError `not-found`; `invalid`; `conflict` if it is another policy by now.
 */
export async function changeRolloutPolicy(
  domain: Domain,
  name: string,
  change: Partial<RolloutPolicy>,
  actor: string,
  ifMatch?: readonly string[],
): Promise<RolloutPolicy> {
  requireText(actor, 'actor', 1, 256)
  if (change.strategy) requireStrategy(change.strategy)
  const issues = checkFreezes(change.freezes ?? [])
  if (issues.length > 0) {
    const placed = issues.map((issue) => ({ ...issue, path: ['freezes', ...issue.path] }))
    throw new RefusedError('invalid', `${placed[0]?.path.join('.')} ${placed[0]?.message}`, placed)
  }
  return await domain.store.transaction((tx) => {
    const { head: _, ...record } = configIn(tx, name)
    const before = policyOf(record)
    if (ifMatch !== undefined && !ifMatch.includes(policyDigest(before))) {
      throw new RefusedError(
        'conflict',
        `the rollout policy of ${name} was changed since; it is ${policyDigest(before)}`,
      )
    }
    const policy = { ...before, ...change }
    tx.putConfig({ ...record, rollout: policy })
    const at = domain.now().toISOString()
    tx.appendAudit({ at, actor, action: 'rollout-policy-changed', config: name, detail: change as unknown as Json })
    return policy
  })
}

/** Which zones there are, and what the risk will be, is known when something is published. */
function requireStrategy(spec: StrategySpec): void {
  if (spec.kind === 'instant') {
    throw new RefusedError(
      'invalid',
      'the strategy cannot be used: instant is for emergencies; want another as the default',
    )
  }
  strategyOf(settled(spec, undefined), () => ['any'])
}
