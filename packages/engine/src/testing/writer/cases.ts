/** What a writer promises of keys, values and revisions. */
import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import type { Expected, StoredEntry, Writer } from '../../writers/writer.ts'
import type { WriterNeed, WriterRig } from './rig.ts'

export interface Case {
  readonly needs: readonly WriterNeed[]
  check(place: WriterPlace): Promise<void>
}

export interface WriterPlace {
  readonly rig: WriterRig
  readonly manyKeys: number
  /** The store's name of `a`. */
  readonly key: string
  writer(): Promise<Writer>
}

const never = new AbortController().signal

export function bytes(value: string): Uint8Array {
  return Buffer.from(value)
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString()
}

export const keyCases: Readonly<Record<string, Case>> = {
  'a key that nobody wrote is not there, and a writer lacks only what it says': {
    needs: ['read'],
    async check({ key, writer }) {
      assert.equal(await (await writer()).read(key, never), undefined)
    },
  },

  'what others wrote is read as it is': {
    needs: ['read'],
    async check({ rig, key, writer }) {
      await rig.put(key, bytes('{"a":1}'))
      assert.equal(await textAt(await writer(), key), '{"a":1}')
      await rig.put(key, bytes('{"a":2}'))
      assert.equal(await textAt(await writer(), key), '{"a":2}')
    },
  },

  'what is written is there for others, byte by byte': {
    needs: [],
    async check({ rig, key, writer }) {
      const value = Buffer.from(JSON.stringify({ text: 'ä€😀 "\\\n', long: 'x'.repeat(100_000) }))
      await written(await writer(), key, value)
      assert.deepEqual(Buffer.from((await rig.get(key)) ?? []), value)
    },
  },

  'values that are not UTF-8 are bytes like others': {
    needs: ['read', 'bytes'],
    async check({ rig, key, writer }) {
      const value = Buffer.of(0, 255, 10, 128, 0)
      await written(await writer(), key, value)
      assert.deepEqual(Buffer.from((await rig.get(key)) ?? []), value)
      assert.deepEqual(Buffer.from((await (await writer()).read(key, never))?.value ?? []), value)
    },
  },

  'a value of no bytes is a value': {
    needs: ['read', 'empty'],
    async check({ key, writer }) {
      await written(await writer(), key, bytes(''))
      assert.equal(await textAt(await writer(), key), '')
    },
  },

  'what is written is what a source reads': {
    needs: ['source'],
    async check({ rig, key, writer }) {
      await written(await writer(), key, bytes('{"a":[1,"ä"]}'))
      const source = await rig.newSource?.(key)
      assert.ok(source, 'the rig gave no source')
      try {
        assert.deepEqual((await source.load(AbortSignal.timeout(10_000))).config, { a: [1, 'ä'] })
      } finally {
        await source.close?.()
      }
    },
  },

  'a value is written over whatever is there, if that is what is wanted': {
    needs: [],
    async check({ rig, key, writer }) {
      await rig.put(key, bytes('"old"'))
      await written(await writer(), key, bytes('"new"'))
      assert.equal(text(await rig.get(key)), '"new"')
    },
  },

  'where it is expected to be absent, only the first writes': {
    needs: ['compare'],
    async check({ rig, key, writer }) {
      const one = await writer()
      await written(one, key, bytes('"first"'), 'absent')
      assert.deepEqual(await one.write(key, bytes('"second"'), 'absent', never), { kind: 'conflict' })
      assert.equal(text(await rig.get(key)), '"first"')
      await rig.remove(key)
      await written(one, key, bytes('"third"'), 'absent')
      assert.equal(text(await rig.get(key)), '"third"')
    },
  },

  'a write tells the revision that a read would, and the next write may expect it': {
    needs: ['read', 'compare'],
    async check({ key, writer }) {
      const one = await writer()
      const first = await written(one, key, bytes('1'), 'absent')
      assert.equal((await one.read(key, never))?.revision, first)
      const second = await written(one, key, bytes('2'), { revision: first })
      assert.notEqual(second, first)
      assert.equal((await one.read(key, never))?.revision, second)
      await written(await writer(), key, bytes('3'), { revision: second })
      assert.equal(await textAt(one, key), '3')
    },
  },

  'a revision that somebody has written over is a conflict, and their value stays': {
    needs: ['read', 'compare'],
    async check({ rig, key, writer }) {
      const one = await writer()
      const revision = await written(one, key, bytes('"mine"'))
      await rig.put(key, bytes('"theirs"'))
      assert.deepEqual(await one.write(key, bytes('"mine again"'), { revision }, never), { kind: 'conflict' })
      assert.equal(text(await rig.get(key)), '"theirs"')
    },
  },

  'a key that was removed is not as expected': {
    needs: ['compare'],
    async check({ rig, key, writer }) {
      const one = await writer()
      const revision = await written(one, key, bytes('"same"'))
      await rig.remove(key)
      assert.deepEqual(await one.write(key, bytes('"x"'), { revision }, never), { kind: 'conflict' })
      assert.equal(await rig.get(key), undefined)
    },
  },

  'nor is one that was removed and written again as it was': {
    needs: ['compare', 'revisions'],
    async check({ rig, key, writer }) {
      const one = await writer()
      const revision = await written(one, key, bytes('"same"'))
      await rig.remove(key)
      await rig.put(key, bytes('"same"'))
      assert.deepEqual(await one.write(key, bytes('"x"'), { revision }, never), { kind: 'conflict' })
      assert.equal(text(await rig.get(key)), '"same"')
    },
  },

  'of twenty who expect the same, exactly one writes': {
    needs: ['read', 'compare'],
    async check({ key, writer }) {
      const writers = await Promise.all([writer(), writer(), writer(), writer()])
      let expected: Expected = 'absent'
      for (let round = 0; round < 5; round++) {
        const tries = await Promise.all(
          Array.from({ length: 20 }, (_, i) =>
            (writers[i % writers.length] as Writer).write(key, bytes(`"${round} ${i}"`), expected, never),
          ),
        )
        const winners = tries.flatMap(({ kind }, i) => (kind === 'written' ? [i] : []))
        assert.equal(winners.length, 1, `winners: ${winners.join(', ')}`)
        const now = await (writers[0] as Writer).read(key, never)
        assert.equal(text(now?.value), `"${round} ${winners[0]}"`)
        expected = { revision: now?.revision ?? '' }
      }
    },
  },

  'a key is removed as it is expected, and told to be absent where it is not there': {
    needs: ['remove'],
    async check({ rig, key, writer }) {
      const one = await writer()
      assert.deepEqual(await one.remove(key, 'any', never), { kind: 'absent' })
      await rig.put(key, bytes('1'))
      assert.deepEqual(await one.remove(key, 'any', never), { kind: 'removed' })
      assert.equal(await rig.get(key), undefined)
    },
  },

  'a key that somebody has written over is not removed': {
    needs: ['remove', 'compare'],
    async check({ rig, key, writer }) {
      const one = await writer()
      const revision = await written(one, key, bytes('1'))
      await rig.put(key, bytes('2'))
      assert.deepEqual(await one.remove(key, { revision }, never), { kind: 'conflict' })
      assert.deepEqual(await one.remove(key, 'absent', never), { kind: 'conflict' })
      assert.equal(text(await rig.get(key)), '2')
      const now = await one.read(key, never)
      assert.deepEqual(await one.remove(key, { revision: now?.revision ?? '' }, never), { kind: 'removed' })
      assert.equal(await rig.get(key), undefined)
      assert.deepEqual(await one.remove(key, { revision }, never), { kind: 'conflict' })
      assert.deepEqual(await one.remove(key, 'absent', never), { kind: 'absent' })
    },
  },

  'what is below a prefix is listed whole, with revisions to write on, and its neighbours are not': {
    needs: ['list'],
    async check({ rig, writer }) {
      const inside = ['list/a', 'list/b', 'list/deep/c'].map((name) => rig.key(name))
      for (const key of inside) await rig.put(key, bytes(JSON.stringify(key)))
      for (const name of ['lisa', 'lisu', 'other/list/a']) await rig.put(rig.key(name), bytes('"other"'))
      const one = await writer()
      const all = await listed(one, prefixOf(rig, 'list/'))
      assert.deepEqual([...all.keys()].sort(), [...inside].sort())
      for (const [key, { value, revision }] of all) {
        assert.equal(text(value), JSON.stringify(key))
        if (one.lacks.compare === undefined) await written(one, key, bytes('2'), { revision })
      }
      assert.equal((await listed(one, prefixOf(rig, 'nothing/'))).size, 0)
    },
  },

  'many keys are listed to the last, and removed ones are not': {
    needs: ['list', 'remove'],
    async check({ rig, manyKeys, writer }) {
      const one = await writer()
      const keys = Array.from({ length: manyKeys }, (_, i) => rig.key(`many/${i}`))
      for (let i = 0; i < keys.length; i += 50) {
        await Promise.all(keys.slice(i, i + 50).map((key) => one.write(key, bytes('1'), 'any', never)))
      }
      await one.remove(keys[7] as string, 'any', never)
      const all = await listed(one, prefixOf(rig, 'many/'))
      assert.deepEqual([...all.keys()].sort(), keys.filter((_, i) => i !== 7).sort())
    },
  },
}

/** The store's name of what all names that begin with `name` begin with. */
function prefixOf(rig: WriterRig, name: string): string {
  return rig.key(`${name}x`).slice(0, -1)
}

async function listed(writer: Writer, prefix: string): Promise<Map<string, StoredEntry>> {
  const all = new Map<string, StoredEntry>()
  for await (const entry of writer.list(prefix, never)) all.set(entry.key, entry)
  return all
}

async function textAt(writer: Writer, key: string): Promise<string | undefined> {
  return text((await writer.read(key, never))?.value)
}

/** @returns its revision */
export async function written(
  writer: Writer,
  key: string,
  value: Uint8Array,
  expected: Expected = 'any',
): Promise<string> {
  const answer = await writer.write(key, value, expected, never)
  assert.equal(answer.kind, 'written')
  return answer.kind === 'written' ? answer.revision : ''
}
