/**
 * What a route demands of those who ask. Every route declares it, and one that does not is refused at the start:
 * nothing is open by having been forgotten.
 */
import type { FastifyRequest } from 'fastify'
import { isBelow } from 'midflight/protocol'
import { decide, decideForAll, type Permission, type Principal } from '../access.ts'
import { noConfig, Problem } from './problem.ts'

export type Access =
  /** For everyone, also for those who are nobody. */
  | { readonly for: 'everyone' }
  /** For the config that the path names. */
  | { readonly for: 'config'; readonly permission: Permission }
  /** For the whole control plane. */
  | { readonly for: 'all'; readonly permission: Permission }
  /** Which configs it is about is known to the route only, which must call `allow`, or show no more than `mayRead` lets. */
  | { readonly for: 'each'; readonly permission: Permission }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
    /** Media types of the body; without them there must be none. */
    consumes?: readonly string[]
  }
  interface FastifyRequest {
    principal: Principal | undefined
  }
}

export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === undefined) throw unauthenticated()
  return request.principal
}

/** One body for all reasons: it must not be told apart what was wrong. */
export function unauthenticated(): Problem {
  return new Problem('unauthenticated', 'the request brings no token that is good here; want Authorization: Bearer …', {
    headers: { 'www-authenticate': 'Bearer realm="midflight"' },
  })
}

/** @throws Problem `denied`, or `not-found` for a config that this principal may not know of. */
export function allow(request: FastifyRequest, permission: Permission, config: string): void {
  const { name, role, prefix } = principalOf(request)
  const decision = decide({ name, role, prefix }, permission, config)
  if (decision === 'hidden') throw noConfig(config)
  if (decision === 'denied') throw denied(permission, role, config)
}

/** Whether entries about this config may be shown. */
export function may(principal: Principal, permission: Permission, config: string): boolean {
  return decide(principal, permission, config) === 'allowed'
}

/** Before the body is read. */
export function requireAccess(request: FastifyRequest, access: Access): void {
  if (access.for === 'everyone') return
  const principal = principalOf(request)
  if (access.for === 'config') {
    const { name } = request.params as { name: string }
    allow(request, access.permission, name)
  } else if (access.for === 'all' && decideForAll(principal, access.permission) !== 'allowed') {
    throw denied(access.permission, principal.role)
  }
}

function denied(permission: Permission, role: string, config?: string): Problem {
  const where = config === undefined ? 'the whole control plane' : config
  return new Problem('denied', `needs "${permission}" for ${where}; the role is ${role}`)
}

/**
 * The prefix to list below: what was asked for, as far as the principal's own reaches.
 * @returns `undefined` if they have nothing in common.
 */
export function listedPrefix(principal: Principal, asked: string): string | undefined {
  if (isBelow(principal.prefix, asked)) return asked
  return isBelow(asked, principal.prefix) ? principal.prefix : undefined
}
