/** The connection's machine (agent/connection.ts): every state × every event. */
import { describe, expect, test } from 'vitest'
import { backoff, pollPlan, step, type Connection, type ConnectionEvent } from '../src/agent/connection.ts'

const states = {
  idle: { kind: 'idle' },
  connecting: { kind: 'connecting', failures: 0, meanwhile: 'none' },
  'connecting, third time': { kind: 'connecting', failures: 2, meanwhile: 'instead' },
  greeting: { kind: 'greeting', failures: 2, meanwhile: 'now-and-then' },
  online: { kind: 'online', failures: 0 },
  'online after failures, no heartbeat yet': { kind: 'online', failures: 3 },
  waiting: { kind: 'waiting', failures: 2, meanwhile: 'instead' },
  closed: { kind: 'closed' },
} as const satisfies Record<string, Connection>

const events = {
  open: { kind: 'open' },
  opened: { kind: 'opened' },
  welcome: { kind: 'welcome' },
  'sent away': { kind: 'sent-away', maxMs: 60_000 },
  dropped: { kind: 'dropped' },
  'dropped, nobody there': { kind: 'dropped', nobody: true },
  'dropped, come back in 7 s': { kind: 'dropped', retryAfterMs: 7_000 },
  'turned away': { kind: 'turned-away' },
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
  const polls = 'meanwhile' in after ? ` ${after.meanwhile}` : ''
  const shown = after === state ? '=' : 'failures' in after ? `${after.kind} ${after.failures}${polls}` : after.kind
  return did.length > 0 ? `${shown} → ${did.join(', ')}` : shown
}

/** What is not in here changes nothing and does nothing. */
const table: Record<StateName, Partial<Record<EventName, string>>> = {
  idle: {
    open: 'connecting 0 none → connect, deadline in 10000–10000',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  connecting: {
    opened: 'greeting 0 none → say-hello, deadline in 10000–10000',
    'sent away': 'waiting 0 now-and-then → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 1 instead → drop, no deadline, reconnect in 0–200',
    'dropped, nobody there': 'waiting 1 none → drop, no deadline, reconnect in 0–200',
    'dropped, come back in 7 s': 'waiting 1 now-and-then → drop, no deadline, reconnect in 7000–10500',
    'turned away': 'waiting 1 none → drop, no deadline, reconnect in 30000–60000',
    silent: 'waiting 1 instead → drop, no deadline, reconnect in 0–200',
    'deadline passed': 'waiting 1 instead → drop, no deadline, reconnect in 0–200',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  'connecting, third time': {
    opened: 'greeting 2 instead → say-hello, deadline in 10000–10000',
    'sent away': 'waiting 2 now-and-then → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    'dropped, nobody there': 'waiting 3 none → drop, no deadline, reconnect in 400–800',
    'dropped, come back in 7 s': 'waiting 3 now-and-then → drop, no deadline, reconnect in 7000–10500',
    'turned away': 'waiting 3 none → drop, no deadline, reconnect in 30000–60000',
    silent: 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    'deadline passed': 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  greeting: {
    welcome: 'online 2 → no deadline, wait-heartbeat, catch-up',
    'sent away': 'waiting 2 now-and-then → drop, no deadline, reconnect in 0–60000',
    dropped: 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    'dropped, nobody there': 'waiting 3 none → drop, no deadline, reconnect in 400–800',
    'dropped, come back in 7 s': 'waiting 3 now-and-then → drop, no deadline, reconnect in 7000–10500',
    'turned away': 'waiting 3 none → drop, no deadline, reconnect in 30000–60000',
    silent: 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    'deadline passed': 'waiting 3 instead → drop, no deadline, reconnect in 400–800',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  online: {
    'sent away': 'waiting 0 now-and-then → drop, no heartbeat, reconnect in 0–60000',
    dropped: 'waiting 1 instead → drop, no heartbeat, reconnect in 0–200',
    'dropped, nobody there': 'waiting 1 none → drop, no heartbeat, reconnect in 0–200',
    'dropped, come back in 7 s': 'waiting 1 now-and-then → drop, no heartbeat, reconnect in 7000–10500',
    'turned away': 'waiting 1 none → drop, no heartbeat, reconnect in 30000–60000',
    silent: 'waiting 1 instead → drop, no heartbeat, reconnect in 0–200',
    'heartbeat due': 'online 0 → say-heartbeat, wait-heartbeat',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  'online after failures, no heartbeat yet': {
    'sent away': 'waiting 3 now-and-then → drop, no heartbeat, reconnect in 0–60000',
    dropped: 'waiting 4 instead → drop, no heartbeat, reconnect in 800–1600',
    'dropped, nobody there': 'waiting 4 none → drop, no heartbeat, reconnect in 800–1600',
    'dropped, come back in 7 s': 'waiting 4 now-and-then → drop, no heartbeat, reconnect in 7000–10500',
    'turned away': 'waiting 4 none → drop, no heartbeat, reconnect in 30000–60000',
    silent: 'waiting 4 instead → drop, no heartbeat, reconnect in 800–1600',
    'heartbeat due': 'online 0 → say-heartbeat, wait-heartbeat',
    close: 'closed → drop, no deadline, no heartbeat, no reconnect',
  },
  waiting: {
    'reconnect due': 'connecting 2 instead → connect, deadline in 10000–10000',
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
  expect([0, 1, 2, 7, 8, 1000].map((n) => backoff(n))).toEqual([
    [0, 200],
    [200, 400],
    [400, 800],
    [12_800, 25_600],
    [15_000, 30_000],
    [15_000, 30_000],
  ])
  expect(backoff(0, 4_000)).toEqual([4_000, 6_000])
})

test('F28: each of 5,000 nodes tries again within twice the time that the control plane was away, and 600 ms', () => {
  for (let node = 0; node < 5_000; node++) {
    const awayMs = Math.random() * 12_000
    let [connection, commands] = step({ kind: 'online', failures: 0 }, { kind: 'dropped' })
    let atMs = 0
    while (atMs < awayMs) {
      for (const command of commands) {
        if (command.kind === 'wait') atMs += command.minMs + Math.random() * (command.maxMs - command.minMs)
      }
      ;[connection] = step(connection, { kind: 'due', timer: 'reconnect' })
      expect(connection.kind).toBe('connecting')
      ;[connection, commands] = step(connection, { kind: 'dropped' })
    }
    expect(atMs - awayMs).toBeLessThan(2 * awayMs + 600)
  }
})

test('polls stand in for a socket that failed, not for one that was told to come later, and look now and then beside one that works', () => {
  expect(Object.values(states).map(pollPlan)).toEqual([
    'none',
    'none',
    'instead',
    'now-and-then',
    'now-and-then',
    'now-and-then',
    'instead',
    'none',
  ])
})
