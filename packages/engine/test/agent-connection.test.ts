/** The connection's machine (agent/connection.ts): every state × every event. */
import { describe, expect, test } from 'vitest'
import { backoff, pollPlan, step, type Connection, type ConnectionEvent } from '../src/agent/connection.ts'

const states = {
  idle: { kind: 'idle' },
  connecting: { kind: 'connecting', failures: 0 },
  'connecting, third time': { kind: 'connecting', failures: 2 },
  greeting: { kind: 'greeting', failures: 2 },
  online: { kind: 'online' },
  waiting: { kind: 'waiting', failures: 2 },
  closed: { kind: 'closed' },
} as const satisfies Record<string, Connection>

const events = {
  open: { kind: 'open' },
  opened: { kind: 'opened' },
  welcome: { kind: 'welcome' },
  'sent away': { kind: 'sent-away', maxMs: 60_000 },
  dropped: { kind: 'dropped' },
  'dropped, come back in 7 s': { kind: 'dropped', retryAfterMs: 7_000 },
  silent: { kind: 'silent' },
  'deadline passed': { kind: 'due', timer: 'deadline' },
  'heartbeat due': { kind: 'due', timer: 'heartbeat' },
  'reconnect due': { kind: 'due', timer: 'reconnect' },
  close: { kind: 'close' },
} as const satisfies Record<string, ConnectionEvent>

type StateName = keyof typeof states
type EventName = keyof typeof events

function shownStep(state: Connection, event: ConnectionEvent): string {
  const [after, commands] = step(state, event)
  const did = commands.map((command) => {
    if (command.kind === 'wait') return `${command.timer} in ${command.minMs}–${command.maxMs}`
    return command.kind === 'no-wait' ? `no ${command.timer}` : command.kind
  })
  const shown = after === state ? '=' : 'failures' in after ? `${after.kind} ${after.failures}` : after.kind
  return did.length > 0 ? `${shown} → ${did.join(', ')}` : shown
}

/** What is not in here changes nothing and does nothing. */
const table: Record<StateName, Partial<Record<EventName, string>>> = {
  idle: {
    open: 'connecting 0 → connect, deadline in 10000–10000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  connecting: {
    opened: 'greeting 0 → say-hello, deadline in 10000–10000',
    'sent away': 'waiting 1 → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 1 → drop, no deadline, reconnect in 0–1000',
    'dropped, come back in 7 s': 'waiting 1 → drop, no deadline, reconnect in 7000–10500',
    silent: 'waiting 1 → drop, no deadline, reconnect in 0–1000',
    'deadline passed': 'waiting 1 → drop, no deadline, reconnect in 0–1000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  'connecting, third time': {
    opened: 'greeting 2 → say-hello, deadline in 10000–10000',
    'sent away': 'waiting 3 → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    'dropped, come back in 7 s': 'waiting 3 → drop, no deadline, reconnect in 7000–10500',
    silent: 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    'deadline passed': 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  greeting: {
    welcome: 'online → no deadline, wait-heartbeat, catch-up',
    'sent away': 'waiting 3 → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    'dropped, come back in 7 s': 'waiting 3 → drop, no deadline, reconnect in 7000–10500',
    silent: 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    'deadline passed': 'waiting 3 → drop, no deadline, reconnect in 0–4000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  online: {
    'sent away': 'waiting 0 → drop, no heartbeat, reconnect in 0–60000',
    dropped: 'waiting 1 → drop, no heartbeat, reconnect in 0–1000',
    'dropped, come back in 7 s': 'waiting 1 → drop, no heartbeat, reconnect in 7000–10500',
    silent: 'waiting 1 → drop, no heartbeat, reconnect in 0–1000',
    'heartbeat due': '= → say-heartbeat, wait-heartbeat',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  waiting: {
    'reconnect due': 'connecting 2 → connect, deadline in 10000–10000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
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

test('F28: reconnects spread over a bound that doubles, up to 30 s; what the server asks for is the least', () => {
  expect([0, 1, 2, 5, 1000].map((n) => backoff(n))).toEqual([
    [0, 1_000],
    [0, 2_000],
    [0, 4_000],
    [0, 30_000],
    [0, 30_000],
  ])
  expect(backoff(0, 4_000)).toEqual([4_000, 6_000])
})

test('polls stand in for a socket that failed, and look now and then beside one that works', () => {
  expect(Object.values(states).map(pollPlan)).toEqual([
    'none',
    'none',
    'instead',
    'instead',
    'now-and-then',
    'instead',
    'none',
  ])
})
