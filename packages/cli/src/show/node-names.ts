/** What people call a node: by its labels, and by as much of its uid as tells it from the others. */
import { printable } from '../printable.ts'

interface Named {
  readonly uid: string
  readonly labels?: Readonly<Record<string, string>>
  readonly agent?: { readonly name: string }
}

/** `node=a zone=west`; without labels what its agent calls itself. */
export function nameOf({ labels = {}, agent }: Named): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${value}`)
  return printable(pairs.length > 0 ? pairs.join(' ') : (agent?.name ?? ''))
}

const shortest = 8

/** How many characters of these uids tell them apart, 8 at least. */
export function uidLength(uids: readonly string[]): number {
  const sorted = [...new Set(uids)].toSorted()
  let most = shortest
  for (const [i, uid] of sorted.entries()) {
    const next = sorted[i + 1] ?? ''
    let alike = 0
    while (alike < uid.length && uid[alike] === next[alike]) alike++
    most = Math.max(most, Math.min(alike + 1, uid.length))
  }
  return most
}
