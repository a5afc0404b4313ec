/** The suite of sources finds what is wrong with a source: each defect here makes the case fail that is about it. */
import { EventEmitter, once } from 'node:events'
import { expect, test } from 'vitest'
import { watching, type Feed, type News, type WatchingSource } from '../src/sources/watching.ts'
import { testSource, type Ability, type SourceRig } from '../src/testing/index.ts'

/** Keys and values in this process, as a server would hold them. */
class Store extends EventEmitter<{ change: [key: string] }> {
  readonly values = new Map<string, Buffer>()

  whole(): News {
    return { kind: 'whole', entries: new Map(this.values) }
  }

  async *changes(signal: AbortSignal): AsyncGenerator<News> {
    const keys: string[] = []
    const listen = (key: string) => void keys.push(key)
    this.on('change', listen)
    try {
      // Begins to listen before it lists: nothing is lost between the two.
      yield this.whole()
      for (;;) {
        while (keys.length === 0) await once(this, 'change', { signal })
        const changes = keys.splice(0).map((key) => ({ key, value: this.values.get(key) }))
        yield { kind: 'changes', changes }
      }
    } finally {
      this.off('change', listen)
    }
  }
}

const noServer = 'the store is in this process'
const without: Partial<Record<Ability, string>> = {
  key: 'below a prefix only',
  network: noServer,
  silence: noServer,
  drip: noServer,
  restart: noServer,
  compact: noServer,
  auth: noServer,
  tls: noServer,
}

type Made = (store: Store, maxBytes: number | undefined) => WatchingSource

function suiteOf(made: Made, more: Partial<SourceRig> = {}) {
  const open = async (): Promise<SourceRig> => {
    const store = new Store()
    return {
      newSource: ({ maxBytes }) => made(store, maxBytes),
      async write(key, value) {
        store.values.set(key, Buffer.from(value))
        store.emit('change', key)
      },
      async remove(key) {
        store.values.delete(key)
        store.emit('change', key)
      },
      loseAll: async () => {
        const keys = [...store.values.keys()]
        store.values.clear()
        // As if the connection had been lost with them.
        for (const key of keys) store.emit('change', `lost:${key}`)
      },
      close: async () => {},
      ...more,
    }
  }
  return testSource({ open, without, deadlineMs: 1_000 })
}

const feedOf = (feed: Feed, maxBytes?: number): WatchingSource =>
  watching(
    'store:',
    { prefix: '', separator: '/' },
    { retry: { firstMs: 5, maxMs: 20 }, ...(maxBytes && { maxBytes }) },
    feed,
  )

const right: Made = (store, maxBytes) =>
  feedOf(
    {
      async *follow(signal) {
        for await (const news of store.changes(signal)) {
          if (news.kind === 'changes' && news.changes.some(({ key }) => key.startsWith('lost:'))) return
          yield news
        }
      },
    },
    maxBytes,
  )

for (const { name, skip, run } of suiteOf(right)) {
  test.skipIf(skip !== undefined)(
    `a source of this process passes: ${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`,
    run,
  )
}

async function failureOf(made: Made, name: string, more?: Partial<SourceRig>): Promise<string> {
  const found = suiteOf(made, more).find((one) => one.name.startsWith(name))
  expect(found, name).toBeDefined()
  return found?.run().then(
    () => 'it passes',
    (error: Error) => error.message,
  ) as Promise<string>
}

test('a feed that does not end when it should is told as such', async () => {
  const made: Made = (store) =>
    feedOf({
      async *follow() {
        yield* store.changes(new AbortController().signal)
      },
    })
  expect(await failureOf(made, 'loads what is there')).toMatch(
    /not closed after 4000 ms; want a feed or a load that ends/,
  )
})

test('a feed that begins to listen after it listed loses what lies between', async () => {
  const made: Made = (store) =>
    feedOf({
      async *follow(signal) {
        yield store.whole()
        for (;;) {
          await new Promise((resolve) => setTimeout(resolve, 50))
          const [key] = (await once(store, 'change', { signal })) as [string]
          yield { kind: 'changes', changes: [{ key, value: store.values.get(key) }] }
        }
      },
    })
  expect(await failureOf(made, 'a burst ends at its last value')).toMatch(/is not live but/)
})

test('a feed that takes absence for removal fails', async () => {
  const made: Made = (store) =>
    feedOf({
      async *follow(signal) {
        for await (const _ of store.changes(signal)) yield { ...store.whole(), emptied: true } as News
      },
    })
  expect(await failureOf(made, 'absence is not deletion')).toMatch(/no reload was refused/)
  expect(await failureOf(made, 'where nothing was ever written')).toMatch(/Missing expected rejection/)
})

test('a feed that leaves something open fails', async () => {
  const timers: NodeJS.Timeout[] = []
  const made: Made = (store) =>
    feedOf({
      async *follow(signal) {
        // More than one: what ran before this test may have a timer that ends meanwhile.
        for (let i = 0; i < 5; i++) timers.push(setInterval(() => {}, 60_000))
        yield* store.changes(signal)
      },
    })
  expect(await failureOf(made, 'close releases everything')).toMatch(/still open: Timeout/)
  for (const timer of timers) clearInterval(timer)
})

test('a rig that lacks what a case needs is told what to write', async () => {
  expect(await failureOf(right, 'absence is not deletion', { loseAll: undefined as never })).toBe(
    'the rig has no loseAll; say why in "without"',
  )
})
