/** How a release is to be brought to the nodes, as it is typed. What of it can be used, the control plane says. */
import type { Command } from 'commander'
import type { Json } from 'midflight'
import { jsonIn } from '../files/json-file.ts'
import { Refusal } from '../refusal.ts'
import { timeMs } from './times.ts'

export interface StrategyFlags {
  readonly strategy?: string
  readonly steps?: string
  readonly bake?: number
  readonly twoPhase?: true
  readonly confirm?: number
  readonly gatePromql?: readonly string[]
  readonly gateWebhook?: readonly string[]
}

export type Spec = Readonly<Record<string, Json>>

const words = 'all-at-once, two-phase, staged, linear, exponential, by-zone, by-risk, instant'

export function withStrategyOptions(command: Command): Command {
  return command
    .option('--strategy <how>', `how it is brought to the nodes: ${words}; or JSON, or @FILE that holds it`)
    .option('--steps <list>', 'in steps: percents of the nodes, or labels, like 10,50 or zone=a,zone=b')
    .option('--bake <time>', 'how long each step is watched, like 5m', (text) => timeMs('--bake', text))
    .option('--two-phase', 'all nodes of a step prepare it before any of them commits')
    .option('--confirm <time>', 'rolled back unless somebody confirms it so long after the last step', (text) =>
      timeMs('--confirm', text),
    )
    .option(
      '--gate-promql <gate>',
      "go on only while this holds: 'errors: error_ratio < 0.05'; may be repeated",
      collected,
    )
    .option(
      '--gate-webhook <name>',
      'go on only while this webhook of the control plane says so; may be repeated',
      collected,
    )
}

function collected(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** @returns `undefined` if nothing is said of it. @throws Refusal */
export async function strategyIn(flags: StrategyFlags): Promise<Spec | undefined> {
  const { strategy, steps, bake, twoPhase, confirm } = flags
  const gates = [...(flags.gatePromql ?? []).map(promqlGate), ...(flags.gateWebhook ?? []).map(webhookGate)]
  const more: Record<string, Json> = {
    ...(steps !== undefined && { steps: steps.split(',').map(stepIn) }),
    ...(bake !== undefined && { bakeMs: bake }),
    ...(twoPhase && { twoPhase: true }),
    ...(confirm !== undefined && { confirmMs: confirm }),
    ...(gates.length > 0 && { gates }),
  }
  if (strategy === undefined && Object.keys(more).length === 0) return undefined
  const kind = steps !== undefined ? 'staged' : twoPhase ? 'two-phase' : 'all-at-once'
  return { ...(strategy === undefined ? { kind } : await written(strategy)), ...more }
}

async function written(text: string): Promise<Spec> {
  const found = text.startsWith('@') ? await jsonIn(text.slice(1), 'the strategy') : inlineIn(text)
  if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Spec
  throw new Refusal('usage', `--strategy is no strategy; want one of ${words}, or an object in JSON`)
}

function inlineIn(text: string): Json {
  if (/^[a-z-]+$/.test(text)) return { kind: text }
  try {
    return JSON.parse(text) as Json
  } catch {
    throw new Refusal('usage', `--strategy is ${JSON.stringify(text)}; want one of ${words}, JSON, or @FILE`)
  }
}

function stepIn(text: string): Json {
  const step = text.trim()
  const [, name, value] = /^([^=]+)=(.*)$/.exec(step) ?? []
  if (name !== undefined) return { labels: { [name]: value ?? '' } }
  if (/^\d{1,3}(\.\d+)?%?$/.test(step)) return { percent: Number.parseFloat(step) }
  throw new Refusal(
    'usage',
    `--steps has ${JSON.stringify(step)}; want percents or labels, like 10,50 or zone=a,zone=b`,
  )
}

/** `name: query < 0.05`; the bound is what stands last. */
function promqlGate(text: string): Json {
  const [, name, query, want] =
    /^\s*([\w.-]+)\s*:\s*(.*\S)\s*((?:<=|>=|==|!=|<|>)\s*-?[\d.e+-]+)\s*$/is.exec(text) ?? []
  if (name !== undefined && query !== undefined && want !== undefined) return { kind: 'promql', name, query, want }
  throw new Refusal(
    'usage',
    `--gate-promql is ${JSON.stringify(text)}; want NAME: QUERY < NUMBER, like 'errors: error_ratio < 0.05'`,
  )
}

/** `name`, or `name=hook`. */
function webhookGate(text: string): Json {
  const [name = '', hook = name] = text.split('=', 2)
  return { kind: 'webhook', name, hook }
}
