/**
 * A fake bus inside this process that drops, doubles, delays and reorders as it is told: for what follows from messages
 * and their loss, not for what a server does. What real servers do is held by `bus-conformance` and `test/bus-fleet`.
 */
import { BusError, type Bus, type BusListener } from '../src/buses/bus.ts'

/** After how many milliseconds each copy of a message arrives: none is a loss, two are a duplicate. */
export type Fate = () => readonly number[]

const once: Fate = () => [0]

export class LossyServer {
  /** Of each message for each listener by itself. */
  fate: Fate
  #isUp = true
  readonly #listeners = new Set<Listening>()
  readonly #underWay = new Set<NodeJS.Timeout>()

  constructor(fate = once) {
    this.fate = fate
  }

  newBus(): Bus {
    const own = new Set<Listening>()
    let isClosed = false
    const gone = () => new BusError('lossy://here: it is away')
    return {
      name: 'lossy://here',
      maxBytes: 1_000_000,
      reach: async () => {
        if (!this.#isUp || isClosed) throw gone()
      },
      publish: async (topic, bytes) => {
        await Promise.resolve()
        if (!this.#isUp || isClosed) throw gone()
        this.#send(topic, Uint8Array.from(bytes))
      },
      subscribe: (topic, listener) => {
        const one = { topic, listener }
        own.add(one)
        this.#listeners.add(one)
        queueMicrotask(() => {
          if (this.#isUp) listener.listening()
          else listener.lost(gone())
        })
        return () => {
          own.delete(one)
          this.#listeners.delete(one)
        }
      },
      close: async () => {
        isClosed = true
        for (const one of own) this.#listeners.delete(one)
      },
    }
  }

  /** What is under way is lost with it. */
  stop(): void {
    this.#isUp = false
    this.close()
    for (const { listener } of this.#listeners) listener.lost(new BusError('lossy://here: it has ended'))
  }

  start(): void {
    this.#isUp = true
    for (const { listener } of this.#listeners) listener.listening()
  }

  /** Leaves no timer behind. */
  close(): void {
    for (const timer of this.#underWay) clearTimeout(timer)
    this.#underWay.clear()
  }

  #send(topic: string, bytes: Uint8Array): void {
    for (const one of this.#listeners) {
      if (one.topic !== topic) continue
      for (const ms of this.fate()) {
        const timer = setTimeout(() => {
          this.#underWay.delete(timer)
          if (this.#listeners.has(one)) one.listener.message(bytes)
        }, ms)
        this.#underWay.add(timer)
      }
    }
  }
}

interface Listening {
  readonly topic: string
  readonly listener: BusListener
}
