/** What every operation of the control plane stands on. Operations are functions of it; it does nothing itself. */
import type { ReleaseInfo, ReleaseSignature } from 'midflight/protocol'
import type { Unsigned } from './signing.ts'
import type { Store } from './store.ts'
import { defaultContentLimits, type ContentLimits } from './validation.ts'

export interface Domain {
  readonly store: Store
  /** The clock on the wall: for people, and for what must outlive the process. Never for order, never for leases. */
  readonly now: () => Date
  readonly limits: ContentLimits
  /** `undefined`: releases are not signed. A `KeyRing` is one. */
  readonly keys: Keys | undefined
}

export interface Keys {
  sign(release: Unsigned): ReleaseSignature
  /** Public keys by key id. */
  trusted(): ReadonlyMap<string, string>
}

export type DomainOptions = Pick<Domain, 'store'> & Partial<Domain>

export function domainOf(options: DomainOptions): Domain {
  return {
    store: options.store,
    now: options.now ?? (() => new Date()),
    limits: options.limits ?? defaultContentLimits,
    keys: options.keys,
  }
}

/** The release, signed if there are keys. */
export function signed(domain: Domain, release: ReleaseInfo): ReleaseInfo {
  if (domain.keys === undefined) return release
  const { rollbackOf: _, signature: __, ...unsigned } = release
  return { ...release, signature: domain.keys.sign(unsigned) }
}
