/**
 * The components that take part in a reload, each with its old and its new slice, and what they say to it before
 * anything is prepared. Which these are is `plan.ts`; what is done with them is `transaction.ts`.
 */
import { errorText } from './deadline.ts'
import type { Issue } from './issue.ts'
import type { Json } from './json.ts'
import { sliceOf, type Touched } from './plan.ts'
import { memberOf, type ComponentState, type Member } from './transaction.ts'

export interface Candidates {
  readonly members: readonly Member[]
  /** Whoever cannot even make his slice of it. */
  readonly issues: readonly Issue[]
}

/** @param before `undefined` at the first start. */
export function membersOf(
  touched: readonly Touched[],
  before: Json | undefined,
  after: Json,
  states: ReadonlyMap<string, ComponentState>,
  force: boolean,
): Candidates {
  const issues: Issue[] = []
  const members = touched.flatMap(({ component, changes }) => {
    const state = states.get(component.name) as ComponentState
    const forced = before !== undefined && (force || state.runs === 'unknown')
    try {
      const old = before === undefined ? undefined : sliceOf(component, before)
      return [memberOf(component, { before: old, after: sliceOf(component, after), changes, forced }, state)]
    } catch (error) {
      issues.push(issue('internal', `component ${component.name} failed to take its slice: ${errorText(error)}`))
      return []
    }
  })
  return { members, issues }
}

/** A component's own validate; what it throws refuses the configuration too. @param limitMs in milliseconds. */
export function checkMember({ component, change, state }: Member, limitMs: number): readonly Issue[] {
  const { name } = component
  if (state.unreturned > 0) {
    const message = `component ${name} has a call that has not returned since its deadline; it can take no other configuration before`
    return [issue('component', message)]
  }
  const began = performance.now()
  try {
    const issues: unknown = component.validate?.(change) ?? []
    if (!Array.isArray(issues)) {
      return [issue('internal', `component ${name} failed to validate: want a list of issues, at once`)]
    }
    if (performance.now() - began <= limitMs) return issues
    return [issue('timeout', `component ${name} did not validate within ${limitMs} ms`)]
  } catch (error) {
    return [issue('internal', `component ${name} failed to validate: ${errorText(error)}`)]
  }
}

function issue(code: Issue['code'], message: string): Issue {
  return { code, path: [], message }
}
