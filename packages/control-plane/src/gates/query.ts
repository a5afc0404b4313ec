/**
 * The placeholders of a PromQL query. Each stands for a whole quoted text, so that nothing that is filled in can become
 * a part of the query. Pure; knows of PromQL only where texts and comments begin and end.
 */
import type { GateContext } from './gate.ts'

const placeholders: Readonly<Record<string, (context: GateContext) => string>> = {
  config: ({ config }) => config,
  release: ({ release }) => String(release),
  step: ({ step }) => String(step),
  // For =~, which PromQL anchors at both ends.
  nodes: ({ nodes }) => nodes.map((uid) => uid.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'),
}

const names = Object.keys(placeholders)
const known = new RegExp(`\\$(?:${names.join('|')})\\b`)
const wanted = `want one of ${names.map((name) => `$${name}`).join(', ')}`
/** Texts in either quote or between backticks, comments, and then the placeholders outside of these. */
const tokens = /"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`[^`]*`?|#[^\n]*|\$(\w*)/gs

/** What is wrong with the placeholders, in words that go after the query, or `undefined`. */
export function queryProblem(query: string): string | undefined {
  for (const [token, name] of query.matchAll(tokens)) {
    if (name === undefined) {
      // It would be taken as it stands, and match nothing.
      const inside = token.startsWith('#') ? undefined : known.exec(token)?.[0]
      if (inside !== undefined) return `has ${inside} inside quotes; want it without them, as they come with it`
    } else if (!names.includes(name)) return `has $${name}; ${wanted}`
  }
  return undefined
}

/** @throws Error for a placeholder that has nothing to stand for: `node=~""` would find what belongs to no node. */
export function filledQuery(query: string, context: GateContext): string {
  return query.replace(tokens, (token: string, name: string | undefined) => {
    const value = name === undefined ? undefined : placeholders[name]?.(context)
    if (value === '') throw new Error(`$${name} is empty: there is nothing to ask about`)
    // What JSON escapes, PromQL reads as Go does: the same escapes.
    return value === undefined ? token : JSON.stringify(value)
  })
}
