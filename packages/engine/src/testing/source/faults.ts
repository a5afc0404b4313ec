/** What a source promises while its server or the way there is not well. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { heldSince, resources, type Resources } from '../resources.ts'
import type { Place } from './driven.ts'
import type { Attempted } from './rig.ts'
import type { Case } from './values.ts'

export const faultCases: Readonly<Record<string, Case>> = {
  'after its connection was cut it follows again, and has what changed meanwhile': {
    needs: ['watch', 'network'],
    async check(place) {
      await place.put({ a: 1, b: 1, c: 1 })
      const driven = await place.start()
      await place.rig.cutOff?.()
      await place.put({ a: 2, b: 1, d: 4 })
      assert.deepEqual(driven.engine.live, { a: 1, b: 1, c: 1 })
      await place.rig.letBack?.()
      await driven.reaches({ a: 2, b: 1, d: 4 })
      await place.put({ a: 3, b: 1 })
      await driven.reaches({ a: 3, b: 1 })
    },
  },

  'cut again and again while values are written, it ends at the last': {
    needs: ['watch', 'network'],
    async check(place) {
      await place.put({ a: 0, b: 0 })
      const driven = await place.start()
      for (let i = 1; i <= 10; i++) {
        await place.put({ a: i, b: 0 })
        await place.rig.cutOff?.()
        await place.put({ a: i, b: i })
        await place.rig.letBack?.()
      }
      await driven.reaches({ a: 10, b: 10 })
    },
  },

  'while its server cannot be reached, reloads that others ask for go on with what is known': {
    needs: ['watch', 'network'],
    async check(place) {
      await place.put({ a: 1 })
      const driven = await place.start()
      await place.rig.cutOff?.()
      assert.equal((await driven.engine.reload()).kind, 'unchanged')
      await place.until(
        () => driven.engine.status().warnings.some((warning) => warning.includes(driven.source.name)),
        () => `no warning names ${driven.source.name}; it said:\n${driven.said()}`,
      )
      await place.rig.letBack?.()
      await place.put({ a: 2 })
      await driven.reaches({ a: 2 })
    },
  },

  'where the history it missed is gone, it has exactly the difference (F34, F41, F42)': {
    needs: ['watch', 'network', 'compact'],
    async check(place) {
      await place.put({ a: 1, b: 1, c: 1 })
      const driven = await place.start()
      const before = driven.b.steps.length
      await place.rig.cutOff?.()
      for (let i = 2; i <= 20; i++) await place.put({ a: i, b: 1, c: 1 })
      await place.put({ a: 20, b: 1, d: 1 })
      await place.rig.compact?.()
      await place.rig.letBack?.()
      await driven.reaches({ a: 20, b: 1, d: 1 })
      assert.equal(driven.b.steps.length, before, 'what did not change is not touched')
      await place.put({ a: 21, b: 1, d: 1 })
      await driven.reaches({ a: 21, b: 1, d: 1 })
    },
  },

  'history that goes while it follows costs nothing': {
    needs: ['watch', 'compact'],
    async check(place) {
      await place.put({ a: 1, b: 1 })
      const driven = await place.start()
      await place.put({ a: 2, b: 1 })
      await place.rig.compact?.()
      await place.put({ a: 3, b: 1 })
      await driven.reaches({ a: 3, b: 1 })
    },
  },

  'when its server is started again, what runs stays, and the next change is seen (F35, F38, F39)': {
    needs: ['watch', 'restart'],
    async check(place) {
      await place.put({ a: 1, b: 1 })
      const driven = await place.start()
      await place.rig.stopServer?.()
      assert.equal((await driven.engine.reload()).kind, 'unchanged')
      await place.rig.startServer?.()
      await place.put({ a: 2, b: 1 })
      await driven.reaches({ a: 2, b: 1 })
      assert.ok(driven.outcomes.every(({ kind }) => kind === 'committed' || kind === 'unchanged'))
    },
  },

  'with its server away it starts from the last good, and catches up': {
    needs: ['watch', 'restart'],
    async check(place) {
      const stateDir = await place.newFolder()
      await place.put({ a: 1, b: 1 })
      const first = await place.start({ stateDir })
      await first.engine.close()
      await place.rig.stopServer?.()
      const driven = await place.start({ stateDir })
      assert.equal(driven.engine.status().startedFrom, 'last-good')
      assert.deepEqual(driven.engine.live, { a: 1, b: 1 })
      await place.rig.startServer?.()
      await place.put({ a: 2, b: 1 })
      await driven.reaches({ a: 2, b: 1 })
    },
  },

  'with its server away and no last good, a start fails with an error that names it': {
    needs: ['restart'],
    async check(place) {
      await place.put({ a: 1 })
      await place.rig.stopServer?.()
      const source = await place.source()
      try {
        await assert.rejects(place.start({ source }), (error: Error) => error.message.includes(source.name))
      } finally {
        await place.rig.startServer?.()
      }
    },
  },

  'a connection that went silent is noticed (F22)': {
    needs: ['watch', 'silence'],
    async check(place) {
      await place.put({ a: 1 })
      const driven = await place.start()
      await place.rig.silence?.()
      await place.put({ a: 2 })
      await place.until(
        () => driven.engine.status().warnings.some((warning) => warning.includes(driven.source.name)),
        () => `no warning names ${driven.source.name}`,
      )
      assert.deepEqual(driven.engine.live, { a: 1 })
      await place.rig.letBack?.()
      await driven.reaches({ a: 2 })
    },
  },

  'a server that drips holds up nobody for good: the old stays, and the new comes when it can (F43)': {
    needs: ['watch', 'drip'],
    async check(place) {
      await place.put({ a: 1 })
      const driven = await place.start()
      await place.rig.drip?.()
      await place.put({ a: 2 })
      const { kind } = await driven.engine.reload()
      assert.ok(kind === 'unchanged' || kind === 'rejected', kind)
      assert.deepEqual(driven.engine.live, { a: 1 })
      await place.rig.letBack?.()
      await driven.reaches({ a: 2 })
    },
  },

  'a load ends soon after it is no longer wanted': {
    needs: ['silence'],
    async check(place) {
      await place.put({ a: 1 })
      await place.rig.silence?.()
      const source = await place.source()
      const stop = new AbortController()
      const loading = source.load(stop.signal)
      const ended = assert.rejects(loading)
      setImmediate(() => stop.abort())
      await ended
      await source.close?.()
    },
  },

  'wrong credentials are told by the name of the source, and tried without haste': {
    needs: ['auth'],
    check: async (place) => refusedWithoutHaste(await place.rig.wrongAuth?.()),
  },

  'a server that is not trusted is told by the name of the source, and tried without haste (F30)': {
    needs: ['tls'],
    check: async (place) => refusedWithoutHaste(await place.rig.wrongTls?.()),
  },

  'close releases everything': {
    needs: [],
    async check(place) {
      await place.put({ a: 1, b: 1 })
      await place.source() // what the rig opens once is open now
      const before = resources()
      const driven = await place.start()
      await place.put({ a: 2, b: 1 })
      await driven.reaches({ a: 2, b: 1 })
      await driven.engine.close()
      await releasesAll(place, before)
    },
  },

  'close releases everything while the server cannot be reached': {
    needs: ['network'],
    async check(place) {
      await place.put({ a: 1 })
      const before = resources()
      const driven = await place.start()
      await place.rig.cutOff?.()
      await driven.engine.reload()
      await driven.engine.close()
      await releasesAll(place, before)
    },
  },

  'a source that was closed before it loaded holds nothing open': {
    needs: [],
    async check(place) {
      const before = resources()
      const source = await place.source()
      await source.close?.()
      await source.close?.()
      await releasesAll(place, before)
    },
  },
}

/** Enough for a loop without a wait to show itself: it would try thousands of times. */
const watchedMs = 1_000
const mostAttempts = 40

async function refusedWithoutHaste(attempted: Attempted | undefined): Promise<void> {
  assert.ok(attempted, 'the rig gave no source')
  const { source, attempts } = attempted
  try {
    await assert.rejects(source.load(AbortSignal.timeout(10_000)), (error: Error) => {
      assert.ok(error.message.includes(source.name), `${error.message} does not name ${source.name}`)
      return true
    })
    const before = attempts()
    await sleep(watchedMs)
    const more = attempts() - before
    assert.ok(more <= mostAttempts, `tried ${more} times within ${watchedMs} ms`)
  } finally {
    await source.close?.()
  }
}

async function releasesAll(place: Place, before: Resources): Promise<void> {
  await place.until(
    () => heldSince(before).length === 0,
    () => `still open: ${heldSince(before).join(', ')}`,
  )
  const { connections } = place.rig
  if (connections)
    await place.until(
      () => connections.call(place.rig) === 0,
      () => `the server still has ${connections.call(place.rig)} connections`,
    )
}
