/** A node: the real machine of two-phase commit, and around it a disk, an engine that takes its time, and a wire. */
import type { AgentMessage, ReleaseInfo, ServerMessage } from 'midflight/protocol'
import { next, noVote, preparedIn, type VoteEvent, type VoteState } from '../../packages/engine/src/agent/vote.ts'
import type { Held } from '../../packages/engine/src/agent/node-state.ts'
import type { World } from './world.ts'

/** How a content suits a node. `stuck`: a component never settles. */
export type Mood = 'good' | 'refused' | 'sick' | 'stuck' | 'fails-late'

export interface Content {
  readonly version: number
  /** By the node's name; good where it is not named. */
  readonly moods: Readonly<Record<string, Mood>>
  /** What a gate says while it is in use. */
  readonly gate: 'good' | 'bad' | 'silent'
}

export interface Wire {
  send(message: AgentMessage): void
}

export interface Watch {
  /** It is about to run this. */
  applies(node: SimNode, release: ReleaseInfo): void
  /** It gives up what it had prepared because it was told to. */
  givesUp(node: SimNode, release: ReleaseInfo): void
  votes(node: SimNode, release: ReleaseInfo): void
  /** It is back, and knows what was on its disk. */
  returns(node: SimNode): void
}

interface Disk {
  runs: Held | null
  ballot: { readonly held: Held; readonly epoch: number } | undefined
  epoch: number
}

const heartbeatMs = 1_000
/** Of the engine, for what never settles. */
const deadlineMs = 8_000

export class SimNode {
  readonly uid: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly disk: Disk = { runs: null, ballot: undefined, epoch: 0 }
  alive = true
  wire: Wire | undefined
  private readonly world: World
  private readonly watch: Watch
  private vote: VoteState = noVote
  private life = 0
  private newest: Held | null = null
  private busy = false
  private waiting: ((done: () => void) => void)[] = []
  /** Gives back the turn that what is prepared holds. */
  private letGo: (() => void) | undefined
  private status: 'UNSET' | 'APPLYING' | 'APPLIED' | 'FAILED' | 'ROLLED_BACK' = 'UNSET'
  private seen = 0
  private health: { ok: boolean; release: number } | undefined

  constructor(world: World, watch: Watch, index: number) {
    this.world = world
    this.watch = watch
    this.uid = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`
    this.name = `n${index}`
    this.labels = { name: this.name, zone: index % 2 === 0 ? 'a' : 'b' }
    this.beat()
  }

  get prepared(): { number: number; digest: string; epoch: number } | undefined {
    const ballot = preparedIn(this.vote)
    return ballot && { ...nameOf(ballot.held), epoch: ballot.epoch }
  }

  get runs(): { number: number; digest: string } | null {
    return this.disk.runs && nameOf(this.disk.runs)
  }

  crash(): void {
    this.alive = false
    this.life++
    this.wire = undefined
  }

  restart(): void {
    this.alive = true
    this.newest = this.disk.runs
    this.busy = false
    this.waiting = []
    this.letGo = undefined
    this.status = this.disk.runs ? 'APPLIED' : 'UNSET'
    this.seen = this.disk.runs?.release.number ?? 0
    this.health = undefined
    this.vote = noVote
    this.on({ kind: 'restored', epoch: this.disk.epoch, ballot: this.disk.ballot })
    this.watch.returns(this)
    this.beat()
  }

  /** What it says first on a new connection. */
  hello(): AgentMessage & { type: 'hello' } {
    return {
      type: 'hello',
      uid: this.uid,
      config: 'sim',
      labels: this.labels,
      agent: { name: 'sim', version: '1' },
      seen: this.seen === 0 ? null : this.seen,
      ...this.state(),
    }
  }

  receive(message: ServerMessage, held: Held | undefined): void {
    if (!this.alive) return
    if (message.type === 'decision') {
      const { number, digest, epoch, decision } = message
      return this.on({ kind: 'decision', number, digest, epoch, commit: decision === 'commit' })
    }
    if (message.type !== 'release' || held === undefined) return
    const { number } = held.release
    this.seen = Math.max(this.seen, number)
    if (message.prepare !== undefined) {
      if (number <= (this.newest?.release.number ?? 0)) return
      return this.on({ kind: 'prepare', held, epoch: message.prepare.epoch })
    }
    const before = this.vote
    this.on({ kind: 'release', number, digest: held.release.digest })
    const commits = this.vote.kind === 'committing' && this.vote !== before
    if (!commits) this.take(held, message.force === true)
  }

  private take(held: Held, force: boolean): void {
    const { number } = held.release
    const newest = this.newest?.release.number ?? 0
    if (number < newest || (number === newest && !force)) return
    this.newest = held
    this.seen = Math.max(this.seen, number)
    this.inTurn((done) => this.apply(done))
  }

  /** A reload: of whatever is the newest when its turn comes. */
  private apply(done: () => void): void {
    const held = this.newest
    if (held === null || (held === this.disk.runs && this.status === 'APPLIED')) return done()
    this.status = 'APPLYING'
    this.report(held, 'APPLYING')
    const mood = this.moodFor(held)
    this.later(mood === 'stuck' ? deadlineMs : this.world.chance.int(300), () => {
      if (mood === 'refused') this.ended(held, 'FAILED')
      else if (mood === 'fails-late' || mood === 'stuck') this.ended(held, 'ROLLED_BACK')
      else this.inUse(held)
      done()
    })
  }

  /** The engine does one thing at a time. */
  private inTurn(work: (done: () => void) => void): void {
    this.waiting.push(work)
    this.nextTurn()
  }

  private nextTurn(): void {
    if (this.busy) return
    const work = this.waiting.shift()
    if (work === undefined) return
    const { life } = this
    this.busy = true
    work(() => {
      if (this.life !== life) return
      this.busy = false
      this.nextTurn()
    })
  }

  private inUse(held: Held): void {
    this.watch.applies(this, held.release)
    this.disk.runs = held
    if (this.newest === null || held.release.number > this.newest.release.number) this.newest = held
    this.status = 'APPLIED'
    this.health = undefined
    this.report(held, 'APPLIED')
    this.later(this.world.chance.int(200), () => {
      if (this.disk.runs !== held) return
      this.health = { ok: this.moodFor(held) !== 'sick', release: held.release.number }
      this.say()
    })
  }

  private ended(held: Held, status: 'FAILED' | 'ROLLED_BACK'): void {
    this.status = status
    this.report(held, status)
  }

  private moodFor(held: Held): Mood {
    return (held.content as unknown as Content).moods[this.name] ?? 'good'
  }

  private on(event: VoteEvent): void {
    const [state, commands] = next(this.vote, event)
    this.vote = state
    this.disk.epoch = Math.max(this.disk.epoch, state.epoch)
    for (const command of commands) {
      switch (command.kind) {
        case 'stage': {
          const { held } = command
          const mood = this.moodFor(held)
          const fails = mood === 'refused' || mood === 'stuck'
          this.inTurn((done) =>
            this.later(mood === 'stuck' ? deadlineMs : this.world.chance.int(400), () => {
              if (fails) {
                done()
                return this.on({ kind: 'unstaged', status: 'FAILED', detail: mood })
              }
              this.letGo = done
              this.on({ kind: 'staged' })
            }),
          )
          break
        }
        case 'give-up':
          this.letGo?.()
          this.letGo = undefined
          break
        case 'keep': {
          const { ballot } = command
          this.later(this.world.chance.int(20), () => {
            // It may have been decided against meanwhile.
            if (this.vote.kind !== 'keeping') return
            this.disk.ballot = ballot
            this.on({ kind: 'kept', problem: undefined })
          })
          break
        }
        case 'vote-yes':
          this.watch.votes(this, command.ballot.held.release)
          this.report(command.ballot.held, 'PREPARED', command.ballot.epoch)
          break
        case 'vote-no':
          this.ended(command.held, 'FAILED')
          break
        case 'commit': {
          const { held } = command
          this.report(held, 'APPLYING')
          this.later(this.world.chance.int(100), () => {
            if (this.moodFor(held) === 'fails-late') this.ended(held, 'ROLLED_BACK')
            else this.inUse(held)
            if (this.newest === null || held.release.number > this.newest.release.number) this.newest = held
            this.on({ kind: 'committed' })
            this.letGo?.()
            this.letGo = undefined
          })
          break
        }
        case 'take':
          this.take(command.held, false)
          break
        case 'forget':
          this.disk.ballot = undefined
          break
        case 'report-aborted':
          this.watch.givesUp(this, command.held.release)
          this.report(command.held, 'ROLLED_BACK')
          break
        case 'warn':
          this.world.say(`${this.name}: ${command.message}`)
          break
      }
    }
  }

  private report(
    held: Held,
    status: 'PREPARED' | 'APPLYING' | 'APPLIED' | 'FAILED' | 'ROLLED_BACK',
    epoch?: number,
  ): void {
    const at = new Date(Math.round(this.world.nowMs)).toISOString()
    this.wire?.send({
      type: 'report',
      ...nameOf(held),
      status,
      attempt: 1,
      at,
      ...(epoch !== undefined && { epoch }),
    })
  }

  private say(): void {
    this.wire?.send({ type: 'heartbeat', ...this.state() })
  }

  private state() {
    const { prepared } = this
    return {
      runs: this.runs,
      status: this.status,
      ...(prepared && { prepared }),
      ...(this.health && { health: this.health }),
    }
  }

  private beat(): void {
    this.later(heartbeatMs, () => {
      this.say()
      this.beat()
    })
  }

  private later(ms: number, work: () => void): void {
    const { life } = this
    this.world.after(1 + ms, () => {
      if (this.life === life) work()
    })
  }
}

function nameOf({ release: { number, digest } }: Held): { number: number; digest: string } {
  return { number, digest }
}
