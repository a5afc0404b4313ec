/** What happens in the fleet, as lines: releases, and what became of them on each node. */
import type { Api } from './api.ts'

interface NodeSeen {
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
  readonly status: string
  readonly runs: { readonly number: number } | null
  readonly seen: number | null
  readonly detail?: string | null
}

interface Released {
  readonly number: number
  readonly author: string
  readonly message: string
}

/** What a node is on its way through; the end of it is what is told. */
const passing = new Set(['UNSET', 'RECEIVED', 'PREPARED', 'APPLYING'])

export interface FleetLines {
  line(text: string): void
  /** Every node of the fleet runs this release. */
  onEverywhere(number: number): void
}

/** Follows the fleet of one config until the control plane closes. */
export async function followFleet(
  api: Api,
  config: string,
  nodeCount: number,
  { line, onEverywhere }: FleetLines,
): Promise<void> {
  const told = new Map<string, string>()
  const runs = new Map<string, number>()

  async function look(): Promise<void> {
    const { items } = await api.ask<{ items: NodeSeen[] }>('GET', `/v1/configs/${encodeURIComponent(config)}/nodes`)
    for (const node of items.sort((a, b) => nameOf(a).localeCompare(nameOf(b)))) tell(node)
  }

  function tell(node: NodeSeen): void {
    const number = node.status === 'APPLIED' ? node.runs?.number : node.seen
    const text = `node ${nameOf(node)}: release ${number ?? '?'} ${node.status}`
    if (passing.has(node.status) || told.get(node.uid) === text) return
    told.set(node.uid, text)
    line(node.status === 'APPLIED' || !node.detail ? text : `${text}: ${node.detail}`)
    if (node.status !== 'APPLIED' || number === undefined || number === null) return
    runs.set(node.uid, number)
    if ([...runs.values()].filter((other) => other === number).length === nodeCount) onEverywhere(number)
  }

  const events = api.events(config)
  const first = events.next()
  await look()
  for (let next = await first; !next.done; next = await events.next()) {
    if (next.value.type === 'release') line(releaseText(next.value.data as Released))
    else await look()
  }
}

function nameOf({ labels, uid }: NodeSeen): string {
  return labels['node'] ?? uid
}

function releaseText({ number, author, message }: Released): string {
  return `release ${number} by ${author}${message === '' ? '' : `: ${message}`}`
}
