/** Completion scripts: bash's is run by bash; zsh's and fish's where they are here. */
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { folder, midflight } from './rig.ts'

function has(shell: string): boolean {
  return spawnSync(shell, ['-c', 'true']).status === 0
}

/** What bash offers for the words, the last of which is being typed. */
async function offered(cwd: string, ...words: string[]): Promise<string[]> {
  const script = `source ./completion.bash
COMP_WORDS=(midflight "$@"); COMP_CWORD=$#
_midflight
printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', script, 'bash', ...words], {
    cwd,
    encoding: 'utf8',
  })
  expect([status, stderr.replace(/.*compopt.*\n/g, '')]).toEqual([0, ''])
  return stdout.split('\n').filter((word) => word !== '')
}

test('bash completes commands, options, their values and file names', async () => {
  const cwd = await folder({ 'gateway one.yaml': '', 'gateway.yaml': '' })
  const { out, code } = await midflight(['completion', 'bash'])
  expect(code).toBe(0)
  await writeFile(join(cwd, 'completion.bash'), out)
  expect(await offered(cwd, '')).toEqual(
    expect.arrayContaining(['validate', 'plan', 'diff', 'reload', 'status', 'events', 'watch', 'completion', 'help']),
  )
  expect(await offered(cwd, 're')).toEqual(['reload', 'restore'])
  expect(await offered(cwd, 'reload', '--d')).toEqual(['--dry-run'])
  expect(await offered(cwd, 'reload', '--wait', '')).toEqual(['0', '1'])
  expect(await offered(cwd, 'validate', '--format', 't')).toEqual(['toml'])
  expect((await offered(cwd, 'validate', 'gate')).toSorted()).toEqual(['gateway one.yaml', 'gateway.yaml'])
  expect((await offered(cwd, '-t', 'gate')).toSorted()).toEqual(['gateway one.yaml', 'gateway.yaml'])
  expect(await offered(cwd, 'completion', 'z')).toEqual(['zsh'])
  expect(await offered(cwd, 'status', '--token', '')).toEqual([])
  expect(await offered(cwd, 'config', '')).toEqual(['create', 'schema', 'list'])
  expect(await offered(cwd, 'token', 'create', '--role', 'pub')).toEqual(['publisher'])
  expect(await offered(cwd, 'publish', 'gate')).toHaveLength(2)
  expect(await offered(cwd, 'history', '--li')).toEqual(['--limit'])
})

test('every command and every option is in every script', async () => {
  const [bash, zsh, fish, help] = await Promise.all([
    midflight(['completion', 'bash']),
    midflight(['completion', 'zsh']),
    midflight(['completion', 'fish']),
    midflight(['reload', '--help']),
  ])
  const options = [...help.out.matchAll(/^ {2}.*?--([\w-]+)/gm)].map(([, name]) => name ?? '')
  expect(options.length).toBeGreaterThan(8)
  for (const name of options) {
    expect(bash.out).toContain(`--${name}`)
    expect(zsh.out).toContain(`--${name}`)
    expect(fish.out).toContain(`-l ${name}`)
  }
})

for (const shell of ['zsh', 'fish'] as const) {
  const there = has(shell)
  test.skipIf(!there)(`${shell} reads its script${there ? '' : ` (skipped: ${shell} is not here)`}`, async () => {
    const { out } = await midflight(['completion', shell])
    expect(spawnSync(shell, ['-n'], { input: out, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' })
  })
}
