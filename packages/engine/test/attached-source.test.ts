/** What a source may ask of its engine (`attached`): a reload prepared with a document of its own beside what the others say. */
import { afterEach, expect, test } from 'vitest'
import * as z from 'zod'
import { componentsFor } from '../src/components-for.ts'
import { start } from '../src/engine.ts'
import type { Outcome } from '../src/outcome.ts'
import type { AttachedEngine, Source } from '../src/source.ts'

const schema = z.object({ mine: z.number(), other: z.number().max(9) })
const { value } = componentsFor(schema)
const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function begun() {
  let attached: AttachedEngine | undefined
  let other = 1
  const told: (Outcome | undefined)[] = []
  const toldOther: (Outcome | undefined)[] = []
  const first: Source = {
    name: 'first',
    attached: (engine) => void (attached = engine),
    load: async () => ({ config: { mine: 1 } }),
    settled: (outcome) => void told.push(outcome),
  }
  const second: Source = {
    name: 'second',
    load: async () => ({ config: { other } }),
    settled: (outcome) => void toldOther.push(outcome),
  }
  const applied: number[] = []
  const mine = value({ name: 'mine', path: 'mine', apply: (next) => void applied.push(next) })
  const engine = await start({ schema, sources: [first, second], components: [mine], logger: false })
  open.push(engine)
  told.length = toldOther.length = 0
  return {
    engine,
    attached: attached as unknown as AttachedEngine,
    applied,
    told,
    toldOther,
    say: (n: number) => (other = n),
  }
}

test('it is given what the components can take, before the first load', async () => {
  const { attached } = await begun()
  expect(attached.support.map(({ component, hot }) => [component, hot])).toEqual([['mine', 'full']])
})

test('its document counts, and what the others say now; those are told of the outcome, and it is not', async () => {
  const { engine, attached, applied, told, toldOther, say } = await begun()
  say(2)
  const prepared = await attached.prepare({ config: { mine: 5 } })
  if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
  expect(engine.live).toEqual({ mine: 1, other: 1 })
  expect(applied).toEqual([1])
  expect((await prepared.commit()).kind).toBe('committed')
  expect(engine.live).toEqual({ mine: 5, other: 2 })
  expect(applied).toEqual([1, 5])
  expect(told).toEqual([])
  expect(toldOther.map((outcome) => outcome?.kind)).toEqual(['committed'])
})

test('what others ask for waits for the decision', async () => {
  const { engine, attached } = await begun()
  const prepared = await attached.prepare({ config: { mine: 5 } })
  if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
  let done = false
  const reload = engine.reload().then((outcome) => ((done = true), outcome))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(done).toBe(false)
  await prepared.rollback()
  expect((await reload).kind).toBe('unchanged')
  expect(engine.live.mine).toBe(1)
})

test('a document that does not fit with the others is refused', async () => {
  const { attached, say, toldOther } = await begun()
  say(10)
  expect(await attached.prepare({ config: { mine: 5 } })).toMatchObject({ kind: 'rejected', phase: 'validate' })
  expect(toldOther.map((outcome) => outcome?.kind)).toEqual(['rejected'])
})

test('closing gives up what is prepared', async () => {
  const { engine, attached } = await begun()
  const prepared = await attached.prepare({ config: { mine: 5 } })
  if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
  await engine.close()
  expect((await prepared.commit()).kind).toBe('rolled-back')
  expect(engine.live.mine).toBe(1)
})
