/**
 * Reads who imports whom in the workspace's sources, for `layers.test.ts`. It knows how imports are written here
 * (one statement per line start, single quotes, `.ts` extensions; the formatter sees to that) and no more of the language.
 * Which imports are allowed is not its business.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, posix, relative, sep } from 'node:path'

export interface Import {
  /** Path from the workspace's root: `packages/engine/src/reload.ts`. */
  readonly from: string
  /** A path likewise where the target is a file of the workspace, else as written: `node:fs`, `js-yaml`. */
  readonly to: string
  /** As written. */
  readonly specifier: string
  readonly kind: 'value' | 'type' | 'dynamic'
  /** `export … from`. */
  readonly reexport: boolean
}

export interface SourceFile {
  readonly path: string
  readonly text: string
}

export interface Package {
  readonly name: string
  /** `packages/engine`. */
  readonly folder: string
  /** Export subpath to source file, each with at most one `*`: `./sources/*` → `packages/engine/src/sources/*.ts`. */
  readonly entries: ReadonlyMap<string, string>
  readonly dependencies: readonly string[]
  readonly optionalPeers: readonly string[]
}

const statement = /^(import|export)\s+(type\s)?(?:[^'"`;()=]*?\sfrom\s+)?'([^']+)'/gm
const call = /\bimport\(\s*'([^']+)'/g
const commentLine = /^\s*(\/\/|\/?\*).*$/gm

export function importsOf(file: SourceFile, packages: readonly Package[]): Import[] {
  const text = file.text.replace(commentLine, '')
  const found: Import[] = []
  for (const [, word, type, specifier = ''] of text.matchAll(statement)) {
    found.push({ ...at(specifier), kind: type ? 'type' : 'value', reexport: word === 'export' })
  }
  for (const [, specifier = ''] of text.matchAll(call))
    found.push({ ...at(specifier), kind: 'dynamic', reexport: false })
  return found

  function at(specifier: string) {
    return { from: file.path, to: target(file.path, specifier, packages), specifier }
  }
}

function target(from: string, specifier: string, packages: readonly Package[]): string {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(from), specifier)
  const owner = packages.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`))
  if (!owner) return specifier
  const subpath = `.${specifier.slice(owner.name.length)}`
  for (const [pattern, file] of owner.entries) {
    const [head = '', tail] = pattern.split('*')
    if (tail === undefined ? pattern === subpath : subpath.startsWith(head) && subpath.endsWith(tail)) {
      return file.replace('*', subpath.slice(head.length, subpath.length - (tail?.length ?? 0)))
    }
  }
  return specifier
}

/** The name of the npm package that a specifier belongs to: `@grpc/grpc-js/build/x` → `@grpc/grpc-js`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

export function readPackages(root: string): Package[] {
  return ['packages', 'examples'].flatMap((group) =>
    readdirSync(join(root, group), { withFileTypes: true })
      // An example may be files only.
      .filter((entry) => entry.isDirectory() && existsSync(join(root, group, entry.name, 'package.json')))
      .map((entry) => readPackage(root, `${group}/${entry.name}`)),
  )
}

interface Manifest {
  readonly name: string
  /** `null` takes a subpath away that a pattern would offer. */
  readonly exports?: Readonly<Record<string, string | { readonly 'midflight-source'?: string } | null>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

function readPackage(root: string, folder: string): Package {
  const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest
  const entries = new Map<string, string>()
  for (const [subpath, target] of Object.entries(manifest.exports ?? {})) {
    const source = typeof target === 'object' ? target?.['midflight-source'] : undefined
    if (source) entries.set(subpath, posix.join(folder, source))
  }
  const optionalPeers = Object.keys(manifest.peerDependencies ?? {})
  return { name: manifest.name, folder, entries, dependencies: Object.keys(manifest.dependencies ?? {}), optionalPeers }
}

export function readSources(root: string, packages: readonly Package[]): SourceFile[] {
  return packages
    .flatMap(({ folder }) => filesUnder(join(root, folder, 'src')))
    .map((path) => ({
      path: relative(root, path).split(sep).join('/'),
      text: readFileSync(path, 'utf8'),
    }))
}

function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
}

/** Every group of files that import each other in a circle, as the path that closes it. Each circle is told once. */
export function cycles(imports: readonly Import[]): string[][] {
  const next = new Map<string, string[]>()
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to])
  const found: string[][] = []
  const done = new Set<string>()
  const path: string[] = []

  function visit(file: string): void {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file])
    if (done.has(file)) return
    done.add(file)
    path.push(file)
    for (const to of next.get(file) ?? []) visit(to)
    path.pop()
  }

  for (const file of next.keys()) visit(file)
  return found
}
