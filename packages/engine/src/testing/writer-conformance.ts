/**
 * What every writer promises, as cases that any test runner can run:
 * `for (const { name, skip, run } of testWriter(…)) test.skipIf(skip)(skip ? `${name} (skipped: ${skip})` : name, run)`.
 * Each case has a place of its own.
 */
import assert from 'node:assert/strict'
import type { Writer, WriterAbility } from '../writers/writer.ts'
import { keyCases, type Case } from './writer/cases.ts'
import { faultCases, putCases } from './writer/faults.ts'
import type { WriterCase, WriterFactory, WriterNeed, WriterRig } from './writer/rig.ts'

const abilities: readonly WriterAbility[] = ['read', 'list', 'remove', 'compare', 'revisions', 'bytes', 'empty']

export function testWriter(factory: WriterFactory): readonly WriterCase[] {
  const { without = {} } = factory
  return Object.entries({ ...keyCases, ...putCases, ...faultCases }).map(([name, one]) => {
    const skip = one.needs.map((need) => without[need]).find((reason) => reason !== undefined)
    return { name, ...(skip !== undefined && { skip }), run: () => run(factory, one) }
  })
}

async function run({ open, without = {}, manyKeys = 1_200 }: WriterFactory, { needs, check }: Case): Promise<void> {
  const rig = await open()
  const writers: Writer[] = []
  try {
    const missing = needs.flatMap((need) => hooks[need] ?? []).filter((hook) => rig[hook] === undefined)
    if (missing.length > 0) throw new Error(`the rig has no ${missing.join(', ')}; say why in "without"`)
    await check({
      rig,
      manyKeys,
      key: rig.key('a'),
      async writer() {
        const writer = await rig.newWriter()
        writers.push(writer)
        for (const ability of abilities) {
          const why = `${ability}: what a writer lacks, and what its suite skips, must be the same`
          assert.equal(writer.lacks[ability] === undefined, without[ability] === undefined, why)
        }
        return writer
      },
    })
  } finally {
    for (const writer of writers) await writer.close()
    await rig.close()
  }
}

const hooks: Readonly<Partial<Record<WriterNeed, readonly (keyof WriterRig)[]>>> = {
  source: ['newSource'],
  network: ['cutOff', 'letBack'],
  silence: ['silence', 'letBack'],
  auth: ['wrongAuth'],
  tls: ['wrongTls'],
}
