/**
 * What the fleet is told of a node's components, so that a plan says what a change will need there. A message holds only
 * so much: what does not fit is told coarser, never as hotter than it is. Pure.
 */
import { parsePath, pathText } from '../json.ts'
import type { Hello } from '../protocol/messages.ts'
import type { ComponentSupport } from '../status.ts'

export type ToldComponent = NonNullable<Hello['components']>[number]

/** As in `protocol/messages.ts`. */
const most = { components: 256, paths: 256, name: 256, path: 1024 }

/** @param maxBytes of it as JSON. @returns `whole` where nothing had to be left out. */
export function toldOf(
  support: readonly ComponentSupport[],
  maxBytes: number,
): { readonly components: readonly ToldComponent[] | undefined; readonly whole: boolean } {
  const all = support.map(({ component, hot, restartFor }) => ({ name: nameOf(component), hot, restartFor }))
  if (fits(all, maxBytes)) return { components: all, whole: true }
  for (const [count, depth] of coarser(all.length)) {
    const components = gathered(all, count).map((one) => ({ ...one, restartFor: above(one.restartFor, depth) }))
    if (fits(components, maxBytes)) return { components, whole: false }
  }
  return { components: undefined, whole: false }
}

/** Shorter paths first, then fewer components. */
function* coarser(count: number): Generator<readonly [count: number, depth: number]> {
  const atMost = Math.min(count, most.components)
  for (let depth = 8; depth >= 0; depth--) yield [atMost, depth]
  for (let fewer = atMost >> 1; fewer >= 1; fewer >>= 1) yield [fewer, 0]
}

function fits(components: readonly ToldComponent[], maxBytes: number): boolean {
  return (
    components.length <= most.components &&
    components.every(
      ({ restartFor }) => restartFor.length <= most.paths && restartFor.every((path) => path.length <= most.path),
    ) &&
    Buffer.byteLength(JSON.stringify(components)) <= maxBytes
  )
}

/** The first ones, and one that stands for all the others. */
function gathered(all: readonly ToldComponent[], count: number): readonly ToldComponent[] {
  if (all.length <= count) return all
  const [shown, rest] = [all.slice(0, count - 1), all.slice(count - 1)]
  const hots = new Set(rest.map(({ hot }) => hot))
  const hot = hots.size === 1 ? (rest[0] as ToldComponent).hot : 'partial'
  return [...shown, { name: `${rest.length} more`, hot, restartFor: rest.flatMap(({ restartFor }) => restartFor) }]
}

/** What stands above a path covers it. */
function above(paths: readonly string[], depth: number): string[] {
  return [...new Set(paths.map((path) => pathText(parsePath(path).slice(0, depth))))]
}

function nameOf(name: string): string {
  return name.length <= most.name ? name : `${name.slice(0, most.name - 1).toWellFormed()}…`
}
