/** What components can take while they run, and how they are. */
import type { Component } from './component.ts'
import { covers, parsePath } from './json.ts'
import type { ComponentStatus, ComponentSupport } from './status.ts'
import type { ComponentState } from './transaction.ts'

/** @param marked restart-only paths that the schema marks. */
export function supportOf(component: Component<unknown>, marked: readonly string[]): ComponentSupport {
  const { name, paths, after, hot } = component
  const mine = marked.filter((path) => paths.some((own) => covers(parsePath(own), parsePath(path))))
  const restartFor = hot === 'none' ? paths : [...(hot === 'full' ? [] : hot.restartFor), ...mine]
  return {
    component: name,
    paths,
    after,
    hot: hot === 'none' ? 'none' : restartFor.length > 0 ? 'partial' : 'full',
    restartFor,
  }
}

export function componentStatus(
  component: Component<unknown>,
  marked: readonly string[],
  state: ComponentState,
): ComponentStatus {
  const { runs, lastError } = state
  return { ...supportOf(component, marked), runs, ...(lastError !== undefined && { lastError }) }
}
