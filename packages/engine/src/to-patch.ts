/** From a delta to JSON Patch (RFC 6902): no longer than the change, moves as moves. */
import { places, type Delta, type Kept, type ListDelta } from './delta.ts'
import { pointerText, type Json, type Path } from './json.ts'
import { countBelow } from './positions.ts'

export type PatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string }
  | { readonly op: 'move' | 'copy'; readonly from: string; readonly path: string }

/** The operations that make, one after the other, of the tree before the tree after. */
export function toPatch(_before: Json, delta: Delta): PatchOperation[] {
  const patch: PatchOperation[] = []
  collect(delta, [], patch)
  return patch
}

function collect(delta: Delta, path: Path, patch: PatchOperation[]): void {
  switch (delta.op) {
    case 'none':
      return
    case 'set':
      if (delta.after === undefined) patch.push({ op: 'remove', path: pointerText(path) })
      else
        patch.push({ op: delta.before === undefined ? 'add' : 'replace', path: pointerText(path), value: delta.after })
      return
    case 'object':
      for (const [key, field] of delta.fields) collect(field, [...path, key], patch)
      return
    case 'list':
      collectList(delta, path, patch)
  }
}

function collectList(delta: ListDelta, path: Path, patch: PatchOperation[]): void {
  const here = pointerText(path)
  for (const { index } of [...delta.removed].reverse()) patch.push({ op: 'remove', path: `${here}/${index}` })
  for (const { from, to } of moveSteps(delta)) {
    if (from !== to) patch.push({ op: 'move', from: `${here}/${from}`, path: `${here}/${to}` })
  }
  for (const { index, value } of delta.added) patch.push({ op: 'add', path: `${here}/${index}`, value })
  for (const { to, delta: change } of delta.kept) collect(change, [...path, to], patch)
}

/**
 * One step per moved entry, between removals and additions, in the order of the places they end at. Each is set right
 * behind the entry that comes before it in the end, so those still to be moved stand behind it in the same gap (a gap
 * is what lies between two entries that stay; gap `n` has `n` of them before it).
 */
function moveSteps(delta: ListDelta): { from: number; to: number }[] {
  const moves = delta.kept.filter((kept) => kept.moved)
  if (moves.length === 0) return []
  const { out, arrived } = places(delta)
  const added = delta.added.map((placed) => placed.index)
  const byFrom = [...moves].sort((a, b) => a.from - b.from)
  const order = new Map<Kept, number>(byFrom.map((move, i) => [move, i]))
  const gapsBefore = byFrom.map((move) => move.from - countBelow(out, move.from))
  const waiting = new Counter(moves.length)
  const placedGaps: number[] = []
  const steps: { from: number; to: number }[] = []
  for (const move of moves) {
    const place = order.get(move) as number
    const gapBefore = gapsBefore[place] as number
    waiting.take(place)
    const from = gapBefore + countBelow(placedGaps, gapBefore + 1) + waiting.countBelow(place)
    const gap = move.to - countBelow(arrived, move.to)
    const to = move.to - countBelow(added, move.to) + waiting.countBelow(countBelow(gapsBefore, gap))
    placedGaps.push(gap)
    steps.push({ from, to })
  }
  return steps
}

/** How many of the first n places are still occupied (a Fenwick tree). */
class Counter {
  private readonly sums: Int32Array

  constructor(size: number) {
    this.sums = new Int32Array(size + 1)
    for (let i = 1; i <= size; i++) this.sums[i] = i & -i
  }

  take(place: number): void {
    for (let i = place + 1; i < this.sums.length; i += i & -i) this.sums[i] = (this.sums[i] as number) - 1
  }

  countBelow(place: number): number {
    let count = 0
    for (let i = place; i > 0; i -= i & -i) count += this.sums[i] as number
    return count
  }
}
