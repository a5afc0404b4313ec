/**
 * THE path of one load: which files → variables → read and parse each, includes first → replace references → merge →
 * look once more that nothing moved meanwhile. What is remembered from the load before only saves work.
 */
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Issue, Origin } from '../../issue.ts'
import { isObject, type Json, type Path } from '../../json.ts'
import { SourceError, type Document, type SecretValue } from '../../source.ts'
import { formatOf, plainScalar } from '../../text/parse.ts'
import { filesIn, filesMatching, isPattern, kindOf, type Named } from './glob.ts'
import { gather, type Piece } from './include.ts'
import { interpolate, type Interpolated } from './interpolate.ts'
import { contributor, mergeAll, type Merged } from './merge.ts'
import { Met } from './met.ts'
import { namedFiles } from './named.ts'
import { Reader, type Parsed } from './reader.ts'
import type { Recipe } from './recipe.ts'
import { refuse } from './refuse.ts'
import { fill, parseTemplate, pending, UnresolvedReference } from './template.ts'
import { readSecrets, scopeOf, type ScopeOptions, type Secrets, type Variables } from './variables.ts'

/** What a load leaves for the next one. */
export interface Loaded {
  readonly document: Document
  readonly tops: readonly Named[]
  readonly parsed: ReadonlyMap<string, Parsed>
  readonly interpolated: ReadonlyMap<string, Interpolated>
  readonly merged: Merged
  readonly secretFiles: readonly string[]
}

/** How long a file that was part of the configuration must stay away before that is believed. Editors delete and create. */
const goneMs = 100
const maxTries = 5

/**
 * @param met takes what is come by, also when the load fails
 * @throws SourceError; the signal's reason when it aborts
 */
export async function load(
  recipe: Recipe,
  previous: Loaded | undefined,
  met: Met,
  signal: AbortSignal,
): Promise<Loaded> {
  for (let tries = 0; tries < maxTries; tries++) {
    met.clear()
    // Files that belong together are replaced together, as in a ConfigMap: half of each would be neither. That one of
    // them cannot be read may come of it too.
    let loaded: Loaded | undefined
    let failure: SourceError | undefined
    try {
      loaded = await loadOnce(recipe, previous, met, signal)
    } catch (error) {
      if (!(error instanceof SourceError) || !error.transient) throw error
      failure = error
    }
    if (await met.stillHolds()) {
      if (loaded) return loaded
      throw failure
    }
    await sleep(recipe.settleMs, undefined, { signal })
  }
  throw refuse('unreadable', { file: recipe.paths.join(', ') }, 'keeps changing while it is read', { transient: true })
}

async function loadOnce(recipe: Recipe, previous: Loaded | undefined, met: Met, signal: AbortSignal): Promise<Loaded> {
  const reader = new Reader(recipe, previous?.parsed, met, signal)
  const tops = await topFiles(recipe, previous?.tops ?? [], met, signal)
  const secrets: Secrets = new Map()
  const wanted = new Set(previous?.secretFiles)
  const { cwd, variables } = recipe
  const shared = { cwd, process: variables || {}, files: await variableFiles(recipe, reader), secrets, wanted }
  const scopeFor = ({ format, text }: Parsed): ScopeOptions =>
    format === 'env' && isObject(text.config) ? { ...shared, own: text.config } : shared
  const pieces: Piece[] = []
  for (const top of tops) await gather(top, { recipe, reader, met, scopeFor }, pieces)

  const interpolated = new Map<string, Interpolated>()
  for (;;) {
    await readSecrets(wanted, secrets, met, recipe.settleMs, signal)
    wanted.clear()
    replaceReferences(recipe, pieces, scopeFor, previous, interpolated)
    if (wanted.size === 0) break
  }

  const configs = pieces.map((piece) => interpolated.get(piece.path)?.config ?? piece.config)
  const merged = mergeAll(configs, previous?.merged)
  const { config } = merged
  const origin = (path: Path): Origin | undefined => {
    const index = contributor(configs, path)
    return index === undefined ? undefined : pieces[index]?.text.origin(path)
  }
  const found: SecretValue[] = pieces.flatMap((piece, i) =>
    (interpolated.get(piece.path)?.secrets ?? []).filter(({ path }) => contributor(configs, path) === i),
  )
  const named = await namedFiles(recipe, config, (path) => pieces[contributor(configs, path) ?? 0]?.path, met, signal)
  return {
    document: { config, origin, secrets: found, ...(recipe.named.length > 0 ? { named } : {}) },
    tops,
    parsed: reader.met,
    interpolated,
    merged,
    secretFiles: [...secrets.keys()],
  }
}

async function variableFiles(recipe: Recipe, reader: Reader): Promise<readonly Variables[]> {
  const files: Variables[] = []
  for (const file of recipe.envFiles) {
    const { config } = (await reader.parsed({ path: resolve(recipe.cwd, file), file }, 'env')).text
    files.push(isObject(config) ? config : {})
  }
  return files
}

/** What a string with references stands for now. @throws SourceError */
export async function resolveReference(recipe: Recipe, reference: string, signal: AbortSignal): Promise<string> {
  const met = new Met()
  const files = await variableFiles(recipe, new Reader(recipe, undefined, met, signal))
  const secrets: Secrets = new Map()
  const wanted = new Set<string>()
  const scope = scopeOf({ cwd: recipe.cwd, process: recipe.variables || {}, files, secrets, wanted })
  for (;;) {
    await readSecrets(wanted, secrets, met, recipe.settleMs, signal)
    try {
      return fill(parseTemplate(reference), scope).text
    } catch (error) {
      if (error instanceof UnresolvedReference) {
        throw refuse('reference', { file: recipe.paths.join(', ') }, error.message, { transient: error.transient })
      }
      if (error !== pending) throw error
    }
  }
}

/** The files that the source's own names stand for, each followed by its layers. */
async function topFiles(
  recipe: Recipe,
  before: readonly Named[],
  met: Met,
  signal: AbortSignal,
): Promise<readonly Named[]> {
  let tops = await topFilesNow(recipe, met)
  const there = new Set(tops.map(({ path }) => path))
  const gone = before.some(({ path }) => !there.has(path))
  if (gone) {
    await sleep(goneMs, undefined, { signal })
    tops = await topFilesNow(recipe, met)
  }
  if (tops.length === 0) {
    throw refuse('empty', { file: recipe.paths.join(', ') }, 'stands for no file at all; want at least one', {
      transient: gone,
    })
  }
  return tops
}

async function topFilesNow(recipe: Recipe, met: Met): Promise<readonly Named[]> {
  const tops: Named[] = []
  for (const file of recipe.paths) {
    const path = resolve(recipe.cwd, file)
    if (isPattern(file)) {
      tops.push(...(await filesMatching(file, recipe.cwd, met.listed)))
    } else if ((await kindOf(path)) === 'directory') {
      if (recipe.layers.length > 0) {
        throw refuse('unreadable', { file }, 'is a directory; layers need files that are named one by one')
      }
      const known = (name: string): boolean => formatOf(name) !== undefined
      tops.push(...(await filesIn({ path, file }, known, met.listed)))
    } else {
      tops.push({ path, file })
      for (const layer of recipe.layers) {
        const over = { path: layerName(path, layer), file: layerName(file, layer) }
        if ((await kindOf(over.path)) === 'absent') met.missed(over.path)
        else tops.push(over)
      }
    }
  }
  return tops
}

/** `dir/gateway.yaml`, `prod` → `dir/gateway.prod.yaml`; `.env` → `.env.prod`. */
function layerName(path: string, layer: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1)
  const dot = name.lastIndexOf('.')
  const layered = dot > 0 ? `${name.slice(0, dot)}.${layer}${name.slice(dot)}` : `${name}.${layer}`
  return join(dirname(path), layered)
}

function replaceReferences(
  recipe: Recipe,
  pieces: readonly Piece[],
  scopeFor: (piece: Parsed) => ScopeOptions,
  previous: Loaded | undefined,
  done: Map<string, Interpolated>,
): void {
  if (recipe.variables === false) return
  const issues: Issue[] = []
  let transient = true
  for (const piece of pieces) {
    if (!piece.text.mayHaveReferences) continue
    const work = {
      scope: scopeOf(scopeFor(piece)),
      scalar: (path: Path, text: string): Json => (piece.text.isPlain(path) ? yamlScalar(text) : text),
      refuse(path: Path, error: UnresolvedReference): void {
        const origin = piece.text.origin(path) ?? { file: piece.file }
        issues.push({ code: 'reference', path, message: error.message, origin })
        transient &&= error.transient
      },
    }
    const result = interpolate(piece.config, work, previous?.interpolated.get(piece.path))
    if (result) done.set(piece.path, result)
  }
  if (issues.length > 0) throw new SourceError(issues, { transient })
}

function yamlScalar(text: string): Json {
  try {
    return plainScalar(text)
  } catch (error) {
    if (error instanceof RangeError) throw new UnresolvedReference(`stands for something that ${error.message}`)
    throw error
  }
}
