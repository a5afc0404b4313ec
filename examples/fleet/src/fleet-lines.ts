/** What happens in the fleet, as lines: releases, how their rollouts go, and what became of them on each node. */
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

/** As the events have it. */
interface RolloutNews {
  readonly number: number
  readonly phase: string
  readonly step: number
  readonly steps: number
  readonly failure: { readonly found: string } | null
  readonly rollback: number | null
}

/** What a node is on its way through; the end of it is what is told. */
const passing = new Set(['UNSET', 'RECEIVED', 'PREPARED', 'APPLYING'])

const phases: Readonly<Record<string, string>> = {
  queued: 'waits for the one before it',
  preparing: 'all prepare it, and vote',
  applying: 'is being applied',
  baking: 'is watched',
  confirming: 'waits for a confirmation',
  'rolling-back': 'rolls back',
  failed: 'failed, with nothing to go back to',
  completed: 'completed',
  'rolled-back': 'was rolled back',
  superseded: 'gave way to a newer release',
}
const ended = new Set(['failed', 'completed', 'rolled-back', 'superseded'])

export interface FleetLines {
  line(text: string): void
  /** Other releases run than before: here or there, or everywhere. */
  onOthers(): void
}

/** Follows the fleet of one config until the control plane closes. */
export class Fleet {
  private readonly api: Api
  private readonly path: string
  private readonly config: string
  private readonly nodeCount: number
  private readonly lines: FleetLines
  private readonly told = new Map<string, string>()
  private readonly runs = new Map<string, number>()
  /** Rollouts, by what was told of them last. */
  private readonly rollouts = new Map<number, string>()

  constructor(api: Api, config: string, nodeCount: number, lines: FleetLines) {
    this.api = api
    this.config = config
    this.path = `/v1/configs/${encodeURIComponent(config)}`
    this.nodeCount = nodeCount
    this.lines = lines
  }

  /** A rollout is under way. */
  get isMoving(): boolean {
    return this.rollouts.size > 0
  }

  async follow(): Promise<void> {
    const events = this.api.events(this.config)
    const first = events.next()
    await this.look()
    for (let next = await first; !next.done; next = await events.next()) {
      const { type, data } = next.value
      if (type === 'release') this.lines.line(releaseText(data as Released))
      else if (type === 'rollout') await this.tellRollout(data as RolloutNews)
      else await this.look()
    }
  }

  private async look(): Promise<void> {
    const { items } = await this.api.ask<{ items: NodeSeen[] }>('GET', `${this.path}/nodes`)
    for (const node of items.sort((a, b) => nameOf(a).localeCompare(nameOf(b)))) this.tell(node)
  }

  private tell(node: NodeSeen): void {
    const { uid, status, detail } = node
    const number = status === 'APPLIED' ? node.runs?.number : node.seen
    const text = `node ${nameOf(node)}: release ${number ?? '?'} ${status}`
    if (passing.has(status) || this.told.get(uid) === text) return
    this.told.set(uid, text)
    this.lines.line(status === 'APPLIED' || !detail ? text : `${text}: ${detail}`)
    if (status !== 'APPLIED' || number === undefined || number === null) return
    this.runs.set(uid, number)
    const alike = [...this.runs.values()].filter((other) => other === number).length
    if (alike === this.nodeCount && !this.isMoving) this.lines.onOthers()
  }

  private async tellRollout({ number, phase, step, steps, failure, rollback }: RolloutNews): Promise<void> {
    const isEnd = ended.has(phase)
    const where = isEnd || phase === 'rolling-back' || steps < 2 ? '' : `step ${step + 1} of ${steps} `
    const back = phase === 'rolled-back' ? `, release ${rollback} is in use` : ''
    const text = `rollout of release ${number}: ${where}${phases[phase] ?? phase}${back}`
    if (this.rollouts.get(number) === text) return
    if (isEnd) this.rollouts.delete(number)
    else this.rollouts.set(number, text)
    await this.look()
    this.lines.line(phase === 'rolling-back' && failure ? `${text}: ${failure.found}` : text)
    if (phase === 'rolling-back') await this.tellWhy(number)
    if (isEnd || phase === 'baking' || phase === 'rolling-back') this.lines.onOthers()
  }

  private async tellWhy(number: number): Promise<void> {
    const path = `${this.path}/rollouts/${number}`
    const { failure } = await this.api.ask<{ failure: { nodes: { node: string; reason: string }[] } }>('GET', path)
    for (const { node, reason } of failure.nodes) this.lines.line(`  ${node}: ${reason}`)
  }
}

function nameOf({ labels, uid }: NodeSeen): string {
  return labels['name'] ?? uid
}

function releaseText({ number, author, message }: Released): string {
  return `release ${number} by ${author}${message === '' ? '' : `: ${message}`}`
}
