import { expect, test } from 'vitest'
import { onSignal } from '../src/triggers/signal.ts'

const deaf = () => {}

test('a signal asks for a reload, from the call of requests on', async () => {
  const closing = new AbortController()
  const requests = onSignal('SIGUSR2').requests(closing.signal, deaf)
  // Sent before anyone iterates: without a listener it would have ended the process.
  process.kill(process.pid, 'SIGUSR2')
  const iterator = requests[Symbol.asyncIterator]()
  expect(await iterator.next()).toEqual({ done: false, value: { trigger: 'signal' } })
  process.kill(process.pid, 'SIGUSR2')
  expect(await iterator.next()).toEqual({ done: false, value: { trigger: 'signal' } })
  closing.abort()
  expect((await iterator.next()).done).toBe(true)
})

test('F59: a hundred signals that nobody has taken yet count as one, and one more is not lost', async () => {
  const closing = new AbortController()
  const iterator = onSignal('SIGUSR2').requests(closing.signal, deaf)[Symbol.asyncIterator]()
  for (let i = 0; i < 100; i++) process.emit('SIGUSR2')
  expect(await iterator.next()).toMatchObject({ done: false })
  const second = iterator.next()
  const still = await Promise.race([second, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))])
  expect(still).toBe('waits')
  process.emit('SIGUSR2')
  expect(await second).toMatchObject({ done: false })
  closing.abort()
})

test('the abort takes the listener away, also where nobody ever iterated', async () => {
  const before = process.listenerCount('SIGUSR2')
  const closing = new AbortController()
  const iterator = onSignal('SIGUSR2').requests(closing.signal, deaf)[Symbol.asyncIterator]()
  onSignal('SIGUSR2').requests(closing.signal, deaf)
  const waiting = iterator.next()
  expect(process.listenerCount('SIGUSR2')).toBe(before + 2)
  closing.abort()
  expect((await waiting).done).toBe(true)
  expect(process.listenerCount('SIGUSR2')).toBe(before)
  onSignal('SIGUSR2').requests(closing.signal, deaf)
  expect(process.listenerCount('SIGUSR2')).toBe(before)
})

test('SIGHUP is the default, and the name says which it is', () => {
  expect(onSignal().name).toBe('signal SIGHUP')
})
