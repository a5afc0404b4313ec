/**
 * A Vitest reporter that has the last word: every skipped test with its reason, then one plain line,
 * `N passed, N failed, N skipped`, for people and programs that read only the end.
 */
import type { Reporter, TestModule, TestResult } from 'vitest/node'

export interface Tally {
  readonly passed: number
  readonly failed: number
  readonly skipped: readonly string[]
}

/** What went wrong outside of any test (a file that cannot be imported, an unhandled rejection) counts as a failure. */
export function tally(modules: readonly TestModule[], outside: number): Tally {
  let passed = 0
  let failed = outside
  const skipped: string[] = []
  for (const module of modules) {
    failed += module.errors().length
    for (const suite of module.children.allSuites()) failed += suite.errors().length
    for (const test of module.children.allTests()) {
      const result = test.result()
      if (result.state === 'passed') passed++
      else if (result.state === 'failed') failed++
      else skipped.push(`${module.relativeModuleId}: ${test.fullName}${reason(result)}`)
    }
  }
  return { passed, failed, skipped }
}

function reason(result: TestResult): string {
  if (result.state === 'pending') return ' (skipped: the run ended before it)'
  return result.state === 'skipped' && result.note ? ` (skipped: ${result.note})` : ''
}

export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const { passed, failed, skipped } = tally(modules, unhandled.length)
    const lines = skipped.length === 0 ? [] : ['', 'skipped:', ...skipped.map((name) => `  ${name}`)]
    console.log([...lines, '', `${passed} passed, ${failed} failed, ${skipped.length} skipped`].join('\n'))
  }
}
