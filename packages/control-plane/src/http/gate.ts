/**
 * What every caller passes, whether it is a request or wants to upgrade: path, names, how often, who. A token that is
 * good always comes through: callers behind one address must not be able to lock each other out.
 */
import type { IncomingMessage } from 'node:http'
import { callerOf, type Principal } from '../access.ts'
import type { Metrics } from '../metrics.ts'
import { requireNames, requirePlainPath, type Names } from './caller.ts'
import type { Identify } from './identity.ts'
import { unauthenticated } from './permit.ts'
import { Problem } from './problem.ts'
import { RateLimit, type Rate } from './rate.ts'

export interface Rates {
  /** All requests that come from an address. */
  readonly perAddress: Rate
  /** Of one token, name or certificate. */
  readonly perToken: Rate
  /** The same for agents, of which many share a token. */
  readonly perAgentToken: Rate
  /** From an address with tokens that are not good. */
  readonly failures: Rate
}

export interface Gate {
  /** @throws Problem `bad-path`, `foreign-host`, `foreign-origin` */
  screen(request: IncomingMessage): void
  /** @throws Problem `rate-limited` */
  count(address: string): void
  /** @throws Problem `unauthenticated`, `rate-limited` */
  admit(request: IncomingMessage, address: string): Promise<Principal>
}

export interface GateOptions {
  readonly rates: Rates
  readonly metrics: Metrics
  readonly identify: Identify
  /** Known once it listens. */
  readonly names: () => Names
}

export function createGate({ rates, metrics, identify, names }: GateOptions): Gate {
  const perAddress = new RateLimit(rates.perAddress)
  const perToken = new RateLimit(rates.perToken)
  const perAgentToken = new RateLimit(rates.perAgentToken)
  const failures = new RateLimit(rates.failures)

  function limited(by: 'address' | 'token' | 'failures', seconds: number): void {
    if (seconds === 0) return
    metrics.rateLimited(by)
    throw new Problem('rate-limited', `come back in ${seconds} s`, { headers: { 'retry-after': String(seconds) } })
  }

  return {
    screen(request) {
      requirePlainPath(request.url ?? '')
      requireNames(request, names())
    },
    count: (address) => limited('address', perAddress.take(address)),
    async admit(request, address) {
      const principal = await identify(request)
      if (principal === undefined) {
        limited('failures', failures.take(address))
        throw unauthenticated()
      }
      limited('token', (principal.role === 'agent' ? perAgentToken : perToken).take(callerOf(principal)))
      return principal
    },
  }
}
