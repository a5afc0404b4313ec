/**
 * Configuration from files: one, several, a directory or a pattern, in YAML, JSON, JSONC, TOML or `.env`, with
 * layers, includes and references. What one load does is `file/load.ts`; how changes are seen is `file/watch.ts`.
 */
import { debounced } from '../debounce.ts'
import { parsePath } from '../json.ts'
import { inRange } from '../range.ts'
import { SourceError, type Document, type Source } from '../source.ts'
import { defaultLimits, type Format, type TextLimits } from '../text/parse.ts'
import type { ReloadRequest, Trigger } from '../trigger.ts'
import { isPattern } from './file/glob.ts'
import { load, resolveReference, type Loaded } from './file/load.ts'
import { Met } from './file/met.ts'
import type { Recipe } from './file/recipe.ts'
import { watchFiles } from './file/watch.ts'

export interface FileOptions {
  /** As status and events show it. Default: `file:` and the paths. */
  readonly name?: string
  /** Where relative paths count from. Default: the working directory at the call. */
  readonly cwd?: string
  /** The format of all files named in `paths`. Default: by the end of each name. */
  readonly format?: Format
  /**
   * Environments that go over a file where they are there: with `layers: ['prod', 'local']`, `gateway.yaml` is followed
   * by `gateway.prod.yaml` and `gateway.local.yaml`. A layer that is not there is fine, and is seen when it comes;
   * one that must be there is a file like any other and stands in `paths`. `undefined` and `''` are passed over, so
   * that `layers: [process.env.APP_ENV]` works. For files that are named one by one; not for directories and patterns.
   */
  readonly layers?: readonly (string | undefined)[]
  /**
   * The key at the root of a file whose value, a file name, a pattern or a list of them, says what else to read. Names
   * count from the directory of the file that holds them and must not lead out of the directory of the file in `paths`,
   * neither by `..` nor by a link. What includes goes over what is included; later over earlier. The key is not part of
   * the configuration. Default `include`; `false`: no key has this meaning.
   */
  readonly includeKey?: string | false
  /** `.env` files whose variables references may use. They must be there; the process's own variables go first. */
  readonly env?: string | readonly string[]
  /** What `${VAR}` stands for. Default `process.env`, as it is at each load. `false`: a `$` means nothing. */
  readonly variables?: Readonly<Record<string, string | undefined>> | false
  /**
   * Where the configuration names files that belong to it, `*` for one step: `['rule_files.*', 'tls.ca_file']`. They
   * count from the file that names them, may be patterns, and are watched: a change of their content is a change of
   * the value that names them.
   */
  readonly named?: readonly string[]
  /** How much a file may ask for: size (default 128 MiB), depth, aliases. */
  readonly limits?: Partial<TextLimits>
  /** How long a file must have been left alone before it is read, milliseconds, 0 to 1,000. Default 3. */
  readonly settleMs?: number
  /** How often all is compared although no event came, milliseconds, 10 to 86,400,000. Default 1,000. */
  readonly pollMs?: number
  /** Waits until nothing has changed for this long, milliseconds, at most for ten times as long. Default 0: does not. */
  readonly debounceMs?: number
}

/** File systems stamp a write with the start of the tick it falls in, so a file seems this much older (milliseconds). */
const tickMs = 4
const defaultMaxBytes = 128 * 1024 * 1024

/**
 * Reads files as one configuration and asks for a reload when they change.
 *
 * `paths` are files, directories (all files in it whose names tell a format; not in subdirectories) and patterns (`*`,
 * `?`, `**`, `{a,b}`); names that start with a dot are met only when they are named. Files of a directory or pattern go
 * over each other in the order of their names, and later `paths` over earlier: objects are merged key by key,
 * everything else (lists too) is replaced, also by `null`. A `.env` file among `paths` is a flat object of strings.
 *
 * References in string values: `${VAR}`, `${VAR:-default}` (also where VAR is empty), `$$` for a dollar, and
 * `${file:/run/secrets/x}`: the content without its line end, at most 64 KiB, secret, and always text; relative paths
 * count from `cwd`. `file/template.ts` says what stays as it is. In YAML, a value that is one variable and not quoted
 * is read by YAML's rules: `port: ${PORT}` is a number.
 *
 * A file that is missing, empty, half written or not a regular file is refused, and what is live stays live.
 * @throws TypeError, RangeError, SyntaxError at the call, if an option cannot be meant
 */
export function file(paths: string | readonly string[], options: FileOptions = {}): Source & Trigger {
  const given = typeof paths === 'string' ? [paths] : [...paths]
  const settings = checked(given, options)
  const name = options.name ?? `file:${given.join(',')}`
  const { settleMs, pollMs, debounceMs } = options
  const watchOptions = { ...(settleMs === undefined ? {} : { settleMs }), ...(pollMs === undefined ? {} : { pollMs }) }

  const recipe = (): Recipe => ({ ...settings, variables: options.variables ?? { ...process.env } })

  let loaded: Loaded | undefined
  let seen = new Met()
  // The watcher compares with what was loaded last. A load that the watcher did not ask for (a dry run, say) and that
  // found something new would hide that from it, so such a load makes the trigger ask.
  let asked = false
  let onFound: () => void = () => {}

  async function loadNow(signal: AbortSignal): Promise<Document> {
    const wasAsked = asked
    const before = seen
    const met = new Met()
    try {
      loaded = await load(recipe(), loaded, met, signal)
      if (wasAsked) asked = false
    } catch (error) {
      // After a transient one the same request is tried again.
      if (wasAsked && !(error instanceof SourceError && error.transient)) asked = false
      throw error
    } finally {
      seen = met
      if (!wasAsked && met.differsFrom(before)) onFound()
    }
    return loaded.document
  }

  async function* requests(signal: AbortSignal, onWarning?: (message: string) => void): AsyncGenerator<ReloadRequest> {
    const over = new AbortController()
    const watchSignal = AbortSignal.any([signal, over.signal])
    const watched = watchFiles(() => seen, { ...watchOptions, ...(onWarning ? { onWarning } : {}) }, watchSignal)[
      Symbol.asyncIterator
    ]()
    let next = watched.next()
    let found = new Promise<void>((resolve) => (onFound = resolve))
    try {
      for (;;) {
        const which = await Promise.race([next, found])
        if (which?.done || signal.aborted) return
        if (which) next = watched.next()
        else found = new Promise<void>((resolve) => (onFound = resolve))
        asked = true
        yield { trigger: 'file' }
      }
    } finally {
      onFound = () => {}
      over.abort()
      await next
    }
  }

  const trigger: Trigger = { name, requests }
  const quiet = debounceMs ? debounced(trigger, { quietMs: debounceMs, maxMs: debounceMs * 10 }) : trigger
  return {
    name,
    load: loadNow,
    resolve: (reference, signal) => resolveReference(recipe(), reference, signal),
    requests: (signal, onWarning) => quiet.requests(signal, onWarning),
  }
}

function checked(paths: readonly string[], options: FileOptions): Omit<Recipe, 'variables'> {
  if (paths.length === 0 || paths.includes('')) throw new TypeError('file(): want at least one path, and none empty')
  const layers = (options.layers ?? []).filter((layer): layer is string => layer !== undefined && layer !== '')
  for (const layer of layers) {
    if (!/^[\w-]+(\.[\w-]+)*$/.test(layer)) {
      throw new TypeError(`file(): layer ${JSON.stringify(layer)}; want letters, digits, "_", "-" and single dots`)
    }
  }
  if (layers.length > 0 && paths.some(isPattern)) {
    throw new TypeError('file(): layers need files that are named one by one, not a pattern')
  }
  inRange('file()', 'settleMs', options.settleMs ?? 0, 0, 1000)
  inRange('file()', 'pollMs', options.pollMs ?? 1000, 10, 86_400_000)
  inRange('file()', 'debounceMs', options.debounceMs ?? 0, 0, 3_600_000)
  const maxBytes = options.limits?.maxBytes ?? defaultMaxBytes
  inRange('file()', 'limits.maxBytes', maxBytes, 1, 2 ** 31)
  const settleMs = options.settleMs ?? 3
  return {
    cwd: options.cwd ?? process.cwd(),
    paths,
    layers,
    format: options.format,
    includeKey: options.includeKey ?? 'include',
    envFiles: typeof options.env === 'string' ? [options.env] : (options.env ?? []),
    named: (options.named ?? []).map(parsePath),
    maxBytes,
    settleMs: settleMs === 0 ? 0 : settleMs + tickMs,
    limits: { ...defaultLimits, ...options.limits, maxBytes },
  }
}
