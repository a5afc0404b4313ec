/** What components can take while they run, and how they and the configuration are. */
import type { Component } from './component.ts'
import { covers, parsePath, type Json } from './json.ts'
import type { Core } from './reload.ts'
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

/** The part of the status that the last reload left behind. */
export function coreStatus(core: Core, startedAt: Date, digestOf: (config: Json | undefined) => string) {
  const { live, attempted, states, pendingRestart } = core
  const components = core.components.map((component): ComponentStatus => {
    const { runs, lastError } = states.get(component.name) as ComponentState
    const support = supportOf(component, core.validator.restartPaths)
    return { ...support, runs, ...(lastError !== undefined && { lastError }) }
  })
  const committedAt = live?.committedAt ?? startedAt
  return {
    healthy: components.every((component) => component.runs === 'live'),
    startedAt: startedAt.toISOString(),
    live: {
      digest: digestOf(live?.config),
      committedAt: committedAt.toISOString(),
      ageMs: Date.now() - committedAt.getTime(),
    },
    ...(attempted && { attempted: { digest: digestOf(attempted.config), at: attempted.at.toISOString() } }),
    pendingRestart,
    components,
    sources: core.sources.map((source) => source.name),
  }
}
