/**
 * Breaks each guarantee once and sees that a test notices. test/mutants.json lists the breaks: in `file`, the text `find`
 * (which must be there exactly once) becomes `replace`, and one of the tests in `test` must then fail. All this happens
 * in a copy of the workspace; the working tree is only read.
 *
 *     npm run test:mutants [-- <part of a name> …]
 *
 * Ends with 1 if a mutant survives, if a `find` no longer fits, or if a named test fails without any mutant.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Mutant {
  readonly name: string
  /** The promise that it breaks, in the words of the documentation. */
  readonly guarantee: string
  /** Path from the workspace's root. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The test file or files, likewise, of which one must fail. */
  readonly test: string | readonly string[]
}

/** A mutant may make the code wait for ever; so long a run of its tests counts as noticed. */
const timeLimitMs = 180_000

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * @throws Error if `find` is not in the text exactly once (the code has moved on, and the mutant must follow it),
 *   or if the result is not TypeScript: it would fail every test, and say nothing about them
 */
export function mutate(text: string, mutant: Mutant): string {
  const places = text.split(mutant.find).length - 1
  if (places !== 1)
    throw new Error(`stale: ${mutant.file} has the text to replace ${places} times; it must be there once`)
  // A function, so that `$&` and the like in the replacement are plain text.
  const mutated = text.replace(mutant.find, () => mutant.replace)
  if (mutant.file.endsWith('.ts')) stripTypeScriptTypes(mutated)
  return mutated
}

/** Makes a copy of the workspace without what git ignores, on the same installed packages, in an empty folder. */
async function copyWorkspace(parent: string): Promise<string> {
  const copy = join(parent, 'workspace')
  // Some tests run a process as nobody, who has to reach the code.
  await chmod(parent, 0o755)
  const left = new Set(['node_modules', '.git', 'dist', '.cache', 'coverage', '.out'])
  await cp(root, copy, { recursive: true, filter: (path) => !left.has(basename(path)) })
  await linkModules(join(root, 'node_modules'), join(copy, 'node_modules'))
  // Real input that some tests read beside the workspace, where it is there.
  const shared = join(root, '../shared')
  if (existsSync(shared)) await symlink(shared, join(parent, 'shared'))
  return copy
}

/**
 * Links every installed package, but leaves npm's own links (to the packages of this workspace) as they are, relative:
 * they then lead into the copy. Through a link to the whole node_modules, tests would run on code that nothing has touched.
 */
async function linkModules(from: string, to: string): Promise<void> {
  await mkdir(to)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [there, here] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isSymbolicLink()) await symlink(await readlink(there), here)
    else if (entry.name.startsWith('@')) await linkModules(there, here)
    else if (!entry.name.startsWith('.vite')) await symlink(there, here)
  }
}

interface Run {
  readonly passed: boolean
  readonly output: string
}

function runTests(workspace: string, tests: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const vitest = join(root, 'node_modules/.bin/vitest')
    const child = spawn(process.execPath, [vitest, 'run', '--bail=1', ...tests], {
      cwd: workspace,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let output = ''
    child.stdout.on('data', (part: Buffer) => (output += part.toString()))
    child.stderr.on('data', (part: Buffer) => (output += part.toString()))
    // The group, because vitest's workers hold the pipes open after it has gone.
    const limit = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, timeLimitMs)
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(limit)
      resolve({ passed: code === 0, output })
    })
  })
}

export function testsOf(mutant: Mutant): readonly string[] {
  return typeof mutant.test === 'string' ? [mutant.test] : mutant.test
}

export type Verdict = 'killed' | 'survived' | 'stale' | 'void'

/** Runs every mutant, tells of each as it goes, and says how they ended. */
export async function runMutants(mutants: readonly Mutant[], say: (line: string) => void): Promise<Verdict[]> {
  const parent = await mkdtemp(join(tmpdir(), 'midflight-mutants-'))
  try {
    const copy = await copyWorkspace(parent)
    const verdicts: Verdict[] = []
    const sound = new Map<string, Promise<Run>>()
    for (const mutant of mutants) {
      const tests = testsOf(mutant)
      const key = tests.join()
      if (!sound.has(key)) sound.set(key, runTests(copy, tests))
      const before = await (sound.get(key) as Promise<Run>)
      const { verdict, why } = before.passed ? await runMutant(copy, mutant) : showsNothing(tests)
      verdicts.push(verdict)
      say(`${verdict.padEnd(8)} ${mutant.name}: ${mutant.guarantee}${why ? `\n         ${why}` : ''}`)
    }
    return verdicts
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}

interface Judged {
  readonly verdict: Verdict
  readonly why?: string
}

function showsNothing(tests: readonly string[]): Judged {
  return { verdict: 'void', why: `${tests.join(', ')} fails without any mutant, and so shows nothing` }
}

async function runMutant(copy: string, mutant: Mutant): Promise<Judged> {
  const path = join(copy, mutant.file)
  let text: string
  let mutated: string
  try {
    text = await readFile(path, 'utf8')
    mutated = mutate(text, mutant)
  } catch (cause) {
    return { verdict: 'stale', why: String(cause) }
  }
  await writeFile(path, mutated)
  try {
    const { passed } = await runTests(copy, testsOf(mutant))
    return passed
      ? { verdict: 'survived', why: `no test in ${testsOf(mutant).join(', ')} failed` }
      : { verdict: 'killed' }
  } finally {
    await writeFile(path, text)
  }
}

if (import.meta.main) {
  const all = JSON.parse(await readFile(join(root, 'test/mutants.json'), 'utf8')) as Mutant[]
  const parts = process.argv.slice(2)
  const chosen = parts.length === 0 ? all : all.filter(({ name }) => parts.some((part) => name.includes(part)))
  const verdicts = await runMutants(chosen, console.log)
  const count = (verdict: Verdict) => verdicts.filter((each) => each === verdict).length
  console.log(
    `\n${count('killed')} killed, ${count('survived')} survived, ${count('stale')} stale, ${count('void')} void`,
  )
  if (verdicts.some((verdict) => verdict !== 'killed')) process.exitCode = 1
}
