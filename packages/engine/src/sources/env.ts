/** Configuration from the process's environment variables. Files with variables (`.env`) are the file source's. */
import type { Issue } from '../issue.ts'
import { pathText, type Json, type JsonObject, type Path } from '../json.ts'
import { SourceError, type Source } from '../source.ts'

export interface EnvOptions {
  /** Only variables whose names begin so, and the rest of the name is the path. At least one character: `APP_`. */
  readonly prefix: string
  /** What parts the steps of a path: `APP_SERVER__PORT` is `server.port` with `__`, the default. */
  readonly separator?: string
  /** What a step of a name becomes. Default: lower case. `keep`: as it is. */
  readonly letters?: 'lower' | 'keep'
  /** Default `process.env`, as it is at each load. */
  readonly variables?: Readonly<Record<string, string | undefined>>
}

const forbidden = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * A nested object of strings: `{ server: { port: '8080' } }`. Values are not guessed to be numbers; a schema may turn
 * them into what it wants. No variable at all is an empty object: another source goes below this one.
 * @throws TypeError at the call, if the prefix or the separator is empty
 */
export function env({ prefix, separator = '__', letters = 'lower', variables }: EnvOptions): Source {
  if (prefix === '' || separator === '') throw new TypeError('env(): want a prefix and a separator that are not empty')
  const name = `env:${prefix}`
  return {
    name,
    load: async () => {
      const issues: Issue[] = []
      const names = new Map<string, string>()
      const root: Record<string, Json> = {}
      for (const [variable, value] of Object.entries(variables ?? process.env).sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (value === undefined || !variable.startsWith(prefix) || variable === prefix) continue
        const rest = variable.slice(prefix.length)
        const path = (letters === 'lower' ? rest.toLowerCase() : rest).split(
          letters === 'lower' ? separator.toLowerCase() : separator,
        )
        const wrong = place(root, path, value)
        const origin = { file: `${name} ${variable}` }
        if (wrong)
          issues.push({
            code: wrong.code,
            path,
            message: `comes from the variable ${variable}, ${wrong.message}`,
            origin,
          })
        else names.set(pathText(path), variable)
      }
      if (issues.length > 0) throw new SourceError(issues)
      return {
        config: root as JsonObject,
        origin: (path) => {
          const variable = names.get(pathText(path))
          return variable === undefined ? undefined : { file: `${name} ${variable}` }
        },
      }
    },
  }
}

/** @returns what is wrong with it */
function place(root: Record<string, Json>, path: Path, value: string): Pick<Issue, 'code' | 'message'> | undefined {
  let object = root
  for (const [i, step] of path.entries()) {
    const key = String(step)
    if (key === '') return { code: 'syntax', message: 'which has a step without a name; want one between separators' }
    if (forbidden.has(key)) return { code: 'forbidden-key', message: `which has the forbidden step ${key}` }
    const there = object[key]
    if (i === path.length - 1) {
      if (there !== undefined) return { code: 'duplicate-key', message: 'and so does another variable' }
      object[key] = value
      return undefined
    }
    if (typeof there === 'string')
      return { code: 'duplicate-key', message: 'which goes below what another variable sets to a text' }
    object = (there ?? (object[key] = {})) as Record<string, Json>
  }
  return undefined
}
