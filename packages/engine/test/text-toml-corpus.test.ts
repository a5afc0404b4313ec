import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { disagreement, expectListed, outcome } from './text-corpus.ts'

const debianPackage = 'golang-github-burntsushi-toml-dev'

function testsFolder(): string | undefined {
  try {
    const files = execFileSync('dpkg', ['-L', debianPackage], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return files.split('\n').find((file) => file.endsWith('/toml-test/tests'))
  } catch {
    // No such package, or no Debian: the test below says that it is skipped.
    return undefined
  }
}

interface Typed {
  readonly type: string
  readonly value: string
}

/** toml-test writes `{ "type": "integer", "value": "1" }` for a scalar; dates are strings here. */
function plain(expected: unknown): unknown {
  if (Array.isArray(expected)) return expected.map(plain)
  const typed = expected as Typed
  if (typeof typed.type === 'string' && typeof typed.value === 'string') {
    if (typed.type === 'bool') return typed.value === 'true'
    return typed.type === 'integer' || typed.type === 'float' ? Number(typed.value) : typed.value
  }
  return Object.fromEntries(Object.entries(expected as object).map(([key, value]) => [key, plain(value)]))
}

const folder = testsFolder()

test.skipIf(!folder)(
  `toml-test is read as it asks, except where listed (needs Debian's ${debianPackage})`,
  async () => {
    const root = folder as string
    const found = new Map<string, string>()
    const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.toml'))
    for (const name of names.sort()) {
      const valid = name.startsWith('valid/')
      const json = valid ? readFileSync(join(root, name.replace(/toml$/, 'json')), 'utf8') : 'null'
      const expected = valid ? { config: plain(JSON.parse(json)) } : 'refusal'
      const differs = disagreement(await outcome('toml', readFileSync(join(root, name))), expected)
      if (differs) found.set(name, differs)
    }
    expect(names.length).toBeGreaterThan(300)
    expectListed('toml', found)
  },
)
