/** Where gates ask: what the operator of the control plane has configured, and which specs can be answered by it. */
import type { Issue } from 'midflight'
import { deadGate, type Gate, type GateSpec } from './gate.ts'
import { prometheus, type PrometheusOptions } from './promql.ts'
import { checkGates } from './spec.ts'
import { gateWebhook, type GateWebhookOptions } from './webhook.ts'

export interface GateSourceOptions {
  readonly prometheus?: PrometheusOptions
  /** By the names that gates have for them. */
  readonly webhooks?: Readonly<Record<string, GateWebhookOptions>>
}

export interface GateSources {
  /** What is wrong with a list of specs from outside, or cannot be asked here; empty if nothing is. */
  problems(specs: unknown): readonly Issue[]
  /** A source that is not configured any more makes a gate that fails, and says so. */
  gate(spec: GateSpec): Gate
}

/** @throws TypeError for options that cannot be used. */
export function gateSources(options: GateSourceOptions): GateSources {
  const promql = options.prometheus && prometheus(options.prometheus)
  const hooks = new Map(Object.entries(options.webhooks ?? {}).map(([name, hook]) => [name, gateWebhook(name, hook)]))
  const noPrometheus = 'no Prometheus is configured on the control plane'
  const noHook = (hook: string): string => {
    const there = hooks.size === 0 ? 'and none are' : `there are ${[...hooks.keys()].join(', ')}`
    return `the webhook ${hook} is not configured on the control plane; ${there}`
  }
  return {
    problems(specs) {
      const issues = checkGates(specs)
      if (issues.length > 0) return issues
      return (specs as readonly GateSpec[]).flatMap((spec, index): Issue[] => {
        if (spec.kind === 'promql') {
          return promql ? [] : [{ code: 'schema', path: [index, 'kind'], message: `is promql, but ${noPrometheus}` }]
        }
        if (hooks.has(spec.hook)) return []
        return [{ code: 'schema', path: [index, 'hook'], message: noHook(spec.hook) }]
      })
    },
    gate(spec) {
      if (spec.kind === 'promql') return promql?.(spec) ?? deadGate(spec.name, noPrometheus)
      return hooks.get(spec.hook)?.(spec) ?? deadGate(spec.name, noHook(spec.hook))
    },
  }
}
