/** What a source promises of values: which are seen, which are refused, and which change nothing. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { isTrigger } from '../../trigger.ts'
import type { Outcome } from '../../outcome.ts'
import { issueText } from '../../issue.ts'
import type { Driven, Place } from './driven.ts'
import type { Ability } from './rig.ts'

export interface Case {
  readonly needs: readonly Ability[]
  /** Overrides how the place is read. */
  readonly mode?: 'key' | 'prefix'
  check(place: Place): Promise<void>
}

export const valueCases: Readonly<Record<string, Case>> = {
  'loads what is there': {
    needs: [],
    async check(place) {
      await place.put({ a: 1, b: { c: ['x', null, true] } })
      const { engine } = await place.start()
      assert.deepEqual(engine.live, { a: 1, b: { c: ['x', null, true] } })
      assert.equal(engine.status().startedFrom, 'sources')
    },
  },

  'where nothing was ever written, a start fails with an error that names source and key': {
    needs: [],
    async check(place) {
      const source = await place.source()
      await assert.rejects(place.start({ source }), (error: Error) => {
        assert.ok(isNamed(error.message, source.name), `${error.message} does not name ${source.name}`)
        return true
      })
    },
  },

  'a PUT is seen, and only who reads it is touched': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 1, b: 1 })
      const driven = await place.start()
      const before = driven.b.steps.length
      await place.put({ a: 2, b: 1 })
      await driven.reaches({ a: 2, b: 1 })
      assert.equal(driven.a.live, 2)
      assert.equal(driven.b.steps.length, before)
      await place.put({ a: 2, b: 1, c: 3 })
      await driven.reaches({ a: 2, b: 1, c: 3 })
    },
  },

  'one key holds the document, and what is no longer in it is a removal with the old value': {
    needs: ['key', 'watch'],
    mode: 'key',
    async check(place) {
      await place.put({ a: 1, b: 7 })
      const driven = await place.start()
      await place.put({ a: 1 })
      await driven.reaches({ a: 1 })
      assert.deepEqual(removals(driven), [{ kind: 'removed', path: 'b', before: 7 }])
    },
  },

  'keys below a prefix become a tree': {
    needs: ['prefix'],
    mode: 'prefix',
    async check(place) {
      await place.rig.write('a', '1')
      await place.rig.write('b/c', '{"d":true}')
      await place.rig.write('b/e', '"x"')
      const { engine } = await place.start()
      assert.deepEqual(engine.live, { a: 1, b: { c: { d: true }, e: 'x' } })
    },
  },

  'DELETE is a removal with the old value (Z4)': {
    needs: ['prefix', 'removal', 'watch'],
    mode: 'prefix',
    async check(place) {
      await place.put({ a: 1, b: { old: 7 } })
      const driven = await place.start()
      await place.rig.remove('b')
      await driven.reaches({ a: 1 })
      assert.deepEqual(removals(driven), [{ kind: 'removed', path: 'b', before: { old: 7 } }])
      await place.rig.remove('a')
      await driven.reaches({})
    },
  },

  'DELETE of the key that holds all is a removal with the old values (Z4)': {
    needs: ['key', 'removal', 'watch'],
    mode: 'key',
    async check(place) {
      await place.put({ a: 1 })
      const driven = await place.start()
      await place.rig.remove('doc')
      await driven.reaches({})
      assert.deepEqual(removals(driven), [{ kind: 'removed', path: 'a', before: 1 }])
      await place.put({ a: 2 })
      await driven.reaches({ a: 2 })
    },
  },

  'absence is not deletion: when all is gone, the old stays and it says so (I11)': {
    needs: ['loseAll', 'watch'],
    async check(place) {
      await place.put({ a: 1, b: 2 })
      const driven = await place.start()
      await place.rig.loseAll?.()
      await refuses(place, driven, undefined)
      assert.deepEqual(driven.engine.live, { a: 1, b: 2 })
      await place.putAgain()
      await place.put({ a: 3, b: 2 })
      await driven.reaches({ a: 3, b: 2 })
    },
  },

  'the same value at a new revision touches nothing (Z4)': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 1, b: 1 })
      const driven = await place.start()
      const before = driven.a.steps.length
      for (let i = 0; i < 5; i++) await place.putAgain()
      await place.put({ a: 1, b: 2 })
      await driven.reaches({ a: 1, b: 2 })
      assert.equal(driven.a.steps.length, before)
      const committed = driven.outcomes.filter(({ kind }) => kind === 'committed')
      assert.equal(committed.length, 2, 'the start and the one change')
    },
  },

  'what is written after a load and before anyone listens is seen (Z5)': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 1 })
      const source = await place.source()
      assert.ok(isTrigger(source))
      const stop = new AbortController()
      assert.deepEqual((await source.load(stop.signal)).config, { a: 1 })
      source.settled?.({ kind: 'committed' } as Outcome)
      await place.put({ a: 2 })
      const late = setTimeout(() => stop.abort(), place.deadlineMs)
      try {
        for await (const _ of source.requests(stop.signal)) {
          const { config } = await source.load(stop.signal)
          if ((config as { a?: unknown }).a === 2) return
        }
        assert.fail('nothing asked for a reload that gives it')
      } finally {
        clearTimeout(late)
        stop.abort()
      }
    },
  },

  'what is written while it starts is seen (Z5)': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 0 })
      let last = 0
      let isStarted = false
      const writing = (async () => {
        for (let after = 0; after < 3; isStarted ? after++ : 0) {
          await place.put({ a: ++last })
          await sleep(20) // as close as files can be written and read whole
        }
      })()
      const starting = place.start()
      await Promise.allSettled([starting])
      isStarted = true
      await writing
      const driven = await starting
      await driven.reaches({ a: last })
    },
  },

  'a burst ends at its last value, in fewer reloads than writes': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 0, b: 0 })
      const driven = await place.start()
      for (let i = 1; i <= 200; i++) await place.put({ a: i, b: 0 })
      await driven.reaches({ a: 200, b: 0 })
      assert.ok(driven.outcomes.length < 150, `${driven.outcomes.length} reloads`)
    },
  },

  'a reload that others ask for looks again': {
    needs: [],
    async check(place) {
      await place.put({ a: 1 })
      const { engine } = await place.start()
      await place.put({ a: 2 })
      await engine.reload()
      assert.deepEqual(engine.live, { a: 2 })
    },
  },

  'a dry run hides nothing from the reload after it': {
    needs: ['watch'],
    async check(place) {
      await place.put({ a: 1 })
      const driven = await place.start()
      await place.put({ a: 2 })
      await driven.engine.plan()
      await driven.reaches({ a: 2 })
    },
  },

  'a value that does not parse is refused by source and key, the old stays, and a good one mends it': {
    needs: ['watch', 'key'],
    mode: 'key',
    check: (place) => refusesValue(place, '{"a": 2,'),
  },

  'below a prefix, a value that does not parse is refused by source and key': {
    needs: ['watch', 'prefix'],
    mode: 'prefix',
    check: (place) => refusesValue(place, '{"a": 2,'),
  },

  'a value that is not UTF-8 is refused by source and key, the old stays, and a good one mends it': {
    needs: ['watch', 'raw'],
    check: (place) => refusesValue(place, new Uint8Array([0x22, 0xff, 0xfe, 0x22])),
  },

  'a value that is too large is refused by source and key, the old stays, and a good one mends it': {
    needs: ['watch', 'maxBytes'],
    check: (place) => refusesValue(place, JSON.stringify('x'.repeat(5_000)), 2_000),
  },

  'an empty value of the key that holds all is refused, and the old stays (Z2)': {
    needs: ['watch', 'key'],
    mode: 'key',
    check: (place) => refusesValue(place, ''),
  },
}

async function refusesValue(place: Place, value: string | Uint8Array, maxBytes?: number): Promise<void> {
  await place.put({ a: 1, b: 1 })
  const driven = await place.start(maxBytes === undefined ? {} : { at: { maxBytes } })
  await place.rig.write(place.keyOfA, value)
  await refuses(place, driven, place.keyOfA)
  assert.deepEqual(driven.engine.live, { a: 1, b: 1 })
  await place.put({ a: 2, b: 1 })
  await driven.reaches({ a: 2, b: 1 })
}

/** Until a reload was refused with an issue that names the source, and the key if one is given. */
async function refuses(place: Place, { outcomes, source, said }: Driven, key: string | undefined): Promise<void> {
  const named = (outcome: Outcome) =>
    outcome.kind === 'rejected' &&
    outcome.phase === 'load' &&
    outcome.issues.some((issue) => {
      const text = issueText(issue)
      return isNamed(text, source.name) && (key === undefined || text.includes(key))
    })
  await place.until(
    () => outcomes.some(named),
    () => `no reload was refused with an error that names ${source.name} and ${key ?? 'a key'}; it said:\n${said()}`,
  )
}

/** Errors in files name them as the user did, without `file:`. */
function isNamed(text: string, name: string): boolean {
  return text.includes(name) || (name.startsWith('file:') && text.includes(name.slice('file:'.length)))
}

function removals({ outcomes }: Driven): unknown[] {
  return outcomes
    .slice(1)
    .flatMap((outcome) =>
      outcome.kind === 'committed'
        ? [...outcome.plan.unread, ...outcome.plan.components.flatMap(({ changes }) => changes)].map(
            ({ kind, path, before }) => ({ kind, path, before }),
          )
        : [],
    )
}
