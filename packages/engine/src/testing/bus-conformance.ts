/**
 * What every bus promises, as cases that any test runner can run:
 * `for (const { name, run } of testBus(…)) test(name, run)`. Each case has a server, or topics, of its own.
 */
import type { Bus, BusListener } from '../buses/bus.ts'

/** A server for one case. */
export interface BusRig {
  /** A new bus to it, with the right credentials. Closed by the case. */
  newBus(): Bus
  /** One with a wrong password. */
  wrongPassword(): { readonly bus: Bus; readonly password: string }
  /** The server process ends. */
  stopServer(): Promise<void>
  startServer(): Promise<void>
  /** Nothing passes between buses and server, and nobody is told (a half-open connection), until `letBack`. */
  silence(): void
  letBack(): void
  /** Connections from buses that are open now. */
  connections(): number | Promise<number>
  close(): Promise<void>
}

export interface BusFactory {
  open(): Promise<BusRig>
}

/** A message so large must pass. */
const largeBytes = 500_000

export interface BusCase {
  /** What is promised. */
  readonly name: string
  run(): Promise<void>
}

export function testBus({ open }: BusFactory): readonly BusCase[] {
  return Object.entries(cases).map(([name, check]) => ({
    name,
    async run() {
      const rig = await open()
      const buses: Bus[] = []
      try {
        const newBus = () => {
          const bus = rig.newBus()
          buses.push(bus)
          return bus
        }
        await check({ rig, newBus })
      } finally {
        for (const bus of buses) await bus.close()
        await rig.close()
      }
    },
  }))
}

interface Ground {
  readonly rig: BusRig
  newBus(): Bus
}

const cases: Readonly<Record<string, (ground: Ground) => Promise<void>>> = {
  async 'what is published reaches all who listen, byte for byte, in order, and nobody else'({ newBus }) {
    const [from, to, other] = [newBus(), newBus(), newBus()]
    const ears = [listen(to, 'a.b'), listen(other, 'a.b')]
    const elsewhere = listen(to, 'a.c')
    for (const one of [...ears, elsewhere]) await until('it listens', () => one.isListening)
    const said = [text('one'), Uint8Array.of(0, 255, 10, 13), new Uint8Array(), text('two')]
    for (const bytes of said) await from.publish('a.b', bytes)
    for (const { heard } of ears) {
      await until('all is heard', () => heard.length >= said.length)
      equal(heard, said)
    }
    equal(elsewhere.heard, [])
  },
  async 'a large message passes, and one above the limit is refused before it is sent'({ newBus }) {
    const [from, to] = [newBus(), newBus()]
    const ear = listen(to, 'large')
    await until('it listens', () => ear.isListening)
    const large = new Uint8Array(largeBytes).map((_, index) => (index * 31) % 251)
    await from.publish('large', large)
    await until('it is heard', () => ear.heard.length > 0)
    equal(ear.heard, [large])
    const { maxBytes = 0 } = from
    if (maxBytes < largeBytes) throw new Error(`the bus says that it takes ${maxBytes}; want ${largeBytes} at least`)
    const error = await refusal(from.publish('large', new Uint8Array(maxBytes + 1)))
    includes(error, `${maxBytes}`)
    await from.publish('large', text('after'))
    await until('it goes on', () => ear.heard.length > 1)
  },
  async 'what was said before is not told, and after leaving nothing is'({ newBus }) {
    const [from, to] = [newBus(), newBus()]
    const first = listen(to, 'topic')
    await until('it listens', () => first.isListening)
    await from.publish('topic', text('early'))
    await until('it is heard', () => first.heard.length > 0)
    const late = listen(newBus(), 'topic')
    await until('it listens', () => late.isListening)
    first.leave()
    await from.publish('topic', text('now'))
    await until('it is heard', () => late.heard.length > 0)
    equal(late.heard, [text('now')])
    equal(first.heard, [text('early')])
  },
  async 'F38, F39: after the server was restarted it listens again by itself, and says so'({ rig, newBus }) {
    const [from, to] = [newBus(), newBus()]
    const ear = listen(to, 'topic')
    await until('it listens', () => ear.isListening)
    await from.publish('topic', text('before'))
    await until('it is heard', () => ear.heard.length > 0)
    await rig.stopServer()
    await until('the loss is told', () => ear.lost.length > 0)
    await refusal(from.publish('topic', text('nobody hears it')))
    await rig.startServer()
    await until('it listens again', () => ear.isListening)
    await published(from, 'topic', text('after'))
    await until('it is heard', () => ear.heard.some((bytes) => equals(bytes, text('after'))))
  },
  async 'F22: a connection that is half open is found out, and another takes its place'({ rig, newBus }) {
    const [from, to] = [newBus(), newBus()]
    const ear = listen(to, 'topic')
    await until('it listens', () => ear.isListening)
    rig.silence()
    await refusal(from.publish('topic', text('nobody hears it')))
    await until('the loss is told', () => ear.lost.length > 0)
    rig.letBack()
    await until('it listens again', () => ear.isListening)
    await published(from, 'topic', text('after'))
    await until('it is heard', () => ear.heard.some((bytes) => equals(bytes, text('after'))))
  },
  async 'a server that is away at the start is waited for, and told of once'({ rig, newBus }) {
    await rig.stopServer()
    const ear = listen(newBus(), 'topic')
    await until('the loss is told', () => ear.lost.length > 0)
    await refusal(newBus().publish('topic', text('nobody is there')))
    await rig.startServer()
    await until('it listens', () => ear.isListening)
    const reasons = new Set(ear.lost)
    if (reasons.size !== ear.lost.length) throw new Error(`told the same twice: ${ear.lost.join('; ')}`)
  },
  async 'a wrong password is a clear error without the password, at both ends'({ rig }) {
    const { bus, password } = rig.wrongPassword()
    try {
      const ear = listen(bus, 'topic')
      await until('it is told', () => ear.lost.length > 0)
      for (const error of [ear.lost[0] ?? '', await refusal(bus.publish('topic', text('x')))]) {
        includes(error, bus.name)
        if (!/auth|password|credential/i.test(error)) throw new Error(`does not say that it is the password: ${error}`)
        if (error.includes(password)) throw new Error('holds the password')
      }
      if (ear.isListening) throw new Error('listens all the same')
    } finally {
      await bus.close()
    }
  },
  async 'closing leaves no connection, also while it is away, and ends what waits'({ rig, newBus }) {
    const [from, to] = [newBus(), newBus()]
    const ear = listen(to, 'topic')
    await until('it listens', () => ear.isListening)
    await from.publish('topic', text('x'))
    await from.close()
    await to.close()
    await untilAsync('no connection is open', async () => (await rig.connections()) === 0)
    await refusal(from.publish('topic', text('x')))
    await rig.stopServer()
    const away = newBus()
    listen(away, 'topic')
    const waiting = refusal(away.publish('topic', text('x')))
    await away.close()
    await waiting
  },
}

interface Ear {
  readonly heard: Uint8Array[]
  readonly lost: string[]
  readonly isListening: boolean
  leave(): void
}

function listen(bus: Bus, topic: string): Ear {
  const heard: Uint8Array[] = []
  const lost: string[] = []
  let isListening = false
  const listener: BusListener = {
    message: (bytes) => void heard.push(Uint8Array.from(bytes)),
    listening: () => (isListening = true),
    lost({ message }) {
      isListening = false
      lost.push(message)
    },
  }
  const leave = bus.subscribe(topic, listener)
  return {
    heard,
    lost,
    get isListening() {
      return isListening
    },
    leave,
  }
}

const deadlineMs = 60_000

function until(what: string, holds: () => boolean): Promise<void> {
  return untilAsync(what, async () => holds())
}

async function untilAsync(what: string, holds: () => Promise<boolean>): Promise<void> {
  const began = performance.now()
  while (!(await holds())) {
    if (performance.now() - began > deadlineMs) throw new Error(`${what}: not within ${deadlineMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Who speaks may still be on its way back. */
async function published(bus: Bus, topic: string, bytes: Uint8Array): Promise<void> {
  const began = performance.now()
  for (;;) {
    try {
      return await bus.publish(topic, bytes)
    } catch (error) {
      if (performance.now() - began > deadlineMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function refusal(publishing: Promise<void>): Promise<string> {
  const text = await publishing.then(
    () => undefined,
    (error: Error) => error.message,
  )
  if (text === undefined) throw new Error('was published; want an error')
  return text
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

function equals(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}

function equal(found: readonly Uint8Array[], wanted: readonly Uint8Array[]): void {
  if (found.length === wanted.length && found.every((bytes, index) => equals(bytes, wanted[index] as Uint8Array)))
    return
  const sizes = (all: readonly Uint8Array[]) => all.map(({ length }) => length).join(', ')
  throw new Error(`heard messages of ${sizes(found) || 'nothing'} bytes; want ${sizes(wanted) || 'nothing'}`)
}

function includes(message: string, part: string): void {
  if (!message.includes(part)) throw new Error(`does not say ${part}: ${message}`)
}
