/**
 * References in a release (`${file:db-password}`, `${ZONE}`), resolved on the node and within what the node's own
 * options allow: nothing that a control plane sends may read a file or a variable of its choice. A release holds the
 * reference; the secret itself is never on the wire, nor on disk beside the release.
 */
import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { isAbsolute, join, relative, sep } from 'node:path'
import { errorText } from '../deadline.ts'
import type { Issue } from '../issue.ts'
import { SourceError, type Document } from '../source.ts'
import { interpolate, type Interpolated } from '../sources/file/interpolate.ts'
import { fill, parseTemplate, pending, UnresolvedReference, type Scope } from '../sources/file/template.ts'
import type { Held } from './node-state.ts'

export interface ReferenceOptions {
  /** The directory whose files `${file:name}` may name, such as `/run/secrets`. Links that lead out of it are refused. */
  readonly secretsDir?: string
  /** The environment variables that `${NAME}` may name. */
  readonly variables?: readonly string[]
}

export interface References {
  /** @throws SourceError naming each reference that cannot be resolved. */
  document(held: Held, signal: AbortSignal): Promise<Document>
  /** The text that stands for a reference, for a start from the engine's last good. */
  resolve(reference: string, signal: AbortSignal): Promise<string>
}

type Secrets = Map<string, string | UnresolvedReference>

const maxSecretBytes = 64 * 1024

export function referencesOf(options: ReferenceOptions): References {
  let previous: { readonly interpolated: Interpolated; readonly document: Document } | undefined
  return {
    async document(held, signal) {
      const name = `${held.release.config} release ${held.release.number}`
      const origin = { file: name }
      const issues: Issue[] = []
      const interpolated = await settled(options, signal, (scope) => {
        issues.length = 0
        return interpolate(
          held.content,
          {
            scope,
            // As it is: a release is JSON, whose types are not guessed.
            scalar: (_, text) => text,
            refuse: (path, error) => void issues.push({ code: 'reference', path, message: error.message, origin }),
          },
          previous?.interpolated,
        )
      })
      if (issues.length > 0) throw new SourceError(issues)
      // The same values under another number are the same document, but for where they come from.
      if (previous?.interpolated !== interpolated) {
        const { config, secrets } = interpolated
        previous = { interpolated, document: { config, secrets, origin: () => origin } }
      }
      return previous.document
    },
    async resolve(reference, signal) {
      try {
        const parts = parseTemplate(reference)
        return await settled(options, signal, (scope) => {
          try {
            return fill(parts, scope).text
          } catch (error) {
            if (error === pending) return undefined
            throw error
          }
        })
      } catch (error) {
        if (!(error instanceof UnresolvedReference)) throw error
        throw new SourceError([{ code: 'reference', path: [], message: error.message }], { cause: error })
      }
    },
  }
}

/** Tries, reads the secret files that were missing, and tries again: a path may hold references, too. */
async function settled<T>(
  options: ReferenceOptions,
  signal: AbortSignal,
  attempt: (scope: Scope) => T | undefined,
): Promise<T> {
  const secrets: Secrets = new Map()
  for (;;) {
    const wanted = new Set<string>()
    const result = attempt(scopeOf(options, secrets, wanted))
    if (result !== undefined) return result
    for (const path of wanted) {
      signal.throwIfAborted()
      secrets.set(path, await readSecret(options, path))
    }
  }
}

function scopeOf({ variables = [] }: ReferenceOptions, secrets: Secrets, wanted: Set<string>): Scope {
  return {
    variable(name) {
      if (!variables.includes(name)) {
        throw new UnresolvedReference(`refers to the variable ${name}, which this node does not allow`)
      }
      const text = process.env[name]
      return text === undefined ? undefined : { text, secret: false }
    },
    secret(path) {
      const text = secrets.get(path)
      if (text === undefined) {
        wanted.add(path)
        throw pending
      }
      if (text instanceof UnresolvedReference) throw text
      return { text, secret: true }
    },
  }
}

async function readSecret({ secretsDir }: ReferenceOptions, path: string): Promise<string | UnresolvedReference> {
  if (secretsDir === undefined) return new UnresolvedReference(`refers to the file ${path}, and this node allows none`)
  try {
    const directory = await realpath(secretsDir)
    const real = await realpath(isAbsolute(path) ? path : join(directory, path))
    const below = relative(directory, real)
    if (below === '' || below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below)) {
      return new UnresolvedReference(`refers to ${path}, which is not in ${secretsDir}`)
    }
    return await readText(real, path)
  } catch (error) {
    return new UnresolvedReference(`refers to ${path}, which cannot be read: ${errorText(error)}`, true)
  }
}

async function readText(real: string, path: string): Promise<string | UnresolvedReference> {
  // A FIFO would otherwise wait for someone who writes.
  const file = await open(real, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) return new UnresolvedReference(`refers to ${path}, which is no regular file`)
    if (stat.size > maxSecretBytes) {
      return new UnresolvedReference(`refers to ${path}, which has ${stat.size} bytes; want at most ${maxSecretBytes}`)
    }
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await file.readFile())
    const trimmed = text.replace(/\r?\n$/, '')
    return trimmed === '' ? new UnresolvedReference(`refers to ${path}, which is empty`, true) : trimmed
  } finally {
    await file.close()
  }
}
