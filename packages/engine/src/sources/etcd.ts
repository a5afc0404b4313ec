/**
 * Configuration from etcd v3: one key, or the keys below a prefix, listed at one revision and watched from the next.
 * It needs the peers `@grpc/grpc-js` and `@grpc/proto-loader`, which are imported at the first load. How it follows is
 * `etcd/follow.ts`, the calls are `etcd/client.ts`.
 */
import { clusterOf, type EtcdConnection } from './etcd/cluster.ts'
import { etcdFeed } from './etcd/follow.ts'
import { watching, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'

export type { EtcdConnection } from './etcd/cluster.ts'
export type { TlsOptions, Token } from '../credentials.ts'

export interface EtcdOptions extends EtcdConnection, WatchingOptions {
  /** The key that holds the whole document. Either this or `prefix`. */
  readonly key?: string
  /** The keys below it are the tree. It ends in the separator, or is empty. */
  readonly prefix?: string
  /** Default `/`. */
  readonly separator?: string
}

/**
 * Reads a key or a prefix and follows it. A key whose lease has ended is removed, as one that someone removed.
 * @throws TypeError, RangeError at the call, if an option cannot be meant; an Error if `tls` holds what is no PEM.
 */
export function etcd(options: EtcdOptions): WatchingSource {
  const { maxBytes = 16 * 1024 * 1024 } = options
  const place = placeOf(options)
  const cluster = clusterOf(options, maxBytes)
  const name = `etcd:${'key' in place ? place.key : place.prefix}`
  return watching(name, place, options, etcdFeed(place, cluster, maxBytes))
}

function placeOf({ key, prefix, separator = '/' }: EtcdOptions): Place {
  if ((key === undefined) === (prefix === undefined)) throw new TypeError('etcd(): want either key or prefix')
  return key === undefined ? { prefix: prefix as string, separator } : { key }
}
