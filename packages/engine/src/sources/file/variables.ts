/**
 * What the references of one file stand for: the process's variables, those of `.env` files, and secret files. The
 * process goes before the files, as users of dotenv and docker compose expect; later files before earlier ones.
 */
import { resolve } from 'node:path'
import { SourceError } from '../../source.ts'
import { contentOf, type Met } from './met.ts'
import { readWhole } from './read.ts'
import { fill, parseTemplate, pending, UnresolvedReference, type Scope } from './template.ts'

/** The variables of one `.env` file, references not yet replaced. */
export type Variables = Readonly<Record<string, unknown>>

/** The secret files by absolute path: their text, or why there is none. */
export type Secrets = Map<string, string | UnresolvedReference>

export interface ScopeOptions {
  /** Where relative secret files count from. */
  readonly cwd: string
  /** The variables of the file itself, where it is a `.env` file: they go first. */
  readonly own?: Variables
  readonly process: Readonly<Record<string, string | undefined>>
  /** Earlier to later. */
  readonly files: readonly Variables[]
  readonly secrets: Secrets
  /** Takes the secret files that must be read. */
  readonly wanted: Set<string>
}

export function scopeOf(options: ScopeOptions): Scope {
  return scopeWithin(options, [])
}

/** `chain`: the variables that are being worked out, so that one that needs itself is found. */
function scopeWithin(options: ScopeOptions, chain: readonly string[]): Scope {
  const files = options.own ? [options.own, ...options.files.toReversed()] : options.files.toReversed()
  return {
    variable(name) {
      if (chain.includes(name)) {
        throw new UnresolvedReference(`refers to itself: ${[...chain.slice(chain.indexOf(name)), name].join(' → ')}`)
      }
      if (!options.own || !Object.hasOwn(options.own, name)) {
        const text = options.process[name]
        if (text !== undefined) return { text, secret: false }
      }
      const file = files.find((each) => Object.hasOwn(each, name))
      if (!file) return undefined
      return fill(parseTemplate(String(file[name])), scopeWithin(options, [...chain, name]))
    },
    secret(path) {
      const absolute = resolve(options.cwd, path)
      const text = options.secrets.get(absolute)
      if (text === undefined) {
        options.wanted.add(absolute)
        throw pending
      }
      if (text instanceof UnresolvedReference) throw text
      return { text, secret: true }
    },
  }
}

const maxSecretBytes = 64 * 1024

/** Reads the secret files in `wanted` into `secrets`; why one cannot be read is kept there, for whoever refers to it. */
export async function readSecrets(
  wanted: Iterable<string>,
  secrets: Secrets,
  met: Met,
  settleMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (const path of wanted) {
    if (secrets.has(path)) continue
    try {
      const { bytes, identity, ageMs } = await readWhole(path, path, { maxBytes: maxSecretBytes, settleMs }, signal)
      met.read(path, contentOf(bytes), identity)
      secrets.set(path, secretText(bytes, path, ageMs))
    } catch (error) {
      met.failed(path, error)
      if (!(error instanceof SourceError)) throw error
      const { message } = error.issues[0] ?? error
      secrets.set(path, new UnresolvedReference(`refers to ${path}, which ${message}`, error.transient))
    }
  }
}

/** Without the one line end that editors and `echo` add. */
function secretText(bytes: Uint8Array, path: string, ageMs: number): string | UnresolvedReference {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return new UnresolvedReference(`refers to ${path}, which is not UTF-8 text`)
  }
  const trimmed = text.replace(/\r?\n$/, '')
  // An empty secret is one that is just being written, or was never filled in.
  return trimmed === '' ? new UnresolvedReference(`refers to ${path}, which is empty`, Math.abs(ageMs) < 1000) : trimmed
}
