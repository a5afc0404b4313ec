/**
 * A configuration looked at without an engine: loaded, checked and validated once. For commands and for build steps.
 */
import { defaultDeadlines } from './deadline.ts'
import { changes, diff } from './diff.ts'
import { digest } from './digest.ts'
import type { Issue } from './issue.ts'
import { at, isArray, isObject, parsePath, pathText, type Json, type Path } from './json.ts'
import { keyIssues } from './keyed.ts'
import type { Merged } from './merge.ts'
import type { ShownChange } from './outcome.ts'
import { placedIssue } from './placed-issue.ts'
import { unreadRestarts } from './plan.ts'
import { stage, type Core } from './reload.ts'
import { compile, jsonSchema, type AnySchema } from './schema.ts'
import { redactorFor } from './secrets.ts'
import { shownChanges } from './shown.ts'
import { defaultLimits, share, type Keys } from './snapshot.ts'
import type { Source } from './source.ts'

export interface ExamineOptions {
  /** Without one, anything that parses is valid. */
  readonly schema?: AnySchema
  readonly sources: readonly Source[]
  readonly secrets?: readonly string[]
  readonly unknownKeys?: 'refuse' | 'allow'
  /** Arrays whose entries are known by a field, besides those that the schema marks: `{ rules: 'id' }`. */
  readonly keys?: Keys
}

export type Examined =
  | {
      readonly kind: 'rejected'
      readonly issues: readonly Issue[]
      /** Path patterns of what is secret, for who shows the text of the files: given, and marked in the schema. */
      readonly secretPaths: readonly string[]
      /** Which lists are known by a field: given, and marked in the schema. */
      readonly keys: Keys
    }
  | {
      readonly kind: 'valid'
      /** Secrets and all. */
      readonly config: Json
      /** As it may be shown. */
      readonly shown: Json
      readonly digest: string
      /** What would change if `next` came after this, and which paths the schema marks as restart-only. */
      compare(next: Examined & { kind: 'valid' }): Comparison
    }

export interface Comparison {
  readonly changes: readonly ShownChange[]
  readonly restartPaths: readonly string[]
}

interface Inner {
  readonly merged: Merged
}

const inner = new WeakMap<object, Inner>()

/** @throws SchemaError if the schema itself is wrong. */
export async function examine(options: ExamineOptions): Promise<Examined> {
  const validator = await compile(options.schema ?? jsonSchema<Json>(true), {
    unknownKeys: options.unknownKeys ?? 'refuse',
  })
  const keys = { ...validator.keys, ...options.keys }
  const secretPatterns = [...validator.secretPaths, ...(options.secrets ?? [])]
  const core: Core = {
    sources: options.sources,
    validator,
    components: [],
    states: new Map(),
    keys,
    secretPatterns,
    limits: defaultLimits,
    deadlines: defaultDeadlines,
    retries: { limit: 0, firstMs: 1, maxMs: 1 },
    restartPolicy: 'refuse',
    lastGood: undefined,
    closing: new AbortController().signal,
    record: () => {},
    swap: () => {},
    live: undefined,
    attempted: undefined,
    pendingRestart: [],
  }
  const run = {
    number: 1,
    triggers: ['examine'],
    force: false,
    superseded: core.closing,
    startedAt: new Date(),
    began: performance.now(),
    durationsMs: {},
    retries: 0,
  }
  const staged = await stage(core, run)
  if ('ended' in staged) {
    if (staged.ended.kind !== 'rejected') throw new Error(`examine ended as ${staged.ended.kind}`)
    return { kind: 'rejected', issues: staged.ended.issues, secretPaths: secretPatterns, keys }
  }
  const { config, merged } = staged.live
  // Nothing here stands for the components, which would refuse what cannot be told apart.
  const unclear = Object.entries(keys).flatMap(([pattern, key]) =>
    listsAt(config, parsePath(pattern)).flatMap(([path, list]) => keyIssues(list, key, path)),
  )
  if (unclear.length > 0) {
    const redact = redactorFor(core, merged)
    const issues = unclear.map((issue) => redact.issue(placedIssue(issue, merged, keys)))
    return { kind: 'rejected', issues, secretPaths: secretPatterns, keys }
  }
  const examined: Examined & { kind: 'valid' } = {
    kind: 'valid',
    config,
    shown: redactorFor(core, merged).value([], config),
    digest: digest(config),
    compare(next) {
      const after = share(structuredClone(next.config) as Json, config, keys)
      const all = changes(diff(config, after, keys))
      const redact = redactorFor(core, merged, inner.get(next)?.merged)
      return {
        changes: shownChanges(all, redact, 'whole'),
        restartPaths: unreadRestarts(all, config, after, validator.restartPaths).map(pathText),
      }
    },
  }
  inner.set(examined, { merged })
  return examined
}

/** The lists that a path with `*` for one step names, each with its own path. */
function listsAt(value: Json | undefined, pattern: Path, path: Path = []): [Path, readonly Json[]][] {
  const [step, ...rest] = pattern
  if (step === undefined) return isArray(value) ? [[path, value]] : []
  if (step === '*' && isArray(value)) return value.flatMap((entry, i) => listsAt(entry, rest, [...path, i]))
  if (step === '*' && isObject(value)) {
    return Object.entries(value).flatMap(([name, below]) => listsAt(below, rest, [...path, name]))
  }
  return value === undefined ? [] : listsAt(at(value, [step]), rest, [...path, step])
}
