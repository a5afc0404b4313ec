/**
 * The upstreams: one pool of connections for each. A pool whose address or sizes change is replaced; requests that
 * are on their way in the old one end there, and no reload waits for them.
 */
import { componentsFor, type KeyedComponent } from 'midflight'
import { Pool } from 'undici'
import { schema } from './config.ts'

export interface Upstream {
  readonly name: string
  readonly pool: Pool
  /** Secret. Changes in place. */
  authorization: string | undefined
}

export interface Upstreams {
  readonly component: KeyedComponent<Upstream>
  /** Resolves when no pool that was let go has a request left, or has been cut. */
  drained(): Promise<void>
}

/** How long requests in a pool that was let go may still run. */
const drainMs = 60_000

export function upstreamPools(): Upstreams {
  const { keyed } = componentsFor(schema)
  const draining = new Set<Promise<void>>()
  const component = keyed({
    name: 'upstreams',
    path: 'upstreams',
    replaceFor: ['url', 'connections', 'timeoutMs'],
    start({ url, connections, timeoutMs, authorization }, name): Upstream {
      const pool = new Pool(url, {
        connections,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        connect: { timeout: timeoutMs },
      })
      return { name, pool, authorization }
    },
    update: (upstream, next) => void (upstream.authorization = next.authorization),
    // Not awaited: the reload would otherwise last as long as the slowest request in the old pool.
    stop({ pool }) {
      const done = drain(pool).finally(() => draining.delete(done))
      draining.add(done)
    },
  })
  return { component, drained: async () => void (await Promise.all(draining)) }
}

async function drain(pool: Pool): Promise<void> {
  const cut = setTimeout(() => void pool.destroy(), drainMs)
  await pool.close().finally(() => clearTimeout(cut))
}
