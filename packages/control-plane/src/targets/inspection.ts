/**
 * Auto-inspection: what is on the nodes is looked at now and then, and what has drifted is put right. Nodes that a
 * selector means since, and those that it does not mean any more, are drift too. Never while a deployment is under way.
 */
import type { Store } from '../store.ts'
import { aggregate, type Pointer } from './deployment.ts'
import type { Installer, NodeState } from './installer.ts'
import { NodeDirectory, type KnownNode } from './node-directory.ts'
import { pause } from './pace.ts'
import { statesOf, targetsOf, wantedOf } from './plan.ts'
import { scrubber } from './secrets.ts'

interface Inspecting {
  readonly store: Store
  readonly epoch: number
  readonly nodes: () => readonly KnownNode[]
  readonly installers: ReadonlyMap<string, Installer>
  /** Between two rounds, in milliseconds, give or take a tenth. */
  readonly everyMs: number
  readonly stop: AbortSignal
  /** For what is asked of an installer. */
  readonly bound: () => AbortSignal
  /** Runs work while nothing else is done to the config. */
  readonly inTurn: (config: string, work: () => Promise<void>) => Promise<void>
  readonly onProblem: (error: unknown) => void
}

/** Until it is stopped. Never rejects. */
export async function inspect(inspecting: Inspecting): Promise<void> {
  const { everyMs, stop, inTurn, onProblem } = inspecting
  for (let round = 1; await pause(everyMs * (0.9 + Math.random() / 5), stop); round++) {
    try {
      for (const { config, inspected } of await pointers(inspecting.store)) {
        if (inspected) await inTurn(config, () => inspectOne(inspecting, config, round))
        if (stop.aborted) return
      }
    } catch (error) {
      if (!stop.aborted) onProblem(error)
    }
  }
}

const pageSize = 1000

async function pointers(store: Store): Promise<Pointer[]> {
  const all: Pointer[] = []
  for (;;) {
    const page = await store.read((read) => read.deployments.pointers(all.at(-1)?.config, pageSize))
    all.push(...page)
    if (page.length < pageSize) return all
  }
}

async function inspectOne(inspecting: Inspecting, config: string, round: number): Promise<void> {
  const { store, epoch, nodes, installers, bound, onProblem } = inspecting
  const seen = await store.read((read) => {
    const pointer = read.deployments.pointer(config)
    const isFree = read.deployments.open(config).length === 0
    return pointer?.inspected && isFree ? { pointer, targets: targetsOf(read, config, pointer.number) } : undefined
  })
  const installer = seen && installers.get(seen.pointer.subscription.installer)
  if (seen === undefined || installer === undefined) return
  const { pointer, targets } = seen
  const { id } = pointer.subscription
  try {
    const status = await installer.status(id, bound())
    const wanted = wantedOf(config, targets, new NodeDirectory(nodes(), targets))
    const drifted = driftedIn(
      status?.nodes ?? [],
      wanted.nodes.map(({ key }) => key),
    )
    const call = { key: `${id}.inspection-${epoch}-${round}`, signal: bound() }
    if (status === null) await installer.create(id, wanted, call)
    else if (status.digest !== wanted.digest) await installer.update(id, wanted, call)
    else if (drifted.length > 0) await installer.update(id, { ...wanted, only: drifted }, call)
    const now = aggregate(pointer.status, statesOf(status, wanted))
    if (now === pointer.status) return
    await store.transaction((tx) => tx.deployments.found(config, pointer.number, now, epoch))
  } catch (error) {
    // The others are looked at all the same, and this one with the next round.
    const found = scrubber(targets)(error instanceof Error ? error.message : String(error))
    onProblem(new Error(`${config} could not be inspected, and is tried again with the next round: ${found}`))
  }
}

/** Those that should have it and have not, or have something else. */
function driftedIn(found: readonly NodeState[], wanted: readonly string[]): string[] {
  const states = new Map(found.map(({ node, state }) => [node, state]))
  return wanted.filter((node) => {
    const state = states.get(node) ?? 'absent'
    return state === 'failed' || state === 'absent'
  })
}
