/** The machine of a vote (agent/vote.ts): every state × every event, and what must hold of any series of events. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { next, noVote, preparedIn, type VoteCommand, type VoteEvent, type VoteState } from '../src/agent/vote.ts'
import { held } from './held.ts'

const [r4, r5, r6] = [held(4), held(5), held(6)]
const ballot = { held: r5, epoch: 3 }

const states = {
  new: noVote,
  idle: { kind: 'idle', epoch: 3 },
  preparing: { kind: 'preparing', epoch: 3, ballot, unwanted: undefined },
  'preparing, given up': { kind: 'preparing', epoch: 3, ballot, unwanted: 'aborted' },
  'preparing, overtaken': { kind: 'preparing', epoch: 3, ballot, unwanted: 'overtaken' },
  keeping: { kind: 'keeping', epoch: 3, ballot, unwanted: undefined },
  'keeping, given up': { kind: 'keeping', epoch: 3, ballot, unwanted: 'aborted' },
  'keeping, overtaken': { kind: 'keeping', epoch: 3, ballot, unwanted: 'overtaken' },
  prepared: { kind: 'prepared', epoch: 3, ballot, ready: true },
  'prepared, on disk only': { kind: 'prepared', epoch: 3, ballot, ready: false },
  committing: { kind: 'committing', epoch: 3, ballot },
} as const satisfies Record<string, VoteState>

const decides = (number: number, epoch: number, commit: boolean, digest = `sha256:${number}`): VoteEvent => ({
  kind: 'decision',
  number,
  digest,
  epoch,
  commit,
})

const events = {
  'prepare 5': { kind: 'prepare', held: r5, epoch: 3 },
  'prepare 5 by 4': { kind: 'prepare', held: r5, epoch: 4 },
  'prepare 5 by 2': { kind: 'prepare', held: r5, epoch: 2 },
  'prepare 4': { kind: 'prepare', held: r4, epoch: 3 },
  'prepare 6': { kind: 'prepare', held: r6, epoch: 3 },
  'commit 5': decides(5, 3, true),
  'commit 5 by 4': decides(5, 4, true),
  'commit 5 by 2': decides(5, 2, true),
  'commit another 5': decides(5, 3, true, 'sha256:other'),
  'commit 4': decides(4, 3, true),
  'abort 5': decides(5, 3, false),
  'abort 5 by 2': decides(5, 2, false),
  'abort 4': decides(4, 3, false),
  'release 4': { kind: 'release', number: 4, digest: r4.release.digest },
  'release 5': { kind: 'release', number: 5, digest: r5.release.digest },
  'another release 5': { kind: 'release', number: 5, digest: 'sha256:other' },
  'release 6': { kind: 'release', number: 6, digest: r6.release.digest },
  staged: { kind: 'staged' },
  unstaged: { kind: 'unstaged', status: 'FAILED', detail: 'no' },
  kept: { kind: 'kept', problem: undefined },
  'not kept': { kind: 'kept', problem: 'disk full' },
  'let go': { kind: 'let-go' },
  committed: { kind: 'committed' },
  'found 5 on disk': { kind: 'restored', epoch: 3, ballot },
  'found an epoch on disk': { kind: 'restored', epoch: 3, ballot: undefined },
} as const satisfies Record<string, VoteEvent>

type StateName = keyof typeof states
type EventName = keyof typeof events

/** `prepared 5 by 3; epoch 4` */
function shownState(state: VoteState): string {
  if (state.kind === 'idle') return `idle; epoch ${state.epoch}`
  const { held: of, epoch } = state.ballot
  const flag =
    'unwanted' in state && state.unwanted
      ? `, ${state.unwanted}`
      : 'ready' in state && !state.ready
        ? ', on disk only'
        : ''
  return `${state.kind} ${of.release.number} by ${epoch}${flag}; epoch ${state.epoch}`
}

function shownCommand(command: VoteCommand): string {
  switch (command.kind) {
    case 'keep':
    case 'vote-yes':
      return `${command.kind} ${command.ballot.held.release.number} by ${command.ballot.epoch}`
    case 'vote-no':
      return `vote-no ${command.held.release.number} ${command.status}`
    case 'stage':
    case 'commit':
    case 'take':
    case 'report-aborted':
      return `${command.kind} ${command.held.release.number}`
    default:
      return command.kind
  }
}

function shownStep(state: VoteState, event: VoteEvent): string {
  const [after, commands] = next(state, event)
  const before = shownState(state)
  const same = after === state || shownState(after) === before ? '=' : shownState(after)
  return commands.length > 0 ? `${same} → ${commands.map(shownCommand).join(', ')}` : same
}

/** What is not in here changes nothing and does nothing. */
const table: Record<StateName, Partial<Record<EventName, string>>> = {
  new: {
    'prepare 5': 'preparing 5 by 3; epoch 3 → stage 5',
    'prepare 5 by 4': 'preparing 5 by 4; epoch 4 → stage 5',
    'prepare 5 by 2': 'preparing 5 by 2; epoch 2 → stage 5',
    'prepare 4': 'preparing 4 by 3; epoch 3 → stage 4',
    'prepare 6': 'preparing 6 by 3; epoch 3 → stage 6',
    'commit 5': 'idle; epoch 3',
    'commit 5 by 4': 'idle; epoch 4',
    'commit 5 by 2': 'idle; epoch 2',
    'commit another 5': 'idle; epoch 3',
    'commit 4': 'idle; epoch 3',
    'abort 5': 'idle; epoch 3',
    'abort 5 by 2': 'idle; epoch 2',
    'abort 4': 'idle; epoch 3',
    staged: '= → give-up',
    'found 5 on disk': 'prepared 5 by 3, on disk only; epoch 3',
    'found an epoch on disk': 'idle; epoch 3',
  },
  idle: {
    'prepare 5': 'preparing 5 by 3; epoch 3 → stage 5',
    'prepare 5 by 4': 'preparing 5 by 4; epoch 4 → stage 5',
    'prepare 5 by 2': '= → warn',
    'prepare 4': 'preparing 4 by 3; epoch 3 → stage 4',
    'prepare 6': 'preparing 6 by 3; epoch 3 → stage 6',
    'commit 5 by 4': 'idle; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5 by 2': '= → warn',
    staged: '= → give-up',
  },
  preparing: {
    'prepare 5 by 4': 'preparing 5 by 4; epoch 4',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'preparing 5 by 3, aborted; epoch 3',
    'commit 5 by 4': 'preparing 5 by 3; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5': 'preparing 5 by 3, aborted; epoch 3',
    'abort 5 by 2': '= → warn',
    'release 5': 'preparing 5 by 3, overtaken; epoch 3',
    'another release 5': 'preparing 5 by 3, overtaken; epoch 3',
    'release 6': 'preparing 5 by 3, overtaken; epoch 3',
    staged: 'keeping 5 by 3; epoch 3 → keep 5 by 3',
    unstaged: 'idle; epoch 3 → forget, vote-no 5 FAILED',
  },
  'preparing, given up': {
    'prepare 5 by 4': 'preparing 5 by 4, aborted; epoch 4',
    'prepare 5 by 2': '= → warn',
    'commit 5 by 4': 'preparing 5 by 3, aborted; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5 by 2': '= → warn',
    'release 5': 'preparing 5 by 3, overtaken; epoch 3',
    'another release 5': 'preparing 5 by 3, overtaken; epoch 3',
    'release 6': 'preparing 5 by 3, overtaken; epoch 3',
    staged: 'idle; epoch 3 → give-up, forget, report-aborted 5',
    unstaged: 'idle; epoch 3 → forget, vote-no 5 FAILED',
  },
  'preparing, overtaken': {
    'prepare 5 by 4': 'preparing 5 by 4, overtaken; epoch 4',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'preparing 5 by 3, aborted; epoch 3',
    'commit 5 by 4': 'preparing 5 by 3, overtaken; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5': 'preparing 5 by 3, aborted; epoch 3',
    'abort 5 by 2': '= → warn',
    staged: 'idle; epoch 3 → give-up, forget',
    unstaged: 'idle; epoch 3 → forget, vote-no 5 FAILED',
  },
  keeping: {
    'prepare 5 by 4': 'keeping 5 by 4; epoch 4',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'keeping 5 by 3, aborted; epoch 3',
    'commit 5 by 4': 'keeping 5 by 3; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5': 'keeping 5 by 3, aborted; epoch 3',
    'abort 5 by 2': '= → warn',
    'release 5': 'keeping 5 by 3, overtaken; epoch 3',
    'another release 5': 'keeping 5 by 3, overtaken; epoch 3',
    'release 6': 'keeping 5 by 3, overtaken; epoch 3',
    staged: '= → give-up',
    kept: 'prepared 5 by 3; epoch 3 → vote-yes 5 by 3',
    'not kept': 'idle; epoch 3 → give-up, forget, vote-no 5 FAILED',
    'let go': 'idle; epoch 3 → forget',
  },
  'keeping, given up': {
    'prepare 5 by 4': 'keeping 5 by 4, aborted; epoch 4',
    'prepare 5 by 2': '= → warn',
    'commit 5 by 4': 'keeping 5 by 3, aborted; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5 by 2': '= → warn',
    'release 5': 'keeping 5 by 3, overtaken; epoch 3',
    'another release 5': 'keeping 5 by 3, overtaken; epoch 3',
    'release 6': 'keeping 5 by 3, overtaken; epoch 3',
    staged: '= → give-up',
    kept: 'idle; epoch 3 → give-up, forget, report-aborted 5',
    'not kept': 'idle; epoch 3 → give-up, forget, report-aborted 5',
    'let go': 'idle; epoch 3 → forget',
  },
  'keeping, overtaken': {
    'prepare 5 by 4': 'keeping 5 by 4, overtaken; epoch 4',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'keeping 5 by 3, aborted; epoch 3',
    'commit 5 by 4': 'keeping 5 by 3, overtaken; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5': 'keeping 5 by 3, aborted; epoch 3',
    'abort 5 by 2': '= → warn',
    staged: '= → give-up',
    kept: 'idle; epoch 3 → give-up, forget',
    'not kept': 'idle; epoch 3 → give-up, forget',
    'let go': 'idle; epoch 3 → forget',
  },
  prepared: {
    'prepare 5': '= → keep 5 by 3, vote-yes 5 by 3',
    'prepare 5 by 4': 'prepared 5 by 4; epoch 4 → keep 5 by 4, vote-yes 5 by 4',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'preparing 6 by 3; epoch 3 → give-up, report-aborted 5, stage 6',
    'commit 5': 'committing 5 by 3; epoch 3 → commit 5',
    'commit 5 by 4': 'committing 5 by 3; epoch 4 → commit 5',
    'commit 5 by 2': '= → warn',
    'abort 5': 'idle; epoch 3 → give-up, forget, report-aborted 5',
    'abort 5 by 2': '= → warn',
    'release 5': 'committing 5 by 3; epoch 3 → commit 5',
    'another release 5': 'idle; epoch 3 → give-up, forget',
    'release 6': 'idle; epoch 3 → give-up, forget',
    staged: '= → give-up',
    'let go': 'prepared 5 by 3, on disk only; epoch 3',
  },
  'prepared, on disk only': {
    'prepare 5': 'preparing 5 by 3; epoch 3 → stage 5',
    'prepare 5 by 4': 'preparing 5 by 4; epoch 4 → stage 5',
    'prepare 5 by 2': '= → warn',
    'prepare 6': 'preparing 6 by 3; epoch 3 → report-aborted 5, stage 6',
    'commit 5': 'idle; epoch 3 → take 5, forget',
    'commit 5 by 4': 'idle; epoch 4 → take 5, forget',
    'commit 5 by 2': '= → warn',
    'abort 5': 'idle; epoch 3 → forget, report-aborted 5',
    'abort 5 by 2': '= → warn',
    'release 5': 'idle; epoch 3 → forget',
    'another release 5': 'idle; epoch 3 → forget',
    'release 6': 'idle; epoch 3 → forget',
    staged: '= → give-up',
  },
  committing: {
    'prepare 5 by 4': 'committing 5 by 3; epoch 4',
    'prepare 5 by 2': '= → warn',
    'commit 5 by 4': 'committing 5 by 3; epoch 4',
    'commit 5 by 2': '= → warn',
    'abort 5 by 2': '= → warn',
    staged: '= → give-up',
    committed: 'idle; epoch 3 → forget',
  },
}

describe('every state × every event', () => {
  for (const [stateName, state] of Object.entries(states)) {
    for (const [eventName, event] of Object.entries(events)) {
      test(`${stateName} × ${eventName}`, () => {
        expect(shownStep(state, event)).toBe(table[stateName as StateName][eventName as EventName] ?? '=')
      })
    }
  }
})

describe('of any series of events', () => {
  const series = fc.array(fc.constantFrom(...Object.values(events).filter(({ kind }) => kind !== 'restored')), {
    maxLength: 60,
  })

  /** An engine, which holds at most one reload ready, and a disk. */
  function world() {
    let state: VoteState = noVote
    let ready: number | undefined
    let onDisk: number | undefined
    const did: VoteCommand[] = []
    const on = (event: VoteEvent) => {
      // Nothing comes of what was not asked for.
      if ((event.kind === 'staged' || event.kind === 'unstaged') && state.kind !== 'preparing') return
      if (event.kind === 'kept' && state.kind !== 'keeping') return
      if (event.kind === 'committed' && state.kind !== 'committing') return
      if (event.kind === 'staged' && state.kind === 'preparing') ready = state.ballot.held.release.number
      if (event.kind === 'let-go' && state.kind !== 'committing') ready = undefined
      const [after, commands] = next(state, event)
      for (const command of commands) {
        did.push(command)
        if (command.kind === 'give-up') ready = undefined
        if (command.kind === 'keep') onDisk = command.ballot.held.release.number
        if (command.kind === 'forget') onDisk = undefined
        if (command.kind === 'commit') {
          expect(ready, 'only what the engine holds ready is committed').toBe(command.held.release.number)
          ready = undefined
        }
        if (command.kind === 'vote-yes') expect(onDisk, 'I8').toBe(command.ballot.held.release.number)
      }
      expect(after.epoch, 'I10').toBeGreaterThanOrEqual(state.epoch)
      state = after
    }
    return { on, did, state: () => state, ready: () => ready, onDisk: () => onDisk }
  }

  test('I8: yes is said of what is on disk, and stays there until it is decided', () => {
    fc.assert(
      fc.property(series, (all) => {
        const { on, state, onDisk } = world()
        for (const event of all) {
          on(event)
          const prepared = preparedIn(state())
          if (prepared) expect(onDisk()).toBe(prepared.held.release.number)
        }
      }),
    )
  })

  test('I9: without a decision, and without a newer release for all, what is prepared stays so', () => {
    const deciding = ['decision', 'release', 'prepare']
    fc.assert(
      fc.property(series, series, (before, after) => {
        const { on, state } = world()
        before.forEach(on)
        const prepared = preparedIn(state())
        if (state().kind !== 'prepared' || !prepared) return
        after.filter(({ kind }) => !deciding.includes(kind)).forEach(on)
        expect(preparedIn(state())).toEqual(prepared)
      }),
    )
  })

  test('whatever is idle holds up nothing: the engine has nothing ready, and the disk nothing', () => {
    fc.assert(
      fc.property(series, (all) => {
        const { on, state, ready, onDisk } = world()
        all.forEach(on)
        if (state().kind !== 'idle') return
        expect([ready(), onDisk()]).toEqual([undefined, undefined])
      }),
    )
  })

  test('I10: who has a lower epoch than was heard of changes nothing', () => {
    fc.assert(
      fc.property(
        series,
        fc.constantFrom(events['prepare 5 by 2'], events['commit 5 by 2'], events['abort 5 by 2']),
        (all, stale) => {
          const { on, state } = world()
          all.forEach(on)
          const before = state()
          if (before.epoch <= 2) return
          const [after, commands] = next(before, stale)
          expect(after).toBe(before)
          expect(commands.map(({ kind }) => kind)).toEqual(['warn'])
        },
      ),
    )
  })
})
