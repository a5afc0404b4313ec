/** Conditions of requests (RFC 9110): `If-Match`, `If-None-Match`, and the entity tags of contents, which are their digests. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Domain } from '../domain.ts'
import { headOf, configIn } from '../publish.ts'
import { ConflictError, type IfMatch } from '../release.ts'
import { Problem } from './problem.ts'

export function etagOf(digest: string): string {
  return `"${digest}"`
}

/**
 * What a publish must be made against. The operation compares it with the head; that an answer may be asked for again
 * under its idempotency key, when the head has long moved, is why that is not done here.
 * @throws Problem `precondition-required` if nothing is said; ConflictError for `*` where there is no release.
 * @returns `undefined` for `*`: whichever it is.
 */
export async function ifMatchOf(request: FastifyRequest, domain: Domain, config: string): Promise<IfMatch | undefined> {
  const match = request.headers['if-match']
  const none = request.headers['if-none-match']
  if (match !== undefined && none !== undefined) {
    throw new Problem('bad-request', 'If-Match and If-None-Match are both there; want one of them')
  }
  if (none !== undefined) {
    if (none.trim() !== '*')
      throw new Problem('bad-request', 'If-None-Match is no "*", which is what a first publish has')
    return 'none'
  }
  if (match === undefined || match.trim() === '') {
    const head = await domain.store.read((read) => headOf(configIn(read, config)))
    throw new Problem(
      'precondition-required',
      'If-Match is missing; want the ETag of the head, or If-None-Match: * for the first release',
      { head, holds: 'nothing was changed', headers: head.digest === null ? {} : { etag: etagOf(head.digest) } },
    )
  }
  const tags = match.trim() === '*' ? '*' : tagsIn(match)
  const head = await domain.store.read((read) => headOf(configIn(read, config)))
  if (tags === '*') {
    if (head.digest === null) throw new ConflictError(head, 'a release, whichever it is')
    return undefined
  }
  const fits = head.digest !== null && tags.includes(head.digest)
  return fits ? head.digest : (tags[0] ?? match)
}

/** As `ifMatchOf`, where it may be left out. */
export async function optionalIfMatchOf(
  request: FastifyRequest,
  domain: Domain,
  config: string,
): Promise<IfMatch | undefined> {
  return request.headers['if-match'] === undefined ? undefined : await ifMatchOf(request, domain, config)
}

/** Strong tags only: a weak one never matches (RFC 9110, 13.1.1). */
export function tagsIn(header: string): string[] {
  const tags = [...header.matchAll(/(W\/)?"([\x21\x23-\x7e]*)"/g)]
  if (tags.length === 0) {
    throw new Problem('bad-request', `If-Match is ${JSON.stringify(header.slice(0, 100))}; want a quoted ETag`)
  }
  return tags.map(([, weak, tag]) => `${weak ?? ''}${tag}`)
}

/** Sets the ETag. @returns whether the caller has it already; then the answer is 304 with no body. */
export function isKnown(request: FastifyRequest, reply: FastifyReply, digest: string): boolean {
  const tag = etagOf(digest)
  reply.header('etag', tag)
  const none = request.headers['if-none-match']
  if (none === undefined) return false
  const known = none.trim() === '*' || none.split(',').some((one) => one.trim().replace(/^W\//, '') === tag)
  if (known) reply.code(304)
  return known
}

/** @throws Problem if it cannot be one. */
export function idempotencyKeyOf(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new Problem('bad-request', 'Idempotency-Key is not 1 to 255 visible ASCII characters')
  }
  return key
}
