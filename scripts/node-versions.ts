/** The Node versions that the engine promises to run on, and where to find them on this machine. */
import { execFile } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { plainEnv, root } from './pack.ts'

const run = promisify(execFile)

/** The oldest that the engine supports, and the newest of the lines after it. The repository's own, 24, is not among them. */
export const otherVersions = ['20.19.0', '22.23.3', '26.10.0'] as const

/** The Node that package.json pins for work on this repository; `undefined` where npm has none for the platform. */
export function pinnedNode(): string | undefined {
  return existing(join(root, 'node_modules/.bin/node'))
}

/** The first `node` on the PATH that this workspace did not bring. */
export function systemNode(): string | undefined {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => existing(join(folder, 'node')))
    .find((path) => path !== undefined && !realpathSync(path).includes('node_modules'))
  return found
}

function existing(path: string): string | undefined {
  return existsSync(path) ? path : undefined
}

/**
 * Installs a Node under .cache, once; needs the npm registry the first time.
 * @param version such as `22.23.3`; npm must have `node-<platform>-<arch>` of it
 * @returns its path
 */
export async function fetchNode(version: string): Promise<string> {
  const name = `node-${process.platform}-${process.arch}`
  const folder = join(root, '.cache/node', version)
  const node = join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(node)) return node
  await mkdir(folder, { recursive: true })
  const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', folder]
  await run('npm', ['install', ...options, `${name}@${version}`], { cwd: folder, env: plainEnv() })
  return node
}
