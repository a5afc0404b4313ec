/**
 * Asks for a reload when the process gets a signal. What happens when several come is `debounce.ts` and `engine.ts`.
 */
import type { ReloadRequest, Trigger } from '../trigger.ts'

/**
 * Asks for a reload each time the process gets `name` (SIGHUP by default). Signals that come faster than they are
 * taken count as one. From the call of `requests` to the abort of its signal, `name` no longer ends the process.
 */
export function onSignal(name: NodeJS.Signals = 'SIGHUP'): Trigger {
  return { name: `signal ${name}`, requests: (signal) => signals(name, signal) }
}

function signals(name: NodeJS.Signals, signal: AbortSignal): AsyncIterable<ReloadRequest> {
  let pending = false
  let wake = () => {}
  const onArrival = () => {
    pending = true
    wake()
  }
  const onAbort = () => {
    process.off(name, onArrival)
    wake()
  }
  // Listens now and not at the first `next()`: a SIGHUP in between would end the process.
  if (!signal.aborted) {
    process.on(name, onArrival)
    signal.addEventListener('abort', onAbort, { once: true })
  }
  return {
    async *[Symbol.asyncIterator]() {
      try {
        while (!signal.aborted) {
          if (pending) {
            pending = false
            yield { trigger: 'signal' }
          } else {
            await new Promise<void>((resolve) => (wake = resolve))
          }
        }
      } finally {
        signal.removeEventListener('abort', onAbort)
        process.off(name, onArrival)
      }
    },
  }
}
