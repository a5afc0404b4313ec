/** The node's machine (agent/node.ts): every state × every event, and what must hold of any series of events. */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { desired, isNews, newNode, next, nodeStatusOf, runsOf } from '../src/agent/node.ts'
import type { NodeEvent, NodeState } from '../src/agent/node-state.ts'
import { held } from './held.ts'

const [r3, r4, r5, r6] = [held(3), held(4), held(5), held(6)]
const ready: NodeState & { kind: 'ready' } = { kind: 'ready', seen: 5, runs: r4, newest: r5, attempts: 0 }
const refused: NodeState & { kind: 'failed' } = {
  kind: 'failed',
  seen: 5,
  runs: r4,
  newest: r5,
  status: 'FAILED',
  attempts: 1,
  retrying: false,
}

const back: NodeState & { kind: 'back' } = {
  kind: 'back',
  at: 'asked',
  seen: 5,
  runs: r5,
  target: r4,
  refused: { number: 5, digest: r5.release.digest, detail: 'was not confirmed', attempts: 1 },
  attempts: 0,
}

const states = {
  empty: newNode,
  ready,
  applying: { kind: 'applying', seen: 5, runs: r4, newest: r5, trying: r5, attempts: 1, before: ready },
  'applying, a later one came': {
    kind: 'applying',
    seen: 6,
    runs: r4,
    newest: r6,
    trying: r5,
    attempts: 1,
    before: ready,
  },
  'trying again': { kind: 'applying', seen: 5, runs: r4, newest: r5, trying: r5, attempts: 2, before: refused },
  current: { kind: 'current', seen: 5, runs: r5, attempts: 1 },
  refused,
  'rolled back': { ...refused, status: 'ROLLED_BACK', retrying: true },
  'back, asked for': { ...back, at: 'asked', attempts: 0 },
  'back, being tried': { ...back, at: 'trying', attempts: 1 },
  'back, there': { ...back, at: 'there', runs: r4, attempts: 1 },
  closed: { kind: 'closed', seen: 5, runs: r5 },
} as const satisfies Record<string, NodeState>

const events = {
  'found 4 on disk': { kind: 'restored', held: r4 },
  'head is 5': { kind: 'head', number: 5 },
  'head is 9': { kind: 'head', number: 9 },
  'head is none': { kind: 'head', number: null },
  'release 3': { kind: 'release', held: r3, force: false },
  'release 5': { kind: 'release', held: r5, force: false },
  'release 5, force': { kind: 'release', held: r5, force: true },
  'another release 5': { kind: 'release', held: held(5, 'x'), force: false },
  'release 6': { kind: 'release', held: r6, force: false },
  'release 7': { kind: 'release', held: held(7), force: false },
  'delta of 7 unfit': { kind: 'unfit', number: 7 },
  'delta of 5 unfit': { kind: 'unfit', number: 5 },
  '7 refused': { kind: 'refused', number: 7, digest: 'sha256:7', detail: 'not signed' },
  '5 refused': { kind: 'refused', number: 5, digest: 'sha256:5', detail: 'not signed' },
  loading: { kind: 'loading' },
  applied: { kind: 'settled', status: 'APPLIED', mayRetry: false },
  rejected: { kind: 'settled', status: 'FAILED', detail: 'no', mayRetry: false },
  'rolled back': { kind: 'settled', status: 'ROLLED_BACK', detail: 'no', mayRetry: true },
  degraded: { kind: 'settled', status: 'DEGRADED', detail: 'no', mayRetry: true },
  'only looked at': { kind: 'unsettled' },
  'retry is due': { kind: 'retry-due' },
  'made ready and applied 6': { kind: 'tried', held: r6, status: 'APPLIED', mayRetry: false },
  'made ready and failed 6': { kind: 'tried', held: r6, status: 'ROLLED_BACK', detail: 'no', mayRetry: true },
  'made ready and applied 4': { kind: 'tried', held: r4, status: 'APPLIED', mayRetry: false },
  'go back to 4': { kind: 'go-back', target: r4, refused: back.refused },
  close: { kind: 'close' },
} as const satisfies Record<string, NodeEvent>

type StateName = keyof typeof states
type EventName = keyof typeof events

/** `applying 6 (runs 4, seen 6, 1 tries)` */
function shownState(state: NodeState): string {
  const runs = runsOf(state)?.release.number ?? '-'
  const rest =
    state.kind === 'applying'
      ? ` ${state.trying.release.number}${state.newest === state.trying ? '' : ` then ${state.newest.release.number}`}, try ${state.attempts}`
      : state.kind === 'ready'
        ? ` ${state.newest.release.number}${state.attempts ? `, tried ${state.attempts}` : ''}`
        : state.kind === 'failed'
          ? ` ${state.newest.release.number} ${state.status}, tried ${state.attempts}${state.retrying ? ', again later' : ''}`
          : state.kind === 'back'
            ? ` to ${state.target.release.number} from ${state.refused.number}, ${state.at}, tried ${state.attempts}`
            : ''
  return `${state.kind}${rest}; runs ${runs}, seen ${state.seen ?? '-'}`
}

function shownStep(state: NodeState, event: NodeEvent): string {
  const [after, commands] = next(state, event)
  const did = commands.map((command) => {
    switch (command.kind) {
      case 'ask':
        return command.force ? 'ask by force' : 'ask'
      case 'report':
        return `report ${command.release.number} ${command.status} ${command.attempt}${command.detail ? '!' : ''}`
      case 'ask-whole':
        return `whole ${command.number}`
      case 'save':
        return `save ${command.held.release.number}`
      case 'retry-later':
        return `retry in ${command.minMs}–${command.maxMs}`
      default:
        return command.kind
    }
  })
  const same = after === state ? '=' : shownState(after)
  return did.length > 0 ? `${same} → ${did.join(', ')}` : same
}

/** What is not in here changes nothing and does nothing, apart from a higher `seen`. */
const table: Record<StateName, Partial<Record<EventName, string>>> = {
  empty: {
    'found 4 on disk': 'ready 4; runs -, seen 4 → ask',
    'head is 5': 'empty; runs -, seen 5',
    'head is 9': 'empty; runs -, seen 9',
    'release 3': 'ready 3; runs -, seen 3 → report 3 RECEIVED 0, ask',
    'release 5': 'ready 5; runs -, seen 5 → report 5 RECEIVED 0, ask',
    'release 5, force': 'ready 5; runs -, seen 5 → report 5 RECEIVED 0, ask',
    'another release 5': 'ready 5; runs -, seen 5 → report 5 RECEIVED 0, ask',
    'release 6': 'ready 6; runs -, seen 6 → report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs -, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'empty; runs -, seen 7 → whole 7',
    'delta of 5 unfit': 'empty; runs -, seen 5 → whole 5',
    '7 refused': 'empty; runs -, seen 7 → report 7 FAILED 0!',
    '5 refused': 'empty; runs -, seen 5 → report 5 FAILED 0!',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs -, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    'made ready and applied 4': 'current; runs 4, seen 4 → no-retry, save 4, report 4 APPLIED 1',
    'go back to 4': 'back to 4 from 5, asked, tried 0; runs -, seen 5 → ask',
    close: 'closed; runs -, seen - → no-retry',
  },
  ready: {
    'head is 9': 'ready 5; runs 4, seen 9',
    'head is none': '= → warn',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 4, seen 6 → report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 4, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'ready 5; runs 4, seen 7 → whole 7',
    '7 refused': 'ready 5; runs 4, seen 7 → report 7 FAILED 0!',
    loading: 'applying 5, try 1; runs 4, seen 5 → report 5 APPLYING 1',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  applying: {
    'head is 9': 'applying 5, try 1; runs 4, seen 9',
    'head is none': '= → warn',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'applying 5 then 6, try 1; runs 4, seen 6 → report 6 RECEIVED 0, ask',
    'release 7': 'applying 5 then 7, try 1; runs 4, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'applying 5, try 1; runs 4, seen 7 → whole 7',
    '7 refused': 'applying 5, try 1; runs 4, seen 7 → report 7 FAILED 0!',
    applied: 'current; runs 5, seen 5 → no-retry, save 5, report 5 APPLIED 1',
    rejected: 'failed 5 FAILED, tried 1; runs 4, seen 5 → report 5 FAILED 1!, no-retry',
    'rolled back':
      'failed 5 ROLLED_BACK, tried 1, again later; runs 4, seen 5 → report 5 ROLLED_BACK 1!, retry in 500–1000',
    degraded: 'failed 5 DEGRADED, tried 1, again later; runs 4, seen 5 → report 5 DEGRADED 1!, retry in 500–1000',
    'only looked at': 'ready 5; runs 4, seen 5 → ask',
    'retry is due': '= → retry in 500–1000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  'applying, a later one came': {
    'head is 5': '= → warn',
    'head is 9': 'applying 5 then 6, try 1; runs 4, seen 9',
    'head is none': '= → warn',
    'release 7': 'applying 5 then 7, try 1; runs 4, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'applying 5 then 6, try 1; runs 4, seen 7 → whole 7',
    '7 refused': 'applying 5 then 6, try 1; runs 4, seen 7 → report 7 FAILED 0!',
    loading: 'applying 6, try 1; runs 4, seen 6 → report 6 APPLYING 1',
    applied: 'ready 6; runs 5, seen 6 → no-retry, save 5, report 5 APPLIED 1',
    rejected: 'ready 6; runs 4, seen 6 → no-retry, report 5 FAILED 1!',
    'rolled back': 'ready 6; runs 4, seen 6 → no-retry, report 5 ROLLED_BACK 1!',
    degraded: 'ready 6; runs 4, seen 6 → no-retry, report 5 DEGRADED 1!',
    'only looked at': 'ready 6; runs 4, seen 6 → ask',
    'retry is due': '= → retry in 500–1000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 6 → no-retry',
  },
  'trying again': {
    'head is 9': 'applying 5, try 2; runs 4, seen 9',
    'head is none': '= → warn',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'applying 5 then 6, try 2; runs 4, seen 6 → report 6 RECEIVED 0, ask',
    'release 7': 'applying 5 then 7, try 2; runs 4, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'applying 5, try 2; runs 4, seen 7 → whole 7',
    '7 refused': 'applying 5, try 2; runs 4, seen 7 → report 7 FAILED 0!',
    applied: 'current; runs 5, seen 5 → no-retry, save 5, report 5 APPLIED 2',
    rejected: 'failed 5 FAILED, tried 2; runs 4, seen 5 → report 5 FAILED 2!, no-retry',
    'rolled back':
      'failed 5 ROLLED_BACK, tried 2, again later; runs 4, seen 5 → report 5 ROLLED_BACK 2!, retry in 1000–2000',
    degraded: 'failed 5 DEGRADED, tried 2, again later; runs 4, seen 5 → report 5 DEGRADED 2!, retry in 1000–2000',
    'only looked at': 'failed 5 FAILED, tried 1; runs 4, seen 5',
    'retry is due': '= → retry in 1000–2000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  current: {
    'head is 9': 'current; runs 5, seen 9',
    'head is none': '= → warn',
    'release 5, force': '= → ask by force',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 5, seen 6 → report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 5, seen 7 → report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'current; runs 5, seen 7 → whole 7',
    '7 refused': 'current; runs 5, seen 7 → report 7 FAILED 0!',
    degraded: 'failed 5 DEGRADED, tried 2, again later; runs 5, seen 5 → report 5 DEGRADED 2!, retry in 1000–2000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 5, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    'go back to 4': 'back to 4 from 5, asked, tried 0; runs 5, seen 5 → no-retry, ask',
    close: 'closed; runs 5, seen 5 → no-retry',
  },
  refused: {
    'head is 9': 'failed 5 FAILED, tried 1; runs 4, seen 9',
    'head is none': '= → warn',
    'release 5, force': 'ready 5, tried 1; runs 4, seen 5 → no-retry, ask',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 4, seen 6 → no-retry, report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 4, seen 7 → no-retry, report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'failed 5 FAILED, tried 1; runs 4, seen 7 → whole 7',
    '7 refused': 'failed 5 FAILED, tried 1; runs 4, seen 7 → report 7 FAILED 0!',
    loading: 'applying 5, try 2; runs 4, seen 5 → report 5 APPLYING 2',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  'rolled back': {
    'head is 9': 'failed 5 ROLLED_BACK, tried 1, again later; runs 4, seen 9',
    'head is none': '= → warn',
    'release 5, force': 'ready 5, tried 1; runs 4, seen 5 → no-retry, ask',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 4, seen 6 → no-retry, report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 4, seen 7 → no-retry, report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'failed 5 ROLLED_BACK, tried 1, again later; runs 4, seen 7 → whole 7',
    '7 refused': 'failed 5 ROLLED_BACK, tried 1, again later; runs 4, seen 7 → report 7 FAILED 0!',
    loading: 'applying 5, try 2; runs 4, seen 5 → report 5 APPLYING 2',
    'retry is due': '= → ask',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  'back, asked for': {
    'head is 9': 'back to 4 from 5, asked, tried 0; runs 5, seen 9',
    'head is none': '= → warn',
    'release 5, force': 'back to 4 from 5, asked, tried 1; runs 5, seen 5 → report 5 ROLLED_BACK 2!',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 5, seen 6 → no-retry, report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 5, seen 7 → no-retry, report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'back to 4 from 5, asked, tried 0; runs 5, seen 7 → whole 7',
    '7 refused': 'back to 4 from 5, asked, tried 0; runs 5, seen 7 → report 7 FAILED 0!',
    loading: 'back to 4 from 5, trying, tried 1; runs 5, seen 5',
    'retry is due': '= → ask',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 5, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 5, seen 5 → no-retry',
  },
  'back, being tried': {
    'head is 9': 'back to 4 from 5, trying, tried 1; runs 5, seen 9',
    'head is none': '= → warn',
    'release 5, force': 'back to 4 from 5, trying, tried 2; runs 5, seen 5 → report 5 ROLLED_BACK 3!',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'applying 4 then 6, try 1; runs 5, seen 6 → no-retry, report 6 RECEIVED 0, ask',
    'release 7': 'applying 4 then 7, try 1; runs 5, seen 7 → no-retry, report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'back to 4 from 5, trying, tried 1; runs 5, seen 7 → whole 7',
    '7 refused': 'back to 4 from 5, trying, tried 1; runs 5, seen 7 → report 7 FAILED 0!',
    applied: 'back to 4 from 5, there, tried 1; runs 4, seen 5 → no-retry, save 4, report 5 ROLLED_BACK 2!',
    rejected: 'back to 4 from 5, asked, tried 1; runs 5, seen 5 → report 5 ROLLED_BACK 2!, retry in 500–1000',
    'rolled back': 'back to 4 from 5, asked, tried 1; runs 5, seen 5 → report 5 ROLLED_BACK 2!, retry in 500–1000',
    degraded: 'back to 4 from 5, asked, tried 1; runs 5, seen 5 → report 5 DEGRADED 2!, retry in 500–1000',
    'only looked at': 'back to 4 from 5, asked, tried 1; runs 5, seen 5 → ask',
    'retry is due': '= → retry in 500–1000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 5, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 5, seen 5 → no-retry',
  },
  'back, there': {
    'head is 9': 'back to 4 from 5, there, tried 1; runs 4, seen 9',
    'head is none': '= → warn',
    'release 5, force': 'back to 4 from 5, there, tried 2; runs 4, seen 5 → report 5 ROLLED_BACK 3!',
    'another release 5': '= → report 5 FAILED 0!, warn',
    'release 6': 'ready 6; runs 4, seen 6 → no-retry, report 6 RECEIVED 0, ask',
    'release 7': 'ready 7; runs 4, seen 7 → no-retry, report 7 RECEIVED 0, ask',
    'delta of 7 unfit': 'back to 4 from 5, there, tried 1; runs 4, seen 7 → whole 7',
    '7 refused': 'back to 4 from 5, there, tried 1; runs 4, seen 7 → report 7 FAILED 0!',
    degraded: 'back to 4 from 5, asked, tried 2; runs 4, seen 5 → report 5 DEGRADED 3!, retry in 1000–2000',
    'made ready and applied 6': 'current; runs 6, seen 6 → no-retry, save 6, report 6 APPLIED 1',
    'made ready and failed 6':
      'failed 6 ROLLED_BACK, tried 1, again later; runs 4, seen 6 → report 6 ROLLED_BACK 1!, retry in 500–1000',
    close: 'closed; runs 4, seen 5 → no-retry',
  },
  closed: {},
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
  const number = fc.integer({ min: 1, max: 9 })
  const event: fc.Arbitrary<NodeEvent> = fc.oneof(
    number.map((n) => ({ kind: 'restored', held: held(n) }) as const),
    fc.option(number).map((n) => ({ kind: 'head', number: n }) as const),
    fc.record({ kind: fc.constant('release' as const), held: number.map((n) => held(n)), force: fc.boolean() }),
    number.map((n) => ({ kind: 'unfit', number: n }) as const),
    // Going back is the one exception; what it leads to is in the table and below.
    fc.constantFrom(...Object.values(events).filter(({ kind }) => kind !== 'close' && kind !== 'go-back')),
  )

  test('I5: what is desired and what runs never go down', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (series) => {
        let state: NodeState = newNode
        for (const one of series) {
          const [after] = next(state, one)
          const numbers = (s: NodeState) => [desired(s), runsOf(s)].map((h) => h?.release.number ?? 0)
          const [before, now] = [numbers(state), numbers(after)]
          expect(now[0]).toBeGreaterThanOrEqual(before[0] as number)
          expect(now[1]).toBeGreaterThanOrEqual(before[1] as number)
          expect(after.seen ?? 0).toBeGreaterThanOrEqual(state.seen ?? 0)
          state = after
        }
      }),
    )
  })

  test('I6, R7: releases in any order, each any number of times: the newest is what runs in the end', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (series) => {
        let state: NodeState = newNode
        let asked = false
        const on = (one: NodeEvent) => {
          const [after, commands] = next(state, one)
          state = after
          asked ||= commands.some(({ kind }) => kind === 'ask')
          if (one.kind === 'loading') asked = false
        }
        series.forEach(on)
        const newest = desired(state)?.release.number
        // An engine that does what it is asked, and for which everything works.
        for (let i = 0; i < 5; i++) {
          if (state.kind === 'failed' && state.retrying) on({ kind: 'retry-due' })
          if (asked || state.kind === 'applying') {
            on({ kind: 'loading' })
            on({ kind: 'settled', status: 'APPLIED', mayRetry: false })
          }
        }
        if (state.kind === 'failed') expect(state.retrying).toBe(false)
        else if (newest !== undefined) {
          expect(nodeStatusOf(state)).toBe('APPLIED')
          expect(runsOf(state)?.release.number).toBe(newest)
        }
      }),
    )
  })

  test('gone back, only something newer is taken, and that is what runs', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (series) => {
        let state: NodeState = back
        for (const one of series) {
          state = next(state, one)[0]
          const newest = desired(state)?.release.number ?? 0
          expect(newest === back.target.release.number || newest > back.refused.number).toBe(true)
        }
      }),
    )
  })

  test('duplicates are harmless: the same release again changes nothing and does nothing', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), number, (series, n) => {
        const state = series.reduce<NodeState>((s, one) => next(s, one)[0], newNode)
        const once = next(state, { kind: 'release', held: held(n), force: false })[0]
        const known = desired(once)?.release
        if (known?.digest !== held(known?.number ?? 0).release.digest) return
        const [twice, commands] = next(once, { kind: 'release', held: held(n), force: false })
        expect(twice).toBe(once)
        expect(commands).toEqual([])
      }),
    )
  })

  test('what would be passed over is known before it is looked into', () => {
    expect(isNews(states.current, 5)).toBe(false)
    expect(isNews(states.current, 5, true)).toBe(true)
    expect(isNews(states.current, 6)).toBe(true)
    expect(isNews(newNode, 1)).toBe(true)
    expect(isNews(states.closed, 9)).toBe(false)
  })

  test('retries wait longer each time, up to five minutes', () => {
    const bounds = [1, 2, 3, 10, 1000].map((attempts) => {
      const applying: NodeState = { ...states.applying, attempts }
      const [, commands] = next(applying, events['rolled back'])
      return commands.flatMap((c) => (c.kind === 'retry-later' ? [c.maxMs] : []))
    })
    expect(bounds.flat()).toEqual([1_000, 2_000, 4_000, 300_000, 300_000])
  })
})
