/**
 * What an edit of targets means: which nodes gain, lose and keep what is brought to them, and, apart from that, what
 * has to be done (create, update, replace, nothing). Pure.
 */
import { digest, type Json } from 'midflight'
import type { NodeDirectory, TargetNode } from './node-directory.ts'
import type { Host, Target, Targets } from './targets.ts'

/** All four sections are there, whatever changed. */
export interface TargetsDiff {
  readonly version: Section<string>
  readonly parameters: Section<Json>
  readonly remoteHost: Section<Host>
  readonly targets: Section<{ readonly kind: string; readonly nodes: readonly Target[] }>
  readonly nodes: NodesDiff
}

export interface Section<T> {
  readonly before: T | null
  readonly after: T | null
  readonly changed: boolean
}

export interface NodesDiff {
  readonly added: readonly TargetNode[]
  readonly updated: readonly TargetNode[]
  readonly removed: readonly TargetNode[]
  readonly unchanged: readonly TargetNode[]
}

/** @param before `null`: there is nothing yet. */
export function diffTargets(before: Targets | null, after: Targets, directory: NodeDirectory): TargetsDiff {
  const version = section(before && before.package.version, after.package.version)
  const parameters = section<Json>(before && before.parameters, after.parameters)
  const hosts = [before, after].map((one) => one?.remoteHost ?? null)
  const remoteHost = {
    before: hosts[0] as Host | null,
    after: hosts[1] as Host | null,
    changed: before !== null && !sameHost(directory, before.remoteHost, after.remoteHost),
  }
  const [from, to] = [before ? directory.nodesOf(before) : new Map<string, TargetNode>(), directory.nodesOf(after)]
  const sameNodes = from.size === to.size && [...to.keys()].every((key) => from.has(key))
  const targets = {
    before: before && { kind: before.kind, nodes: before.nodes },
    after: { kind: after.kind, nodes: after.nodes },
    changed: before?.kind !== after.kind || !sameNodes || !sameSelectors(before, after),
  }
  // Of another kind, or read from another host: nothing of what is there stays.
  const swapped = before?.kind !== after.kind || remoteHost.changed
  const isUpdated =
    version.changed || parameters.changed || (before !== null && !same(before.package as never, after.package as never))
  const kept = swapped ? [] : [...to.values()].filter(({ key }) => from.has(key))
  return {
    version,
    parameters,
    remoteHost,
    targets,
    nodes: {
      added: swapped ? [...to.values()] : [...to.values()].filter(({ key }) => !from.has(key)),
      updated: isUpdated ? kept : [],
      removed: swapped ? [...from.values()] : [...from.values()].filter(({ key }) => !to.has(key)),
      unchanged: isUpdated ? [] : kept,
    },
  }
}

function section<T extends Json>(before: T | null, after: T): Section<T> {
  return { before, after, changed: before === null || !same(before, after) }
}

/** Typed: 1 is not "1"; the order of keys does not matter, that of lists does. */
function same(a: Json, b: Json): boolean {
  return a === b || digest(a) === digest(b)
}

function sameHost(directory: NodeDirectory, a: Host | null, b: Host | null): boolean {
  if (a === null || b === null) return a === b
  return directory.keyOf(a) === directory.keyOf(b)
}

/** Two selectors that mean the same nodes today may not do so tomorrow. Hosts were compared already. */
function sameSelectors(before: Targets, after: Targets): boolean {
  if (after.kind === 'INSTANCE') return true
  const texts = ({ nodes }: Targets): Json => [...new Set(nodes.map((one) => digest(one as unknown as Json)))].sort()
  return same(texts(before), texts(after))
}

export type OperationKind = 'create' | 'update' | 'replace' | 'nothing'

export interface Operation {
  readonly kind: OperationKind
  /** For people. */
  readonly why: string
  /** The nodes have to be told. Without it only what is done beside them changes. */
  readonly reaches: boolean
}

/** @param before what is there now; `null`: nothing. */
export function operationOf(before: Targets | null, after: Targets, diff: TargetsDiff): Operation {
  const reaching = (kind: OperationKind, why: string): Operation => ({ kind, why, reaches: true })
  if (before === null) return reaching('create', 'there is nothing yet')
  if (before.installer !== after.installer) return reaching('replace', 'another installer brings it')
  if (diff.remoteHost.changed) return reaching('replace', 'the remote host is another')
  if (before.package.name !== after.package.name) return reaching('replace', 'it is another package')
  if (diff.version.changed) return reaching(after.onVersionChange, 'the version is another')
  const changes = [
    diff.parameters.changed && 'the parameters',
    diff.targets.changed && 'the targets',
    !same(before.package.files, after.package.files) && 'the files',
  ].filter((one) => one !== false)
  if (changes.length > 0) return reaching('update', `${changes.join(' and ')} changed`)
  if (same(before as unknown as Json, after as unknown as Json))
    return { kind: 'nothing', why: 'it is the same', reaches: false }
  const beside = before.autoInspection !== after.autoInspection || !same(sorted(before.secrets), sorted(after.secrets))
  if (!beside && before.onVersionChange === after.onVersionChange) {
    // The same hosts in other words, or in another order.
    return { kind: 'nothing', why: 'it means the same', reaches: false }
  }
  return { kind: 'update', why: 'what is done beside the nodes changed', reaches: false }
}

function sorted(list: readonly string[]): Json {
  return [...new Set(list)].sort()
}
