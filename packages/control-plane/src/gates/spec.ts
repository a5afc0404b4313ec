/** Gates as they come from whoever publishes: looked at before anything is done with them. Pure. */
import type { Issue, Path } from 'midflight'
import { parseBound } from './bound.ts'
import { queryProblem } from './query.ts'

/** More gates than this are refused. */
const maxGates = 16
const maxQueryLength = 4096
const maxShownLength = 64
const gateName = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/

/** What is wrong, in words that go after the path. */
type Check = (value: string) => string | undefined

const name: Check = (value) =>
  gateName.test(value) ? undefined : `is ${shown(value)}; want at most 64 letters, digits, "_", "." and "-"`

const fields: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  promql: {
    name,
    query(value) {
      if (value.trim() === '') return 'is empty; want a PromQL query'
      if (value.length > maxQueryLength) return `has ${value.length} characters; want at most ${maxQueryLength}`
      return queryProblem(value)
    },
    want(value) {
      const bound = parseBound(value)
      return typeof bound === 'string' ? `is ${shown(value)}; ${bound}` : undefined
    },
  },
  webhook: { name, hook: name },
}

/** What is wrong with a list of `GateSpec`; empty if nothing is. */
export function checkGates(specs: unknown): Issue[] {
  if (!Array.isArray(specs)) return [wrong([], 'is no list of gates; want []')]
  if (specs.length > maxGates) return [wrong([], `has ${specs.length} gates; want at most ${maxGates}`)]
  const taken = new Set<unknown>()
  return specs.flatMap((spec: unknown, index) => {
    const issues = checkGate(spec, index)
    if (issues.length > 0) return issues
    const { name: own } = spec as { name: string }
    if (taken.has(own)) return [wrong([index, 'name'], `is ${JSON.stringify(own)}, as that of another; want each once`)]
    taken.add(own)
    return []
  })
}

function checkGate(spec: unknown, index: number): Issue[] {
  if (typeof spec !== 'object' || spec === null) return [wrong([index], 'is no gate; want {"kind": …}')]
  const given = spec as Record<string, unknown>
  const kind = given['kind']
  const wanted = typeof kind === 'string' && Object.hasOwn(fields, kind) ? fields[kind] : undefined
  if (wanted === undefined) return [wrong([index, 'kind'], `is ${shown(kind)}; want promql or webhook`)]
  const names = Object.keys(wanted)
  const issues = Object.keys(given)
    .filter((key) => key !== 'kind' && !names.includes(key))
    .slice(0, maxGates)
    .map((key) => wrong([index, key.slice(0, 64)], `is no part of a gate "${String(kind)}"; want ${names.join(', ')}`))
  for (const [key, check] of Object.entries(wanted)) {
    const value = Object.hasOwn(given, key) ? given[key] : undefined
    const problem = typeof value === 'string' ? check(value) : `is ${shown(value)}; want text`
    if (problem !== undefined) issues.push(wrong([index, key], problem))
  }
  return issues
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing'
  return text.length > maxShownLength ? `${text.slice(0, maxShownLength)}…` : text
}

function wrong(path: Path, message: string): Issue {
  return { code: 'schema', path, message }
}
