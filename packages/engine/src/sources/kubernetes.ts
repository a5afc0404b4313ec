/**
 * Configuration in a ConfigMap or Secret of Kubernetes, listed and watched over the API. How the API is spoken is
 * `kubernetes/list-watch.ts`, where it is and who asks `kubernetes/access.ts`; trying again, comparing and joining is
 * `watching.ts`. Mounted volumes are files, and are left to `file()`.
 */
import { at, isArray, isObject, parsePointer, pointerText, type Json, type Path } from '../json.ts'
import { inRange } from '../range.ts'
import { SourceError, type Document, type SecretValue } from '../source.ts'
import { accessOf, type Connection } from './kubernetes/access.ts'
import { listAndWatch, type Held, type Wanted } from './kubernetes/list-watch.ts'
import { dataKeys, isDataKey, namedObject, type KubernetesObject } from './kubernetes/object.ts'
import { watching, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'

export type { Token } from '../credentials.ts'
export type KubernetesConnection = Connection
export type { KubernetesObject } from './kubernetes/object.ts'

export type KubernetesOptions = KubernetesPlace & KubernetesConnection & KubernetesWatch & WatchingOptions

/** The values of a Secret are never shown. */
export type KubernetesPlace = KubernetesObject & {
  /** The data key that holds the document, such as `app.yaml`. Without it the document is the map of all data keys. */
  readonly key?: string
}

export interface KubernetesWatch {
  /** How long the server holds a watch, milliseconds, 1,000 to 3,600,000, default 60,000. */
  readonly watchMs?: number
  /** How long an answer may take, and a watch beyond `watchMs`, milliseconds, default 10,000. */
  readonly timeoutMs?: number
  /** Where watches end all the time: how often they are made, milliseconds, 10 to 600,000, default 1,000. */
  readonly paceMs?: number
}

/**
 * Reads and follows one ConfigMap or Secret. Without `url` it asks the cluster in which it runs, as the pod's service
 * account.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function kubernetes(options: KubernetesOptions): WatchingSource {
  const { watchMs = 60_000, timeoutMs = 10_000, paceMs = 1_000, key } = options
  const object = namedObject('kubernetes()', options)
  if (key !== undefined && !isDataKey(key)) {
    throw new TypeError(`kubernetes(): key is ${JSON.stringify(key)}; want ${dataKeys}`)
  }
  inRange('kubernetes()', 'watchMs', watchMs, 1_000, 3_600_000)
  inRange('kubernetes()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  inRange('kubernetes()', 'paceMs', paceMs, 10, 600_000)
  const wanted: Wanted = { ...object, key, watchMs, timeoutMs, paceMs }
  const access = accessOf(options)
  // Data keys hold no slash: what is joined there is a flat map.
  const place: Place = key === undefined ? { prefix: '', separator: '/' } : { key }
  const label = `${object.kind === 'Secret' ? 'secret' : 'configmap'}/${object.name}`
  const open = (): WatchingSource => {
    const held: Held = { object: undefined, version: undefined }
    return watching(`kubernetes:${label}`, place, options, {
      follow: (signal) => listAndWatch(access, wanted, held, signal),
    })
  }
  return object.kind === 'Secret' ? covered(open, `kubernetes:${label}${key === undefined ? '' : `/${key}`}`) : open()
}

/** A source all of whose values are secret: marked in documents, and taken out of what is said of them. */
function covered(open: () => WatchingSource, reference: string): WatchingSource {
  const source = open()
  const marked = new WeakMap<Document, Document>()
  const beginning = '${' + reference + '#'
  const load = async (from: WatchingSource, signal: AbortSignal): Promise<Document> => {
    try {
      const document = await from.load(signal)
      const known = marked.get(document) ?? { ...document, secrets: secretsOf(document.config, beginning) }
      marked.set(document, known)
      return known
    } catch (error) {
      throw error instanceof SourceError ? withoutValues(error) : error
    }
  }
  let last: Document | undefined
  return {
    ...source,
    load: async (signal) => (last = await load(source, signal)),
    async resolve(text, signal) {
      if (!text.startsWith(beginning)) throw unresolved(`${text} is no reference of ${source.name}`)
      last ??= await once(open(), load, signal)
      const value = at(last.config, parsePointer(text.slice(beginning.length, -1)))
      if (value === undefined) throw unresolved(`${text} is not there any more`)
      return value
    },
  }
}

/** A look beside the source, which is not to think that an engine asked. */
async function once(
  source: WatchingSource,
  load: (source: WatchingSource, signal: AbortSignal) => Promise<Document>,
  signal: AbortSignal,
): Promise<Document> {
  try {
    return await load(source, signal)
  } finally {
    await source.close()
  }
}

function unresolved(message: string): SourceError {
  return new SourceError([{ code: 'reference', path: [], message }])
}

/** Each value by itself: a mark stays with its value where documents are merged. */
function secretsOf(config: Json, beginning: string): readonly SecretValue[] {
  const found: SecretValue[] = []
  const look = (value: Json, path: Path): void => {
    if (isArray(value)) value.forEach((entry, i) => look(entry, [...path, i]))
    else if (isObject(value)) for (const [key, entry] of Object.entries(value)) look(entry, [...path, key])
    else found.push({ path, reference: `${beginning}${pointerText(path)}}` })
  }
  look(config, [])
  return found
}

/** Parsers quote what they found; the redactor knows no values of a document that never came to be. */
function withoutValues(error: SourceError): SourceError {
  const ours = new Set(['unreadable', 'empty', 'limit'])
  const issues = error.issues.map(({ code, message, path, origin }) => ({
    code,
    path: ours.has(code) ? path : [],
    message: ours.has(code) ? message : `is refused (${code}); what was found is secret, and is not shown`,
    ...(origin && { origin }),
  }))
  return new SourceError(issues, { transient: error.transient })
}
