/**
 * Regular expressions from schemas. An expression that could take exponential time on some text must not hang the
 * process: it runs on re2js (an optional peer), whose time is linear. Plainly harmless ones use the native engine.
 */
import { isObject, type Json } from '../json.ts'
import { isHarmless } from './regexp-harmless.ts'
import { SchemaError } from './schema-error.ts'

/** What ajv needs of an expression. `toString` tells one from another. */
export interface Matcher {
  test(text: string): boolean
  toString(): string
}

export type CompileRegexp = ((source: string, flags: string) => Matcher) & { readonly code: string }

interface Re2 {
  compile(source: string): { test(text: string): boolean }
  translateRegExp(source: string): string
}

/** Loads re2js if an expression in `schema` needs it; what it returns throws SchemaError if it is not installed. */
export async function regexpsFor(schema: Json): Promise<CompileRegexp> {
  const re2 = [...sourcesIn(schema)].every(isHarmless) ? undefined : await loadRe2()
  const compile = (source: string, flags: string): Matcher => {
    const expression = native(source, flags)
    if (isHarmless(source)) return expression
    if (re2 !== undefined) return linear(re2, source)
    throw new SchemaError(
      `the pattern ${source} may take exponential time; simplify it, or have it run in linear time: npm install re2js`,
    )
  }
  return Object.assign(compile, { code: 'regexp' })
}

function native(source: string, flags: string): Matcher {
  try {
    return new RegExp(source, flags)
  } catch (error) {
    throw new SchemaError(`the pattern ${source} is no regular expression: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function linear(re2: Re2, source: string): Matcher {
  try {
    const compiled = re2.compile(re2.translateRegExp(source))
    return { test: (text) => compiled.test(text), toString: () => `re2:${source}` }
  } catch (error) {
    throw new SchemaError(
      `the pattern ${source} may take exponential time, and re2js cannot run it: ${(error as Error).message}`,
      { cause: error },
    )
  }
}

async function loadRe2(): Promise<Re2 | undefined> {
  const name: string = 're2js' // not a literal in the import: the types of an optional peer may be missing
  try {
    return ((await import(name)) as { RE2JS: Re2 }).RE2JS
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}

/** Texts that may be patterns: also some in data that only looks like a schema, which does no harm here. */
function sourcesIn(schema: Json): Set<string> {
  const found = new Set<string>()
  const open: Json[] = [schema]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null) continue
    if (isObject(node)) {
      if (typeof node['pattern'] === 'string') found.add(node['pattern'])
      if (isObject(node['patternProperties']))
        for (const source of Object.keys(node['patternProperties'])) found.add(source)
    }
    for (const child of Object.values(node) as Json[]) open.push(child)
  }
  return found
}
