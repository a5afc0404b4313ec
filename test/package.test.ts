/** What users get from `npm install midflight`: how much it is, what is in it, and that all of its exports work. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { filesUnder, installPacked, installSize, packEngine, plainEnv, root } from '../scripts/pack.ts'

const run = promisify(execFile)

let folder: string
let app: string
let installed: string
/** `midflight`, `midflight/sources/file`, …: all that the exports offer. */
let entries: string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-package-'))
  app = await installPacked(await packEngine(folder), folder)
  installed = join(app, 'node_modules/midflight')
  entries = await entriesOf(installed)
}, 120_000)

afterAll(() => rm(folder, { recursive: true, force: true }))

async function entriesOf(of: string): Promise<string[]> {
  const manifest = JSON.parse(await readFile(join(of, 'package.json'), 'utf8')) as {
    exports: Record<string, string | { default: string } | null>
  }
  const found: string[] = []
  for (const [subpath, target] of Object.entries(manifest.exports)) {
    if (typeof target === 'string' || target === null) continue
    const name = `midflight${subpath.slice(1)}`
    if (!name.includes('*')) found.push(name)
    else {
      const built = await readdir(join(of, target.default, '..'))
      const modules = built.filter((file) => file.endsWith('.js'))
      found.push(...modules.map((file) => name.replace('*', basename(file, '.js'))))
    }
  }
  return found.filter((name) => manifest.exports[`.${name.slice('midflight'.length)}`] !== null)
}

test('the README says how many packages and kilobytes an install brings, and it is so', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const claim = /(\d+) packages, ([\d,]+) kB/.exec(readme)
  expect(claim, 'README.md says "N packages, N kB"; npm run size prints them').not.toBeNull()
  const claimed = { packages: Number(claim?.[1]), kilobytes: Number(claim?.[2]?.replaceAll(',', '')) }
  const { packages, kilobytes } = await installSize(app)
  expect(packages).toBe(claimed.packages)
  expect(kilobytes).toBeLessThanOrEqual(claimed.kilobytes)
  expect(kilobytes, 'the README promises far less than it could').toBeGreaterThan(claimed.kilobytes * 0.85)
})

test('the package holds dist, proto, README and LICENSE, and nothing that belongs to this machine', async () => {
  const allowed = ['LICENSE', 'README.md', 'dist', 'package.json', 'proto']
  expect((await readdir(installed)).filter((name) => !allowed.includes(name))).toEqual([])
  expect(await readdir(installed)).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'dist']))

  const files = await filesUnder(installed)
  const odd = files.filter((path) => path.includes('/dist/') && !/\.(js|d\.ts)$/.test(path))
  expect(odd, 'dist holds code and types only').toEqual([])
  for (const path of files) expect(await readFile(path, 'utf8'), path).not.toContain(root)
})

test('every export loads under plain Node, with no optional peer installed', async () => {
  const load = `for (const name of ${JSON.stringify(entries)}) {
    const module = await import(name)
    if (Object.keys(module).length === 0) throw new Error(name + ' exports nothing')
  }`
  await writeFile(join(app, 'load.js'), load)
  await run(process.execPath, ['load.js'], { cwd: app, env: plainEnv() })
  expect(entries).toEqual(expect.arrayContaining(['midflight', 'midflight/sources/file', 'midflight/triggers/signal']))
})

test('every export has types that hold by themselves, without skipLibCheck and without optional peers', async () => {
  await writeFile(join(app, 'types.ts'), entries.map((name, i) => `export * as e${i} from '${name}'\n`).join(''))
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  }
  await writeFile(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['types.ts'] }))
  const checked = await run(join(root, 'node_modules/.bin/tsc'), ['-p', '.'], { cwd: app }).then(
    () => '',
    (failure: { stdout?: string }) => failure.stdout ?? String(failure),
  )
  expect(checked).toBe('')
})
