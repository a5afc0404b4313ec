/**
 * Secrets in what is said about contents: the engine covers what its schema check says, but rules, patches and limits
 * speak of values without knowing which are secret. Here, on the way out, what they say at, above or below a place that
 * the schema marks as secret is replaced.
 */
import { examine, issueText, jsonSchema, parsePath, SourceError, type Issue, type Json, type Path } from 'midflight'
import type { Domain } from '../domain.ts'
import { RefusedError } from '../release.ts'

/** @param configs those that the request was about. */
export async function coveredError(domain: Domain, configs: readonly string[], error: unknown): Promise<unknown> {
  if (!(error instanceof RefusedError) || error.issues.length === 0) return error
  const issues = await coveredIssues(domain, configs, error.issues)
  if (issues.every((issue, i) => issue === error.issues[i])) return error
  return new RefusedError(error.code, issues.map(issueText).join('\n'), issues)
}

/** The same issues, those that may show a secret with other words. */
export async function coveredIssues(
  domain: Domain,
  configs: readonly string[],
  issues: readonly Issue[],
): Promise<readonly Issue[]> {
  if (!issues.some(showsValues)) return issues
  const secret = await secretPaths(domain, configs)
  return issues.map((issue) => {
    if (!showsValues(issue)) return issue
    if (!secret.some((pattern) => touches(pattern, issue.path)) && !speaksOf(secret, issue)) return issue
    const { hint: _, ...rest } = issue
    return { ...rest, message: 'is not as it must be; it is, or holds, a secret, so more is not said' }
  })
}

function showsValues({ code, message }: Issue): boolean {
  return code !== 'schema' || /^(?:operation \d+|patch), at /.test(message)
}

/** A rule compares with another place, which may be the secret one. */
function speaksOf(secret: readonly Path[], { code }: Issue): boolean {
  return code === 'component' && secret.length > 0
}

function touches(pattern: Path, path: Path): boolean {
  return pattern.every((step, i) => i >= path.length || step === '*' || step === String(path[i]))
}

async function secretPaths(domain: Domain, configs: readonly string[]): Promise<readonly Path[]> {
  const schemas = await domain.store.read((read) => configs.flatMap((name) => read.config(name)?.schema ?? []))
  const found = await Promise.all(schemas.map(async (schema) => await secretsOf(schema)))
  return found.flat()
}

/** Nothing is validated: the source has nothing, and what is refused comes with the places that are secret. */
async function secretsOf(schema: Json): Promise<readonly Path[]> {
  const nothing = {
    name: 'nothing',
    load: () => Promise.reject(new SourceError([{ code: 'empty', path: [], message: 'is empty' }])),
  }
  const examined = await examine({ schema: jsonSchema<Json>(schema), sources: [nothing] })
  return examined.kind === 'rejected' ? examined.secretPaths.map((path) => parsePath(path)) : []
}
