/**
 * Packs `midflight` as it would be published and installs it somewhere else, without a network: for the tests that
 * look at what users get, and for `install-size.ts`. It compiles into a folder of its own, so that it neither needs
 * nor disturbs the workspace's `dist`.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const root = fileURLToPath(new URL('..', import.meta.url))
const engine = join(root, 'packages/engine')

/** What `npm run` tells its children about this workspace would confuse an npm that works elsewhere. */
export function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS|VITEST)/i.test(name)))
}

/**
 * Compiles and packs the engine.
 * @param into an existing empty folder
 * @returns the tarball's path
 * @throws Error with the compiler's output, if the engine does not compile
 */
export async function packEngine(into: string): Promise<string> {
  const staged = join(into, 'midflight')
  await mkdir(staged)
  for (const name of ['package.json', 'README.md', 'LICENSE', 'proto']) {
    if (existsSync(join(engine, name))) await cp(join(engine, name), join(staged, name), { recursive: true })
  }
  const options = ['--composite', 'false', '--incremental', 'false', '--outDir', join(staged, 'dist')]
  await command(join(root, 'node_modules/.bin/tsc'), ['-p', engine, ...options], root)
  return pack(staged, into)
}

async function pack(folder: string, into: string): Promise<string> {
  const options = ['--ignore-scripts', '--json', '--pack-destination', into]
  const [packed] = Object.values(JSON.parse(await command('npm', ['pack', folder, ...options], into))) as {
    filename: string
  }[]
  if (!packed) throw new Error(`npm pack ${folder} made nothing`)
  return join(into, packed.filename)
}

/**
 * Installs the packed engine into `into/app` as a user would, its dependencies taken from this workspace's node_modules.
 * @param more packages of this workspace's node_modules to install beside it
 * @returns the folder `into/app`
 */
export async function installPacked(tarball: string, into: string, more: readonly string[] = []): Promise<string> {
  const app = join(into, 'app')
  await mkdir(app)
  const names = await withDependencies([...Object.keys((await manifest(engine)).dependencies ?? {}), ...more])
  const dependencies: Record<string, string> = { midflight: `file:${tarball}` }
  for (const name of names) dependencies[name] = `file:${await pack(join(root, 'node_modules', name), into)}`
  await writeFile(
    join(app, 'package.json'),
    JSON.stringify({ name: 'app', private: true, type: 'module', dependencies }),
  )
  const options = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  await command('npm', ['install', ...options], app)
  return app
}

/** Packages lie flat in the workspace's node_modules; one that does not is an error when it is packed. */
async function withDependencies(names: readonly string[]): Promise<Set<string>> {
  const all = new Set(names)
  for (const name of all) {
    for (const next of Object.keys((await manifest(join(root, 'node_modules', name))).dependencies ?? {})) all.add(next)
  }
  return all
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
}

async function manifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest
}

export interface InstallSize {
  readonly packages: number
  /** 1000 bytes each, rounded up: the sum of the files' sizes. */
  readonly kilobytes: number
}

/** What lies in `app/node_modules` after `installPacked`. */
export async function installSize(app: string): Promise<InstallSize> {
  const lock = JSON.parse(await readFile(join(app, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, unknown>
  }
  const packages = Object.keys(lock.packages).filter((path) => path !== '').length
  let bytes = 0
  for (const path of await filesUnder(join(app, 'node_modules'))) bytes += (await stat(path)).size
  return { packages, kilobytes: Math.ceil(bytes / 1000) }
}

/** All files below a folder, but for npm's own notes. */
export async function filesUnder(folder: string): Promise<string[]> {
  return (await readdir(folder, { withFileTypes: true, recursive: true }))
    .filter((entry) => entry.isFile() && entry.name !== '.package-lock.json')
    .map((entry) => join(entry.parentPath, entry.name))
}

async function command(file: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return (await run(file, args, { cwd, env: plainEnv(), maxBuffer: 64 * 1024 * 1024 })).stdout
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }
    throw new Error(`${file} ${args.join(' ')} failed\n${stdout}${stderr}`, { cause })
  }
}
