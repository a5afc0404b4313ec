/** What a writer promises while its server or the way there is not well, and what put-if-changed makes of it (B6). */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Json } from '../../json.ts'
import { putIfChanged, type Put } from '../../writers/put-if-changed.ts'
import { WriteError, type WriteErrorCode, type Writer } from '../../writers/writer.ts'
import { heldSince, resources, type Resources } from '../resources.ts'
import { bytes, text, written, type Case } from './cases.ts'

const never = new AbortController().signal
/** Far more than the time limit of any writer here. */
const lateMs = 20_000

export const putCases: Readonly<Record<string, Case>> = {
  'put if changed: another type is written, another order of keys is not, force is (B6)': {
    needs: ['read'],
    async check({ rig, key, writer }) {
      const one = await writer()
      const put = (value: Json, force = false) => putIfChanged(one, key, value, { force })
      const kinds: Put['kind'][] = []
      const values: readonly Json[] = [{ a: 1 }, { a: 1 }, { a: '1' }, { a: '1', b: [1, 2] }]
      for (const value of values) kinds.push((await put(value)).kind)
      assert.deepEqual(kinds, ['written', 'unchanged', 'written', 'written'])
      assert.equal((await put({ b: [1, 2], a: '1' })).kind, 'unchanged')
      assert.equal((await put({ b: [2, 1], a: '1' })).kind, 'written')
      assert.equal((await put({ b: [2, 1], a: '1' }, true)).kind, 'written')
      assert.deepEqual(JSON.parse(text(await rig.get(key)) ?? ''), { b: [2, 1], a: '1' })
    },
  },

  'put if changed: what is there and is no JSON is something else, and is written over': {
    needs: ['read'],
    async check({ rig, key, writer }) {
      await rig.put(key, bytes('{"a":'))
      const put = await putIfChanged(await writer(), key, { a: 1 })
      assert.ok(put.kind === 'written' && put.before?.kind === 'unreadable', JSON.stringify(put))
      assert.equal(text(await rig.get(key)), '{"a":1}')
    },
  },

  'put if changed: who lost a race is told what is there, or writes after all if that is wanted': {
    needs: ['read', 'compare'],
    async check({ rig, key, writer }) {
      const one = await writer()
      await written(one, key, bytes('{"by":"nobody"}'))
      /** Somebody else writes between the look and the write, once. */
      const raced: Writer = {
        ...bound(one),
        async read(asked, signal) {
          const stored = await one.read(asked, signal)
          if (text(stored?.value) === '{"by":"nobody"}') await rig.put(key, bytes('{"by":"them"}'))
          return stored
        },
      }
      const lost = await putIfChanged(raced, key, { by: 'me' })
      assert.ok(lost.kind === 'conflict' && lost.now.kind === 'value', JSON.stringify(lost))
      assert.equal(text(await rig.get(key)), '{"by":"them"}')
      assert.equal((await putIfChanged(one, key, { by: 'me' }, { expected: 'absent' })).kind, 'conflict')
      const won = await putIfChanged(one, key, { by: 'me' }, { expected: { revision: lost.now.revision } })
      assert.equal(won.kind, 'written')
      await rig.put(key, bytes('{"by":"nobody"}'))
      assert.equal((await putIfChanged(raced, key, { by: 'me' }, { retries: 3 })).kind, 'written')
      assert.equal(text(await rig.get(key)), '{"by":"me"}')
    },
  },
}

export const faultCases: Readonly<Record<string, Case>> = {
  'a store that cannot be reached is told by the name of the writer, in time, and written when it is back': {
    needs: ['network'],
    async check({ rig, key, writer }) {
      const one = await writer()
      await written(one, key, bytes('1'))
      await rig.cutOff?.()
      await fails(one, () => one.write(key, bytes('2'), 'any', never), ['unreachable', 'unknown'])
      await fails(one, () => one.write(key, bytes('2'), 'any', never), ['unreachable', 'unknown'])
      if (one.lacks.read === undefined) await fails(one, () => one.read(key, never), ['unreachable', 'unknown'])
      assert.equal(text(await rig.get(key)), '1')
      await rig.letBack?.()
      await written(one, key, bytes('3'))
      assert.equal(text(await rig.get(key)), '3')
    },
  },

  'a store that does not answer is not waited for without end (F22)': {
    needs: ['silence'],
    async check({ rig, key, writer }) {
      const one = await writer()
      await written(one, key, bytes('1'))
      await rig.silence?.()
      await fails(one, () => one.write(key, bytes('2'), 'any', never), ['unreachable', 'unknown'])
      await rig.letBack?.()
    },
  },

  'a write that is no longer wanted ends soon': {
    needs: ['silence'],
    async check({ rig, key, writer }) {
      const one = await writer()
      await rig.silence?.()
      const stop = new AbortController()
      const ended = assert.rejects(one.write(key, bytes('1'), 'any', stop.signal))
      setImmediate(() => stop.abort())
      await ended
      await rig.letBack?.()
    },
  },

  'wrong credentials are told as such, and not shown': {
    needs: ['auth'],
    async check({ rig, key }) {
      const one = await rig.wrongAuth?.()
      assert.ok(one, 'the rig gave no writer')
      try {
        const error = await fails(one, () => one.write(key, bytes('1'), 'any', never), ['denied'])
        assert.ok(!error.message.includes('of-nobody'), error.message)
      } finally {
        await one.close()
      }
    },
  },

  'a server that is not trusted is told by the name of the writer (F30)': {
    needs: ['tls'],
    async check({ rig, key }) {
      const one = await rig.wrongTls?.()
      assert.ok(one, 'the rig gave no writer')
      try {
        await fails(one, () => one.write(key, bytes('1'), 'any', never), ['denied', 'unreachable'])
      } finally {
        await one.close()
      }
    },
  },

  'close releases everything, also what many calls at once have opened, and may be called twice': {
    needs: [],
    async check({ key, writer }) {
      // What the rig opens once is open now.
      await (await writer()).write(key, bytes('0'), 'any', never)
      const before = resources()
      const one = await writer()
      // All of them begin without a connection.
      await Promise.all(Array.from({ length: 20 }, (_, i) => written(one, key, bytes(String(i)))))
      await one.close()
      await one.close()
      const unused = await writer()
      await unused.close()
      await releasesAll(before)
    },
  },
}

async function fails(writer: Writer, call: () => Promise<unknown>, codes: readonly WriteErrorCode[]) {
  const began = performance.now()
  const error = await call().then(
    () => assert.fail('nothing went wrong'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof WriteError, String(error))
  assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`)
  assert.ok(error.message.includes(writer.name), `${error.message} does not name ${writer.name}`)
  assert.ok(performance.now() - began < lateMs, 'it took too long')
  return error
}

/** Its methods, so that some can be put over. */
function bound(writer: Writer): Writer {
  return {
    name: writer.name,
    lacks: writer.lacks,
    read: (key, signal) => writer.read(key, signal),
    list: (prefix, signal) => writer.list(prefix, signal),
    write: (key, value, expected, signal) => writer.write(key, value, expected, signal),
    remove: (key, expected, signal) => writer.remove(key, expected, signal),
    close: () => writer.close(),
  }
}

async function releasesAll(before: Resources): Promise<void> {
  const lastAt = performance.now() + lateMs
  while (heldSince(before).length > 0) {
    if (performance.now() > lastAt) assert.fail(`still open: ${heldSince(before).join(', ')}`)
    await sleep(5)
  }
}
