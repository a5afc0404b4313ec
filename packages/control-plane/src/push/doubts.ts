/**
 * Nodes that say by HTTP that they run less than is known of them. Requests overtake each other, so it may be an old
 * word that is late; or it is a new process, which has lost its disk and may refuse what the one before ran. Late words
 * come to an end: who says the same of himself again after a while, and nothing better in between, is to be believed.
 */
export interface Doubts {
  /** @param known the release that it is known to run. @returns whether it runs less indeed. */
  areOver(uid: string, says: number, known: number): boolean
}

export function createDoubts(nowMs: () => number, afterMs: number): Doubts {
  const doubts = new Map<string, { readonly says: number; readonly sinceMs: number }>()
  return {
    areOver(uid, says, known) {
      const doubt = doubts.get(uid)
      const isLess = says < known
      const isOver = isLess && doubt?.says === says && nowMs() - doubt.sinceMs >= afterMs
      if (isOver || !isLess) doubts.delete(uid)
      else if (doubt?.says !== says) doubts.set(uid, { says, sinceMs: nowMs() })
      return isOver
    },
  }
}
