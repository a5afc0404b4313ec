/** What a process begins with after a death, from what it finds on disk. The rest of trials is in `agent-vote-engine.test.ts`. */
import { expect, test } from 'vitest'
import type { Held } from '../src/agent/node-state.ts'
import { noNotes, type Notes } from '../src/agent/notes.ts'
import { Trial } from '../src/agent/trial.ts'
import { held } from './held.ts'

const digestOf = (content: number): string => `sha256:${content}`
const heldOf = (number: number, content = number): Held => {
  const { release, ...rest } = held(number)
  return { release: { ...release, digest: digestOf(content) }, ...rest }
}

function restored(kept: number | Held, before: number | undefined, notes: Partial<Notes>, settleMs = 1_000) {
  const written: Partial<Notes>[] = []
  const trial = new Trial({ note: async (changes) => void written.push(changes), goBack: () => true }, settleMs)
  const found = {
    held: typeof kept === 'number' ? heldOf(kept) : kept,
    before: before === undefined ? undefined : heldOf(before),
    notes: { ...noNotes, ...notes },
  }
  const back = trial.restore(found)
  return { target: back?.target.release.number, refused: back?.refused.number, written }
}

const mark = (number: number, content = number) => ({ number, digest: digestOf(content) })
const refusal = (number: number, content = number) => ({ ...mark(number, content), detail: 'poisoned', attempts: 0 })

test('a process that died of a release begins with the one before it, whether it was kept already or not', () => {
  expect(restored(7, 6, { suspect: mark(7) })).toMatchObject({ target: 6, refused: 7 })
  expect(restored(6, 5, { suspect: mark(7) })).toMatchObject({ target: 6, refused: 7 })
  expect(restored(7, 6, {}).target).toBeUndefined()
  expect(restored(7, 6, { suspect: mark(7) }, 0).target).toBeUndefined()
  expect(restored(7, undefined, { suspect: mark(7) }).target).toBeUndefined()
})

test('one that died of a release, and then of another: the second is not given to it again for the sake of the first', () => {
  const { target, refused, written } = restored(24, 23, { refused: refusal(25), suspect: mark(27) })
  expect({ target, refused }).toEqual({ target: 24, refused: 27 })
  expect(written[0]?.refused).toMatchObject({ number: 27 })
  expect(restored(24, 23, { refused: refusal(27) })).toMatchObject({ target: 24, refused: 27, written: [] })
})

test('nor is it begun with what it died of before, under that number or another', () => {
  const notes = { refused: refusal(27, 19), suspect: mark(29, 19) }
  expect(restored(heldOf(27, 19), 24, notes)).toMatchObject({ target: 24, refused: 29 })
  expect(restored(heldOf(26, 19), 24, { suspect: mark(29, 19) })).toMatchObject({ target: 24, refused: 29 })
  expect(restored(heldOf(26, 19), 24, { refused: refusal(29, 19) })).toMatchObject({ target: 24 })
})
