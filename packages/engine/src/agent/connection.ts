/**
 * The life of a node's WebSocket: a pure machine, `step(state, event) → [state, commands]`. What is said over it is
 * `node.ts`; sockets and timers are `link.ts`. While there is no socket the link polls: `pollPlan` says how.
 */

/** As the control plane directs it, in milliseconds. */
export interface Pacing {
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly pollMs: number
}

/** Until the control plane has said otherwise. */
export const defaultPacing: Pacing = { heartbeatMs: 30_000, leaseMs: 90_000, pollMs: 60_000 }

export type Connection =
  | { readonly kind: 'idle' }
  /** The socket is being opened. `failures` in a row came before. */
  | { readonly kind: 'connecting'; readonly failures: number }
  /** `hello` was said; `welcome` is awaited. */
  | { readonly kind: 'greeting'; readonly failures: number }
  | { readonly kind: 'online' }
  | { readonly kind: 'waiting'; readonly failures: number }
  | { readonly kind: 'closed' }

export type ConnectionEvent =
  | { readonly kind: 'open' }
  | { readonly kind: 'opened' }
  | { readonly kind: 'welcome' }
  /** The control plane wants the node to come back later, after at most so many milliseconds. */
  | { readonly kind: 'sent-away'; readonly maxMs: number }
  /** The other side has closed, refused, or said what makes no sense. */
  | { readonly kind: 'dropped'; readonly retryAfterMs?: number | undefined }
  /** Nothing was heard for longer than the lease, or what is sent does not leave. */
  | { readonly kind: 'silent' }
  | { readonly kind: 'due'; readonly timer: Timer }
  | { readonly kind: 'close' }

export type Timer = 'deadline' | 'heartbeat' | 'reconnect'

export type ConnectionCommand =
  | { readonly kind: 'connect' }
  /** Let the socket go, if there is one. */
  | { readonly kind: 'drop' }
  | { readonly kind: 'say-hello' }
  | { readonly kind: 'say-heartbeat' }
  /** Say what could not be said before. */
  | { readonly kind: 'catch-up' }
  /** Send `due` after a random time between these. Replaces an earlier one of the same timer. */
  | { readonly kind: 'wait'; readonly timer: Timer; readonly minMs: number; readonly maxMs: number }
  /** The same, at the pace of heartbeats. */
  | { readonly kind: 'wait-heartbeat' }
  | { readonly kind: 'no-wait'; readonly timer: Timer }

export type ConnectionStep = readonly [Connection, readonly ConnectionCommand[]]

/** For opening, and again for the welcome. */
const deadlineMs = 10_000
const firstBackoffMs = 1_000
const maxBackoffMs = 30_000

export function step(state: Connection, event: ConnectionEvent): ConnectionStep {
  if (event.kind === 'close') return closed(state)
  switch (state.kind) {
    case 'idle':
      return event.kind === 'open' ? connecting(0) : stay(state)
    case 'connecting':
    case 'greeting':
      return opening(state, event)
    case 'online':
      return online(state, event)
    case 'waiting':
      return event.kind === 'due' && event.timer === 'reconnect' ? connecting(state.failures) : stay(state)
    case 'closed':
      return stay(state)
  }
}

function opening(state: Connection & { kind: 'connecting' | 'greeting' }, event: ConnectionEvent): ConnectionStep {
  switch (event.kind) {
    case 'opened':
      if (state.kind === 'greeting') return stay(state)
      return [{ kind: 'greeting', failures: state.failures }, [{ kind: 'say-hello' }, wait('deadline', deadlineMs)]]
    case 'welcome':
      if (state.kind === 'connecting') return stay(state)
      return [
        { kind: 'online' },
        [{ kind: 'no-wait', timer: 'deadline' }, { kind: 'wait-heartbeat' }, { kind: 'catch-up' }],
      ]
    case 'dropped':
      return waiting(state.failures + 1, 'deadline', backoff(state.failures, event.retryAfterMs))
    case 'silent':
      return waiting(state.failures + 1, 'deadline', backoff(state.failures))
    case 'sent-away':
      return waiting(state.failures + 1, 'deadline', [0, event.maxMs])
    case 'due':
      if (event.timer !== 'deadline') return stay(state)
      return waiting(state.failures + 1, 'deadline', backoff(state.failures))
    default:
      return stay(state)
  }
}

function online(state: Connection & { kind: 'online' }, event: ConnectionEvent): ConnectionStep {
  switch (event.kind) {
    case 'dropped':
      return waiting(1, 'heartbeat', backoff(0, event.retryAfterMs))
    case 'silent':
      return waiting(1, 'heartbeat', backoff(0))
    case 'sent-away':
      return waiting(0, 'heartbeat', [0, event.maxMs])
    case 'due':
      if (event.timer !== 'heartbeat') return stay(state)
      return [state, [{ kind: 'say-heartbeat' }, { kind: 'wait-heartbeat' }]]
    default:
      return stay(state)
  }
}

function connecting(failures: number): ConnectionStep {
  return [{ kind: 'connecting', failures }, [{ kind: 'connect' }, wait('deadline', deadlineMs)]]
}

function waiting(failures: number, timer: Timer, [minMs, maxMs]: readonly [number, number]): ConnectionStep {
  return [
    { kind: 'waiting', failures },
    [{ kind: 'drop' }, { kind: 'no-wait', timer }, { kind: 'wait', timer: 'reconnect', minMs, maxMs }],
  ]
}

function closed(state: Connection): ConnectionStep {
  if (state.kind === 'closed') return stay(state)
  const timers: readonly Timer[] = ['deadline', 'heartbeat', 'reconnect']
  return [{ kind: 'closed' }, [{ kind: 'drop' }, ...timers.map((timer) => ({ kind: 'no-wait', timer }) as const)]]
}

function stay(state: Connection): ConnectionStep {
  return [state, []]
}

/** Full jitter: anywhere from 0 to a bound that doubles. What the server asks for is the least, spread by half of it. */
export function backoff(failures: number, retryAfterMs?: number): readonly [minMs: number, maxMs: number] {
  if (retryAfterMs !== undefined && retryAfterMs > 0) return [retryAfterMs, retryAfterMs * 1.5]
  return [0, Math.min(maxBackoffMs, firstBackoffMs * 2 ** Math.min(failures, 10))]
}

function wait(timer: Timer, ms: number): ConnectionCommand {
  return { kind: 'wait', timer, minMs: ms, maxMs: ms }
}

/** How to poll beside the socket: not at all, now and then as a safety net, or with long polls in place of it. */
export type PollPlan = 'none' | 'now-and-then' | 'instead'

export function pollPlan(state: Connection): PollPlan {
  switch (state.kind) {
    case 'idle':
    case 'closed':
      return 'none'
    case 'online':
      return 'now-and-then'
    case 'waiting':
      // Sent away without a failure: the control plane is there, and wants fewer sockets, not more polls.
      return state.failures === 0 ? 'now-and-then' : 'instead'
    case 'connecting':
    case 'greeting':
      // The first try gets its chance; after a failure nobody waits for the next.
      return state.failures === 0 ? 'none' : 'instead'
  }
}
