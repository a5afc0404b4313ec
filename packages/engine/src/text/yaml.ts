/**
 * YAML 1.2, core schema, by js-yaml's event reader. `yaml-tree.ts` makes the tree, `yaml-locate.ts` finds places.
 *
 * What is taken and what is not: timestamps are strings as written; `no`, `on` and `12:30` are strings, `012` is the
 * number twelve; the key of a mapping is a string, or a number or boolean as it is written; merge keys (`<<`) work;
 * tags other than the core ones, further documents, cycles and numbers that JSON cannot hold are refused.
 */
import { EVENT_ID, parseEvents, YAMLException } from 'js-yaml'
import type { Event } from 'js-yaml'
import type { IssueCode, Origin } from '../issue.ts'
import type { Json, Path } from '../json.ts'
import type { SourceError } from '../source.ts'
import type { TextLimits } from './limits.ts'
import type { ParsedText } from './parsed.ts'
import { refuseNul, type SourceText } from './source-text.ts'
import { placeAt, placesFrom, type Place } from './yaml-locate.ts'
import { positionOf, treeFrom, TreeError } from './yaml-tree.ts'

export function parseYaml(source: SourceText, limits: TextLimits): ParsedText {
  refuseNul(source)
  const text = source.text()
  const config = readTree(source, text, limits)
  return new YamlText(source, config, limits.maxDepth)
}

class YamlText implements ParsedText {
  readonly config: Json
  readonly #source: SourceText
  readonly #maxDepth: number
  #places: Place | undefined
  #kept: string | undefined

  constructor(source: SourceText, config: Json, maxDepth: number) {
    this.config = config
    this.#source = source
    this.#maxDepth = maxDepth
  }

  get mayHaveReferences(): boolean {
    return this.#source.bytes.includes(36) || /\\(?:x24|u0024|U00000024)/.test(this.#source.text())
  }

  origin(path: Path): Origin | undefined {
    const place = this.#place(path)
    if (place === undefined || place.position < 0) return undefined
    return this.#source.origin(this.#source.offsetAt(this.#text(), place.position))
  }

  isPlain(path: Path): boolean {
    return this.#place(path)?.isPlain ?? false
  }

  /** Kept once somebody asks, since who asks for one place asks for several. */
  #text(): string {
    return (this.#kept ??= this.#source.text())
  }

  #place(path: Path): Place | undefined {
    if (this.#places === undefined) {
      const text = this.#text()
      this.#places = placesFrom(text, parseEvents(text, { maxDepth: eventDepth(this.#maxDepth) }))
    }
    return placeAt(this.#places, path)
  }
}

/** js-yaml counts the scalar inside of the innermost collection as one level more. */
function eventDepth(maxDepth: number): number {
  return maxDepth + 1
}

function readTree(source: SourceText, text: string, limits: TextLimits): Json {
  try {
    const events = parseEvents(text, { maxDepth: eventDepth(limits.maxDepth) })
    if (isEmpty(events)) throw source.emptiness()
    const config = treeFrom(text, events, limits)
    refuseFurther(source, text, events)
    return config
  } catch (error) {
    if (error instanceof YAMLException) throw syntaxError(source, text, error, limits.maxDepth)
    if (error instanceof TreeError) throw treeError(source, text, error)
    throw error
  }
}

function isEmpty(events: readonly Event[]): boolean {
  if (events.length === 0) return true
  const [, node, , further] = events
  return further === undefined && node?.type === EVENT_ID.SCALAR && positionOf(node) < 0
}

/** One text is one configuration: which of several documents was meant cannot be known. */
function refuseFurther(source: SourceText, text: string, events: readonly Event[]): void {
  const second = events.findIndex((event, k) => k > 0 && event.type === EVENT_ID.DOCUMENT)
  if (second < 0) return
  const separator = /^(?:---|\.\.\.)(?=\s|$)/gm
  const [document] = events
  const begins = document?.type === EVENT_ID.DOCUMENT && document.explicitStart
  let end = begins ? (separator.exec(text)?.index ?? 0) + 3 : 0
  for (const event of events.slice(0, second)) end = Math.max(end, endOf(event))
  separator.lastIndex = end
  const at = separator.exec(text)?.index ?? end
  throw source.refusal('syntax', source.offsetAt(text, at), 'begins a second document; want one document')
}

function endOf(event: Event): number {
  if (event.type === EVENT_ID.SCALAR) return Math.max(event.valueEnd, event.tagEnd, event.anchorEnd)
  if (event.type === EVENT_ID.ALIAS) return event.anchorEnd
  return event.type === EVENT_ID.SEQUENCE || event.type === EVENT_ID.MAPPING ? event.start : 0
}

function syntaxError(source: SourceText, text: string, error: YAMLException, maxDepth: number): SourceError {
  const offset = source.offsetAt(text, Math.min(error.mark?.position ?? 0, text.length))
  if (error.reason.startsWith('nesting exceeded')) {
    return source.refusal('limit', offset, `is nested more than ${maxDepth} deep; want at most ${maxDepth}`)
  }
  const code: IssueCode = error.reason.includes('non-printable') ? 'encoding' : 'syntax'
  const hint = indentsByTab(text, error.mark?.position ?? 0) ? 'indent with spaces, not with tabs' : undefined
  return source.refusal(code, offset, `is not YAML: ${error.reason}`, { ...(hint && { also: { hint } }) })
}

function indentsByTab(text: string, position: number): boolean {
  return /^ *\t/.test(text.slice(text.lastIndexOf('\n', position - 1) + 1))
}

function treeError(source: SourceText, text: string, error: TreeError): SourceError {
  const related = error.first === undefined ? undefined : [source.origin(source.offsetAt(text, error.first))]
  const offset = source.offsetAt(text, Math.max(0, error.position))
  return source.refusal(error.code, offset, error.message, { path: error.path, ...(related && { also: { related } }) })
}
