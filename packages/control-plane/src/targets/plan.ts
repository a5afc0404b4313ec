/**
 * From targets as somebody wrote them to what they would mean: read, secrets that were kept filled in, compared with
 * what holds. Nothing is stored and nobody outside is asked.
 */
import { digest, type Issue, type Json } from 'midflight'
import { configIn } from '../publish.ts'
import { RefusedError } from '../release.ts'
import type { StoreRead } from '../store.ts'
import type { DeploymentRecord, Pointer } from './deployment.ts'
import { diffTargets, operationOf, type Operation, type TargetsDiff } from './diff.ts'
import type { NodeState, SubscriptionStatus, Wanted } from './installer.ts'
import { NodeDirectory, type KnownNode } from './node-directory.ts'
import { shownParameters, withSecretsKept } from './secrets.ts'
import { readTargets, type Targets } from './targets.ts'

export interface TargetsPlan {
  readonly operation: Operation
  /** Not redacted: `shownDiff`. */
  readonly diff: TargetsDiff
  readonly before: Targets | null
  readonly after: Targets
  readonly pointer: Pointer | undefined
}

/** @throws RefusedError `invalid` with what is wrong where; `not-found` for a config that is not there. */
export function planTargets(read: StoreRead, config: string, value: unknown, nodes: readonly KnownNode[]): TargetsPlan {
  configIn(read, config)
  const reading = readTargets(value)
  if ('issues' in reading) throw invalid(reading.issues)
  const pointer = read.deployments.pointer(config)
  const before = pointer === undefined ? null : targetsOf(read, config, pointer.number)
  const kept = withSecretsKept(before, reading.targets)
  if ('issues' in kept) throw invalid(kept.issues)
  return compared(before, kept.targets, pointer, nodes)
}

export function compared(
  before: Targets | null,
  after: Targets,
  pointer: Pointer | undefined,
  nodes: readonly KnownNode[],
): TargetsPlan {
  const diff = diffTargets(before, after, new NodeDirectory(nodes, before, after))
  return { operation: operationOf(before, after, diff), diff, before, after, pointer }
}

/** The targets that a deployment brought. */
export function targetsOf(read: StoreRead, config: string, number: number): Targets {
  const targets = read.deployments.get(config, number)?.targets
  if (targets == null) throw new Error(`deployment ${config} #${number} has no targets`)
  return targets
}

/** Those that hold once it has ended. */
export function targetsAfter(read: StoreRead, record: DeploymentRecord): Targets | null {
  if (record.targets !== null) return record.targets
  return record.before === null ? null : targetsOf(read, record.config, record.before.number)
}

/** What is secret in either is shown in neither. */
export function shownDiff({ diff, before, after }: Pick<TargetsPlan, 'diff' | 'before' | 'after'>): TargetsDiff {
  const shown = (one: Targets | null): Json =>
    one && shownParameters(one.parameters, before?.secrets ?? [], after.secrets)
  return { ...diff, parameters: { ...diff.parameters, before: shown(before), after: shown(after) } }
}

/** What a subscription is to be, as the nodes are now. */
export function wantedOf(config: string, targets: Targets, directory: NodeDirectory): Wanted {
  const { kind, nodes: declared, package: brought, parameters } = targets
  const nodes = [...directory.nodesOf(targets).values()]
  const remoteHost = targets.remoteHost && directory.hostOf(targets.remoteHost)
  const keys = nodes.map(({ key }) => key).sort()
  const scope = { kind, nodes: declared }
  const all = { config, keys, scope, remoteHost: remoteHost && remoteHost.key, package: brought, parameters }
  return { config, digest: digest(all as unknown as Json), scope, nodes, remoteHost, package: brought, parameters }
}

/**
 * Every node that is to have it, also those that the installer does not know, and of the others those that have not let
 * go yet. One that is not to have it and has not is as it is to be.
 */
export function statesOf(status: SubscriptionStatus | null, wanted: Pick<Wanted, 'nodes'> | undefined): NodeState[] {
  const named = new Map(wanted?.nodes.map((node) => [node.key, node]))
  const found = (status?.nodes ?? []).filter(({ node, state }) => state !== 'absent' || named.has(node))
  for (const { node } of found) named.delete(node)
  for (const { key, id, unknown } of named.values()) {
    if (unknown === true) continue
    const detail = id === undefined ? 'no node is known by this address' : 'the installer says nothing of it'
    found.push({ node: key, state: 'absent', detail })
  }
  return found
}

function invalid(issues: readonly Issue[]): RefusedError {
  const [first] = issues
  const more = issues.length > 1 ? ` and ${issues.length - 1} more` : ''
  const where = first?.path.join('.') || 'they'
  return new RefusedError('invalid', `the targets are wrong: ${where} ${first?.message}${more}`, issues)
}
