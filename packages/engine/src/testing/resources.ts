/** What keeps this process alive, so that a case can tell what was not let go of. */

export type Resources = ReadonlyMap<string, number>

export function resources(): Resources {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

/** Kinds that come and go with whatever else the process does. */
const passing = new Set(['FSReqCallback', 'FSReqPromise', 'Immediate', 'TickObject', 'PipeWrap', 'TTYWrap', 'CloseReq'])

/** What there is more of than `before`. To be asked while nothing here waits: a wait is a timer too. */
export function heldSince(before: Resources): readonly string[] {
  return [...resources()].filter(([kind, count]) => !passing.has(kind) && count > (before.get(kind) ?? 0)).map(String)
}
