/** The last line of a test run tells the truth, also about files that never came to run a test. */
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execFile } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { plainEnv, root } from '../scripts/pack.ts'

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-closing-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  const reporter = join(root, 'test/closing-line.ts')
  await writeFile(
    join(folder, 'vitest.config.ts'),
    `import { ClosingLine } from ${JSON.stringify(reporter)}
    export default { test: { reporters: ['default', new ClosingLine()] } }`,
  )
  await writeFile(
    join(folder, 'mixed.test.ts'),
    `import { test } from 'vitest'
    test('one that passes', () => {})
    test('one that fails', () => { throw new Error('as it should') })
    test('one that cannot run', (context) => context.skip('wrk is not here'))`,
  )
  await writeFile(join(folder, 'lost.test.ts'), `import './nowhere.ts'`)
  await writeFile(join(folder, 'fine.test.ts'), `import { test } from 'vitest'\ntest('fine', () => {})`)
})

afterAll(() => rm(folder, { recursive: true, force: true }))

function linesOf(...files: string[]): Promise<string[]> {
  return new Promise((resolve) => {
    const vitest = join(root, 'node_modules/.bin/vitest')
    execFile(
      process.execPath,
      [vitest, 'run', ...files],
      { cwd: folder, env: { ...plainEnv(), NO_COLOR: '1' } },
      (_failed, stdout) => resolve(stdout.trimEnd().split('\n')),
    )
  })
}

test('it stands alone at the end and counts what passed, failed and was skipped', async () => {
  const lines = await linesOf('mixed')
  expect(lines.at(-1)).toBe('1 passed, 1 failed, 1 skipped')
  expect(lines).toContain('  mixed.test.ts: one that cannot run (skipped: wrk is not here)')
  expect(lines.slice(-4, -1)).toEqual(['failed:', '  mixed.test.ts: one that fails: as it should', ''])
})

test('a file that cannot be imported is a failure', async () => {
  expect((await linesOf('lost')).at(-1)).toBe('0 passed, 1 failed, 0 skipped')
})

test('nothing is listed as skipped when nothing was', async () => {
  expect((await linesOf('fine')).filter((line) => line.includes('skipped'))).toEqual(['1 passed, 0 failed, 0 skipped'])
})
