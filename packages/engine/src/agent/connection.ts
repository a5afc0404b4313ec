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
  /** The socket is being opened. */
  | ({ readonly kind: 'connecting' } & Away)
  /** `hello` was said; `welcome` is awaited. */
  | ({ readonly kind: 'greeting' } & Away)
  /** A connection counts as one that lasts from its first heartbeat: until then the failures before it are kept. */
  | { readonly kind: 'online'; readonly failures: number }
  | ({ readonly kind: 'waiting' } & Away)
  | { readonly kind: 'closed' }

/** What is known of a connection that was lost. */
export interface Drop {
  readonly retryAfterMs?: number | undefined
  /** Nothing there takes connections. */
  readonly nobody?: boolean | undefined
}

interface Away {
  /** In a row. */
  readonly failures: number
  readonly meanwhile: PollPlan
}

/** How to poll beside the socket: not at all, now and then as a safety net, or with long polls in place of it. */
export type PollPlan = 'none' | 'now-and-then' | 'instead'

export type ConnectionEvent =
  | { readonly kind: 'open' }
  | { readonly kind: 'opened' }
  | { readonly kind: 'welcome' }
  /** The control plane wants the node to come back later, after at most so many milliseconds. */
  | { readonly kind: 'sent-away'; readonly maxMs: number }
  /** The other side has closed, refused, or said what makes no sense. */
  | ({ readonly kind: 'dropped' } & Drop)
  /** The control plane does not take this node while another has its uid. */
  | { readonly kind: 'turned-away' }
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
/** So short that a control plane that restarts has its fleet back soon: who comes too early is told when to come. */
const firstBackoffMs = 200
const maxBackoffMs = 30_000
const turnedAwayMs = [30_000, 60_000] as const

export function step(state: Connection, event: ConnectionEvent): ConnectionStep {
  if (event.kind === 'close') return closed(state)
  switch (state.kind) {
    case 'idle':
      // The first try gets its chance before anyone polls.
      return event.kind === 'open' ? connecting({ failures: 0, meanwhile: 'none' }) : stay(state)
    case 'connecting':
    case 'greeting':
      return opening(state, event)
    case 'online':
      return online(state, event)
    case 'waiting':
      return event.kind === 'due' && event.timer === 'reconnect' ? connecting(state) : stay(state)
    case 'closed':
      return stay(state)
  }
}

function opening(state: Connection & { kind: 'connecting' | 'greeting' }, event: ConnectionEvent): ConnectionStep {
  const { failures, meanwhile } = state
  switch (event.kind) {
    case 'opened':
      if (state.kind === 'greeting') return stay(state)
      return [{ kind: 'greeting', failures, meanwhile }, [{ kind: 'say-hello' }, wait('deadline', deadlineMs)]]
    case 'welcome':
      if (state.kind === 'connecting') return stay(state)
      return [
        { kind: 'online', failures },
        [{ kind: 'no-wait', timer: 'deadline' }, { kind: 'wait-heartbeat' }, { kind: 'catch-up' }],
      ]
    case 'due':
      return event.timer === 'deadline' ? failed(failures, 'deadline') : stay(state)
    default:
      return lost(state, event, 'deadline')
  }
}

function online(state: Connection & { kind: 'online' }, event: ConnectionEvent): ConnectionStep {
  if (event.kind !== 'due') return lost(state, event, 'heartbeat')
  if (event.timer !== 'heartbeat') return stay(state)
  return [{ kind: 'online', failures: 0 }, [{ kind: 'say-heartbeat' }, { kind: 'wait-heartbeat' }]]
}

function lost(
  state: Connection & { kind: 'connecting' | 'greeting' | 'online' },
  event: ConnectionEvent,
  timer: Timer,
): ConnectionStep {
  const { failures } = state
  switch (event.kind) {
    case 'dropped':
      return failed(failures, timer, event)
    case 'silent':
      return failed(failures, timer)
    case 'sent-away':
      // The control plane is there, and wants fewer sockets, not more polls.
      return waiting({ failures, meanwhile: 'now-and-then' }, timer, [0, event.maxMs])
    case 'turned-away':
      // By poll it would be taken for the other.
      return waiting({ failures: failures + 1, meanwhile: 'none' }, timer, turnedAwayMs)
    default:
      return stay(state)
  }
}

function failed(failures: number, timer: Timer, { retryAfterMs, nobody }: Drop = {}): ConnectionStep {
  // Where nobody is, no poll is answered either, and once somebody is, polls would only be in the way of sockets.
  const meanwhile = nobody ? 'none' : retryAfterMs ? 'now-and-then' : 'instead'
  return waiting({ failures: failures + 1, meanwhile }, timer, backoff(failures, retryAfterMs))
}

function connecting({ failures, meanwhile }: Away): ConnectionStep {
  return [{ kind: 'connecting', failures, meanwhile }, [{ kind: 'connect' }, wait('deadline', deadlineMs)]]
}

function waiting(away: Away, timer: Timer, [minMs, maxMs]: readonly [number, number]): ConnectionStep {
  return [
    { kind: 'waiting', ...away },
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

/**
 * At first anywhere from 0 to a bound, then between half and all of one that doubles: with full jitter a node that was
 * lucky often has a long wait before it though it was away for a moment. So it is back, at the latest, twice as long
 * after the control plane as that was away. What the server asks for is the least, spread by half of it.
 */
export function backoff(failures: number, retryAfterMs?: number): readonly [minMs: number, maxMs: number] {
  if (retryAfterMs !== undefined && retryAfterMs > 0) return [retryAfterMs, retryAfterMs * 1.5]
  const maxMs = Math.min(maxBackoffMs, firstBackoffMs * 2 ** Math.min(failures, 10))
  return [failures === 0 ? 0 : maxMs / 2, maxMs]
}

function wait(timer: Timer, ms: number): ConnectionCommand {
  return { kind: 'wait', timer, minMs: ms, maxMs: ms }
}

export function pollPlan(state: Connection): PollPlan {
  switch (state.kind) {
    case 'idle':
    case 'closed':
      return 'none'
    case 'online':
      return 'now-and-then'
    default:
      return state.meanwhile
  }
}
