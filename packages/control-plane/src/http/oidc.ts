/** Bearer tokens of an OpenID provider: verified here, and mapped to a role by configuration. Nothing is asked of the provider but its keys. */
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose'
import { Problem } from './problem.ts'
import { roles, type Principal, type Role } from '../access.ts'

export interface OidcOptions {
  /** As in `iss`. */
  readonly issuer: string
  /** As in `aud`. */
  readonly audience: string
  /** Where the keys are, or the keys themselves. */
  readonly keys: { readonly url: string } | { readonly jwks: JSONWebKeySet }
  /** Asymmetric ones only. Default: EdDSA, ES256, ES384, PS256, RS256. */
  readonly algorithms?: readonly string[]
  /** The first that fits gives the role; with none, there is no access. */
  readonly grants: readonly OidcGrant[]
  /** The claim that names somebody in the audit log. Default `sub`. */
  readonly nameClaim?: string
}

export interface OidcGrant {
  readonly claim: string
  /** Equal to the claim, or one of its entries if it is a list. */
  readonly value: string
  readonly role: Role
  readonly prefix: string
}

export interface Oidc {
  /** @returns `undefined` for every token that is not good, whatever the reason. @throws if the keys cannot be had. */
  identify(token: string): Promise<Principal | undefined>
}

const asymmetric = ['EdDSA', 'Ed25519', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512']
const defaultAlgorithms = ['EdDSA', 'Ed25519', 'ES256', 'ES384', 'PS256', 'RS256']

/** How far clocks may be apart. */
const clockToleranceSeconds = 5

/** @throws TypeError for options that would let too many in. */
export function oidc(options: OidcOptions, now: () => Date = () => new Date()): Oidc {
  const { issuer, audience, keys, algorithms = defaultAlgorithms, grants, nameClaim = 'sub' } = options
  if (issuer === '' || audience === '') throw new TypeError('oidc: issuer and audience must not be empty')
  for (const name of algorithms) {
    if (!asymmetric.includes(name))
      throw new TypeError(`oidc: the algorithm ${name} is not one of ${asymmetric.join(', ')}`)
  }
  for (const { role } of grants) {
    if (!roles.includes(role)) throw new TypeError(`oidc: the role ${String(role)} is not one of ${roles.join(', ')}`)
  }
  const found =
    'jwks' in keys ? createLocalJWKSet(keys.jwks) : createRemoteJWKSet(new URL(keys.url), { timeoutDuration: 5000 })
  return {
    async identify(token) {
      const payload = await verified(token)
      if (payload === undefined) return undefined
      const name = payload[nameClaim]
      const grant = grants.find(({ claim, value }) => holds(payload[claim], value))
      if (grant === undefined || typeof name !== 'string' || name === '' || name.length > 200) return undefined
      return { name: `oidc:${name}`, role: grant.role, prefix: grant.prefix }
    },
  }

  async function verified(token: string): Promise<JWTPayload | undefined> {
    try {
      const { payload } = await jwtVerify(token, found, {
        issuer,
        audience,
        algorithms: [...algorithms],
        clockTolerance: clockToleranceSeconds,
        requiredClaims: ['exp'],
        currentDate: now(),
      })
      return payload
    } catch (error) {
      // What is wrong with a token is one thing, not being able to look another.
      const isToken = error instanceof errors.JOSEError && !noKeys.has(error.code)
      if (isToken) return undefined
      throw new Problem('unavailable', 'the keys of the OpenID provider cannot be had now', {
        headers: { 'retry-after': '5' },
        cause: error,
      })
    }
  }
}

/** A provider that does not answer, or answers with something else. */
const noKeys = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID'])

function holds(claim: unknown, value: string): boolean {
  return claim === value || (Array.isArray(claim) && claim.includes(value))
}
