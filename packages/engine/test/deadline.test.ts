/** Time limits that bind, whatever the work does, and that cost nothing where the work is done at once. */
import { expect, test } from 'vitest'
import { DeadlineError, StoppedError, within } from '../src/deadline.ts'

const forever = new Promise<never>(() => {})
const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length

test('a limit ends the wait and aborts what the work was given; what it comes to later is handed over', async () => {
  let settle = (_: string) => {}
  const signals: AbortSignal[] = []
  const late: unknown[] = []
  const work = (signal: AbortSignal) => {
    signals.push(signal)
    return new Promise<string>((resolve) => (settle = resolve))
  }
  await expect(within(5, undefined, work, (result) => late.push(result))).rejects.toThrow(DeadlineError)
  expect(signals[0]?.aborted).toBe(true)
  settle('after all')
  await expect.poll(() => late).toEqual([{ status: 'fulfilled', value: 'after all' }])
})

test('whoever stops ends the wait, in the turn in which it began, later, and where the work was quicker to end', async () => {
  for (const wait of [async () => {}, () => new Promise((resolve) => setTimeout(resolve, 5))]) {
    const stop = new AbortController()
    const signals: AbortSignal[] = []
    const waiting = within(60_000, stop.signal, (signal) => {
      signals.push(signal)
      return forever
    })
    await wait()
    stop.abort()
    await expect(waiting).rejects.toThrow(StoppedError)
    expect(signals[0]?.aborted).toBe(true)
  }
  const stop = new AbortController()
  const late: unknown[] = []
  const waiting = within(
    60_000,
    stop.signal,
    async () => 'done',
    (result) => late.push(result),
  )
  stop.abort()
  await expect(waiting).rejects.toThrow(StoppedError)
  expect(late).toEqual([{ status: 'fulfilled', value: 'done' }])
})

test('work that is done in the turn in which it began sets no timer; what is still under way has one, until its end', async () => {
  const before = timers()
  const quick = within(60_000, undefined, async () => 'quick')
  expect(timers()).toBe(before)
  expect(await quick).toBe('quick')
  let settle = (_: string) => {}
  const slow = within(60_000, undefined, () => new Promise<string>((resolve) => (settle = resolve)))
  await new Promise((resolve) => setImmediate(resolve))
  expect(timers()).toBe(before + 1)
  settle('slow')
  expect(await slow).toBe('slow')
  expect(timers()).toBe(before)
})
