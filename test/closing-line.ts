/**
 * A Vitest reporter that has the last word: every skipped test with its reason, every failed one with the first line of
 * its error, then one plain line, `N passed, N failed, N skipped`, for people and programs that read only the end.
 */
import type { Reporter, TestModule, TestResult } from 'vitest/node'

export interface Tally {
  readonly passed: number
  readonly failed: readonly string[]
  readonly skipped: readonly string[]
}

/** What went wrong outside of any test (a file that cannot be imported, an unhandled rejection) counts as a failure. */
export function tally(modules: readonly TestModule[], outside: readonly unknown[]): Tally {
  let passed = 0
  const failed: string[] = []
  const skipped: string[] = []
  const fail = (where: string, errors: readonly unknown[]) =>
    failed.push(...errors.map((error) => `${where}: ${firstLine(error)}`))
  for (const module of modules) {
    const file = module.relativeModuleId
    fail(file, module.errors())
    for (const suite of module.children.allSuites()) fail(`${file}: ${suite.fullName}`, suite.errors())
    for (const test of module.children.allTests()) {
      const result = test.result()
      const name = `${file}: ${test.fullName}`
      if (result.state === 'passed') passed++
      else if (result.state === 'failed') fail(name, result.errors.slice(0, 1))
      else skipped.push(`${name}${reason(result)}`)
    }
  }
  fail('outside of any test', outside)
  return { passed, failed, skipped }
}

function firstLine(error: unknown): string {
  const said = typeof error === 'object' && error !== null && 'message' in error ? error.message : error
  return String(said).split('\n', 1)[0]!
}

function reason(result: TestResult): string {
  if (result.state === 'pending') return ' (skipped: the run ended before it)'
  return result.state === 'skipped' && result.note ? ` (skipped: ${result.note})` : ''
}

function list(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)]
}

export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const { passed, failed, skipped } = tally(modules, unhandled)
    const counted = `${passed} passed, ${failed.length} failed, ${skipped.length} skipped`
    console.log([...list('skipped:', skipped), ...list('failed:', failed), '', counted].join('\n'))
  }
}
