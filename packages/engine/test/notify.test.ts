import { describe, expect, test } from 'vitest'
import { TransientError } from '../src/component.ts'
import { NotificationError, Notifier, notifyWith, type Notification, type ReloadEvent } from '../src/notify.ts'
import { kinds, reloadEvent } from './outcomes.ts'

const fast = { backOffMs: 2, maxBackOffMs: 5 }

/** A notification that does what the script says at each call, and keeps what it got. */
function scripted(
  script: (call: number, signal: AbortSignal) => void | Promise<void>,
): Notification & { got: number[] } {
  const got: number[] = []
  return {
    name: 'n',
    on: 'both',
    got,
    async send(event, signal) {
      got.push(event.id)
      await script(got.length, signal)
    },
  }
}

function failing(error: Error): () => never {
  return () => {
    throw error
  }
}

const never = new Promise<void>(() => {})

/** A notifier, and the warnings that it gave. */
function notifier(
  notifications: readonly Notification[],
  options?: ConstructorParameters<typeof Notifier>[2],
): { readonly tell: Notifier; readonly warnings: string[] } {
  const warnings: string[] = []
  return { tell: new Notifier(notifications, (message) => warnings.push(message), options), warnings }
}

describe('who is told of what', () => {
  test.each([
    ['both', ['committed', 'rejected', 'restart-required', 'rolled-back', 'degraded']],
    ['success', ['committed']],
    ['failure', ['rejected', 'restart-required', 'rolled-back', 'degraded']],
  ] as const)('on %s: a refusal notifies too, and nobody is told that nothing changed (K3)', async (on, told) => {
    const got: string[] = []
    const { tell } = notifier([notifyWith((event) => void got.push(event.outcome.kind), { on })])
    for (const kind of kinds) tell.reload(reloadEvent(kind))
    await tell.close(5000)
    expect(got).toEqual(told)
  })

  test('a function is told of both, under its own name, if nothing else is said', () => {
    expect(notifyWith(function page() {})).toMatchObject({ name: 'page', on: 'both' })
    expect(notifyWith(() => {}, { name: 'pager', on: 'failure' })).toMatchObject({ name: 'pager', on: 'failure' })
  })

  test('the event that is sent is the event that was given', async () => {
    const got: ReloadEvent[] = []
    const { tell } = notifier([notifyWith((event) => void got.push(event))])
    const event = reloadEvent('rolled-back')
    tell.reload(event)
    await tell.close(5000)
    expect(got[0]).toBe(event)
  })
})

describe('delivery', () => {
  test('is in order, and reload() returns before any of it', async () => {
    const slow = scripted(() => new Promise((resolve) => setTimeout(resolve, 2)))
    const { tell } = notifier([slow])
    for (let id = 1; id <= 5; id++) tell.reload(reloadEvent('committed', {}, id))
    expect(slow.got).toEqual([])
    await tell.close(5000)
    expect(slow.got).toEqual([1, 2, 3, 4, 5])
  })

  test('one that hangs does not hold up another (F50)', async () => {
    const good = scripted(() => {})
    const { tell } = notifier([scripted(() => never), good])
    tell.reload(reloadEvent('committed', {}, 1))
    tell.reload(reloadEvent('committed', {}, 2))
    await expect.poll(() => good.got).toEqual([1, 2])
    await tell.close(1)
  })

  test('what throws, at once or later, is a warning and nothing else (F49, F58)', async () => {
    const throwing: Notification = { name: 'bad', on: 'both', send: failing(new Error('at once')) }
    const rejecting = notifyWith(async () => failing(new Error('later'))(), { name: 'worse' })
    const { tell, warnings } = notifier([throwing, rejecting])
    tell.reload(reloadEvent('degraded', {}, 7))
    await tell.close(5000)
    expect(warnings.sort()).toEqual([
      'notification bad: event 7 (degraded) was not delivered: at once',
      'notification worse: event 7 (degraded) was not delivered: later',
    ])
  })

  test('only errors that say so are tried again', async () => {
    const transient = scripted((call) => {
      if (call < 4) throw new TransientError('away')
    })
    const lasting = scripted(failing(new Error('no')))
    const { tell } = notifier([transient, lasting], fast)
    tell.reload(reloadEvent('committed', {}, 1))
    tell.reload(reloadEvent('committed', {}, 2))
    await expect.poll(() => transient.got).toEqual([1, 1, 1, 1, 2])
    expect(lasting.got).toEqual([1, 2])
    await tell.close(5000)
  })

  test('tries end at the deadline, with a warning that counts them, and the next event has its turn', async () => {
    const { tell, warnings } = notifier([scripted(failing(new TransientError('away')))], { ...fast, deadlineMs: 100 })
    tell.reload(reloadEvent('committed', {}, 1))
    tell.reload(reloadEvent('rejected', {}, 2))
    await expect.poll(() => warnings, { timeout: 5000 }).toHaveLength(2)
    await tell.close(5000)
    expect(warnings).toEqual([
      expect.stringMatching(
        /^notification n: event 1 \(committed\) was not delivered after \d+ tries: (away|took too long)$/,
      ),
      expect.stringMatching(
        /^notification n: event 2 \(rejected\) was not delivered after \d+ tries: (away|took too long)$/,
      ),
    ])
  })

  test('the wait that the receiver asks for is kept', async () => {
    const times: number[] = []
    const busy = scripted((call) => {
      times.push(performance.now())
      if (call === 1) throw new NotificationError('busy', { transient: true, retryAfterMs: 100 })
    })
    const { tell } = notifier([busy], fast)
    tell.reload(reloadEvent('committed'))
    await expect.poll(() => times, { timeout: 5000 }).toHaveLength(2)
    await tell.close(5000)
    // Timers may fire a millisecond early.
    expect(times[1]! - times[0]!).toBeGreaterThan(98)
  })

  test('a wait beyond the deadline is not begun', async () => {
    const busy = new NotificationError('answered 503', { transient: true, retryAfterMs: 3_600_000 })
    const { tell, warnings } = notifier([scripted(failing(busy))])
    tell.reload(reloadEvent('committed'))
    await expect.poll(() => warnings).toEqual(['notification n: event 1 (committed) was not delivered: answered 503'])
    await tell.close(5000)
  })

  test('one that never settles is aborted at the deadline, and its late result means nothing (F51, F52)', async () => {
    let aborted = 0
    let settle: (() => void) | undefined
    const hanging = scripted((call, signal) => {
      signal.addEventListener('abort', () => aborted++)
      return call === 1 ? new Promise((resolve) => (settle = resolve)) : undefined
    })
    const { tell, warnings } = notifier([hanging], { deadlineMs: 30 })
    tell.reload(reloadEvent('committed', {}, 1))
    tell.reload(reloadEvent('committed', {}, 2))
    await expect.poll(() => hanging.got).toEqual([1, 2])
    settle!()
    await tell.close(5000)
    expect(aborted).toBe(1)
    expect(warnings).toEqual(['notification n: event 1 (committed) was not delivered: took too long'])
  })

  test('too many that wait: the oldest are dropped, and counted (F25)', async () => {
    let go: (() => void) | undefined
    const slow = scripted((call) => (call === 1 ? new Promise((resolve) => (go = resolve)) : undefined))
    const { tell, warnings } = notifier([slow], { maxWaiting: 3 })
    tell.reload(reloadEvent('committed', {}, 1))
    await expect.poll(() => slow.got).toEqual([1])
    for (let id = 2; id <= 20; id++) tell.reload(reloadEvent('committed', {}, id))
    go!()
    await tell.close(5000)
    expect(slow.got).toEqual([1, 18, 19, 20])
    expect(warnings).toEqual([
      'notification n: more than 3 events wait; the oldest are dropped',
      'notification n: 16 events were dropped, as too many waited',
    ])
  })
})

describe('close', () => {
  test('waits for what is queued, and takes no more', async () => {
    const slow = scripted(() => new Promise((resolve) => setTimeout(resolve, 5)))
    const { tell } = notifier([slow])
    tell.reload(reloadEvent('committed', {}, 1))
    const closed = tell.close(5000)
    tell.reload(reloadEvent('committed', {}, 2))
    await closed
    expect(slow.got).toEqual([1])
    await tell.close(5000)
  })

  test('waits a bounded time, aborts, and says what was not sent (F51)', async () => {
    const signals: AbortSignal[] = []
    const { tell, warnings } = notifier([scripted((_, signal) => (signals.push(signal), never))])
    for (let id = 1; id <= 3; id++) tell.reload(reloadEvent('committed', {}, id))
    await tell.close(20)
    expect(signals.map((signal) => signal.aborted)).toEqual([true])
    expect(warnings).toEqual([
      'notification n: event 1 (committed) was not delivered: closed',
      'notification n: closed before 2 events were sent',
    ])
  })

  test('ends the wait between two tries: each event has one more, however far the receiver is', async () => {
    const busy = scripted(failing(new NotificationError('busy', { transient: true, retryAfterMs: 50_000 })))
    const { tell, warnings } = notifier([busy])
    tell.reload(reloadEvent('committed', {}, 1))
    tell.reload(reloadEvent('committed', {}, 2))
    await expect.poll(() => busy.got).toEqual([1])
    await tell.close(20_000)
    expect(busy.got).toEqual([1, 1, 2])
    expect(warnings).toEqual([
      'notification n: event 1 (committed) was not delivered after 2 tries: busy',
      'notification n: event 2 (committed) was not delivered: busy',
    ])
  })

  test('with nothing to do returns at once', async () => {
    await notifier([scripted(() => {})]).tell.close(0)
  })
})
