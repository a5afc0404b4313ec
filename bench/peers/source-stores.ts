/**
 * The stores of the benchmark of sources: a real server of each, its source, and beside that the least that following
 * costs there: the client library's own watch, or a loop of fetch where the protocol is HTTP.
 */
import { withoutKafka } from '../../packages/engine/test/kafka-broker.ts'
import { withoutZookeeper } from '../../packages/engine/test/source-zookeeper-rig.ts'
import { isThere } from './server.ts'
import { consul, consulProgram } from './stores/consul.ts'
import { etcd } from './stores/etcd.ts'
import { http } from './stores/http.ts'
import { kafka } from './stores/kafka.ts'
import { nats } from './stores/nats.ts'
import { redis } from './stores/redis.ts'
import type { Store } from './stores/store.ts'
import { zookeeper } from './stores/zookeeper.ts'

export interface Contender {
  readonly name: string
  /** What its own watch is. */
  readonly bare: string
  /** Why it cannot be measured here. */
  readonly lacking: string | undefined
  /** Holds many keys, not only one document. */
  readonly hasPrefixes: boolean
  open(): Promise<Store>
}

const without = (there: boolean, what: string) => (there ? undefined : what)

export const contenders: readonly Contender[] = [
  {
    name: 'etcd',
    bare: 'grpc watch',
    lacking: without(isThere('etcd', '--version'), 'there is no etcd (Debian package etcd-server)'),
    hasPrefixes: true,
    open: etcd,
  },
  {
    name: 'redis',
    bare: 'ioredis psubscribe + GET',
    lacking: without(isThere('redis-server', '--version'), 'there is no redis-server'),
    hasPrefixes: true,
    open: redis,
  },
  {
    name: 'nats',
    bare: 'kv.watch',
    lacking: without(isThere('nats-server', '--version'), 'there is no nats-server'),
    hasPrefixes: true,
    open: nats,
  },
  {
    name: 'consul',
    bare: 'fetch, blocking query',
    lacking: without(isThere(consulProgram, 'version'), 'there is no consul on the PATH or in .cache/consul'),
    hasPrefixes: true,
    open: consul,
  },
  {
    name: 'zookeeper',
    bare: 'getData, watched again',
    lacking: withoutZookeeper,
    hasPrefixes: true,
    open: zookeeper,
  },
  {
    name: 'kafka',
    bare: 'a consumer',
    lacking: withoutKafka,
    hasPrefixes: true,
    open: kafka,
  },
  {
    name: 'http long poll',
    bare: 'fetch, Prefer: wait',
    lacking: undefined,
    hasPrefixes: false,
    open: () => http('long poll'),
  },
  {
    name: 'http events',
    bare: 'fetch, event stream',
    lacking: undefined,
    hasPrefixes: false,
    open: () => http('events'),
  },
]
