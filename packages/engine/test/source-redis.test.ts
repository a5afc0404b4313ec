import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { redis, type RedisOptions } from '../src/sources/redis.ts'
import { engineOn } from './source-engine-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'

const notifying = ['--notify-keyspace-events', 'Kg$hxe']
/** Far beyond any test: what is seen is seen by hints. */
const never = 86_400_000
const soon = () => AbortSignal.timeout(10_000)

type Where = Pick<RedisOptions, 'key' | 'prefix' | 'hash'>

async function serving(args: readonly string[] = notifying, password?: string) {
  const server = await RedisServer.start({ args, ...(password !== undefined && { password }) })
  onTestFinished(() => server.close())
  const { admin } = server
  const source = (where: Where, options: Partial<RedisOptions> = {}) => {
    const retry = { firstMs: 20, maxMs: 100 }
    const made = redis({ url: server.url, pollMs: never, timeoutMs: 2_000, retry, ...where, ...options })
    onTestFinished(() => made.close())
    return made
  }
  const engine = (where: Where, options: Partial<RedisOptions> = {}) => engineOn(source(where, options))
  return { server, admin, source, engine }
}

describe.skipIf(withoutRedis !== undefined)(`redis()${withoutRedis ? ` (skipped: ${withoutRedis})` : ''}`, () => {
  test('by notifications alone, PUT, DELETE, RENAME and keys that are new are seen', async () => {
    const { admin, engine } = await serving()
    await admin.set('app:a', '1')
    const { lives } = await engine({ prefix: 'app:' })
    await admin.set('app:a', '2')
    await lives({ a: 2 })
    await admin.set('app:b:c', 'x')
    await lives({ a: 2, b: { c: 'x' } })
    await admin.rename('app:a', 'app:d')
    await lives({ b: { c: 'x' }, d: 2 })
    await admin.unlink('app:b:c', 'app:d')
    await lives({})
    await admin.set('app:a', '3')
    await lives({ a: 3 })
  })

  test('of many keys only those that changed are read, and what is written together is seen together', async () => {
    const { admin, engine } = await serving()
    const many = Array.from({ length: 1_000 }, (_, i) => [`app:g${i % 10}:k${i}`, '0'] as const)
    await admin.mset(...many.flat(), 'app:a', '1', 'app:b', '1')
    const { running, lives } = await engine({ prefix: 'app:' })
    const mixed: unknown[] = []
    const look = () => {
      const { a, b } = running.live as { a: unknown; b: unknown }
      if (a !== b) mixed.push([a, b])
    }
    running.watch('', look)
    const hits = async () => Number(/keyspace_hits:(\d+)/.exec(await admin.info('stats'))?.[1])
    const before = await hits()
    for (let i = 2; i <= 20; i++) {
      await admin.mset('app:a', String(i), 'app:b', String(i))
      await expect.poll(() => (running.live as { a: unknown }).a, { timeout: 10_000, interval: 5 }).toBe(i)
    }
    expect((await hits()) - before).toBeLessThan(1_000)
    expect(mixed).toEqual([])
    const { a: _, b: __, ...rest } = running.live as Record<string, unknown>
    expect(Object.values(rest).flatMap((group) => Object.values(group as object))).toEqual(many.map(() => 0))
    await admin.del('app:a', 'app:b', ...many.map(([key]) => key))
    await lives({})
  })

  test('what was touched is read in one round trip, and in two where one does not tell all', async () => {
    const { admin, engine } = await serving()
    await admin.mset('app:a', 'x', 'app:b', 'x')
    const { running, lives, says } = await engine({ prefix: 'app:' }, { maxBytes: 1_000 })
    const twice = async () => /cmdstat_mget:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1]
    const before = await twice()
    await admin.set('app:a', 'y')
    await lives({ a: 'y', b: 'x' })
    await admin.mset('app:a', 'z', 'app:b', 'z')
    await lives({ a: 'z', b: 'z' })
    expect(await twice()).toBe(before)
    await admin.del('app:b')
    await lives({ a: 'z' })
    await admin.multi().set('app:a', '').set('app:b', 'z'.repeat(600)).exec()
    await lives({ a: '', b: 'z'.repeat(600) })
    await admin.multi().del('app:b').set('app:a', '').set('app:c', '').exec()
    await lives({ a: '', c: '' })
    expect(Number(await twice())).toBeGreaterThan(Number(before))
    await admin.mset('app:a', 'x'.repeat(600), 'app:c', 'x'.repeat(600))
    await says('makes 1200 bytes; want at most 1000')
    expect(running.live).toEqual({ a: '', c: '' })
    await admin.set(Buffer.from('app:a\xff', 'latin1'), '1')
    await says('is a key that is not UTF-8')
  })

  test('by messages on a channel alone, whatever they say, changes are seen', async () => {
    const { admin, engine } = await serving([])
    await admin.set('doc', '{"a":1}')
    const { lives, said } = await engine({ key: 'doc' }, { channel: 'changed', notifications: false })
    await admin.set('doc', '{"a":2}')
    await admin.publish('changed', '\xff not JSON')
    await lives({ a: 2 })
    expect(said.join('\n')).not.toContain('notify-keyspace-events')
  })

  test('a key that expires is a removal, as it was seen', async () => {
    const { admin, engine } = await serving()
    await admin.set('doc', '{"a":1}')
    const { lives } = await engine({ key: 'doc' })
    await admin.pexpire('doc', 20)
    await lives({})
  })

  test('a key that was evicted while it was followed is no removal: the old stays, and it says why', async () => {
    const { admin, engine } = await serving([...notifying, '--maxmemory-policy', 'volatile-lru'])
    await admin.mset('app:a', '1', 'app:b', '1')
    await admin.expire('app:a', 1_000)
    const { running, lives, says } = await engine({ prefix: 'app:' })
    await admin.config('SET', 'maxmemory', '1')
    await says('app:a is gone, and nobody was seen to remove it, while the server evicts keys')
    expect(running.live).toEqual({ a: 1, b: 1 })
    await admin.config('SET', 'maxmemory', '0')
    await admin.set('app:a', '2')
    await lives({ a: 2, b: 1 })
    await admin.del('app:a')
    await lives({ b: 1 })
  })

  test('a key that went unseen while the server evicts keys is no removal either', async () => {
    const { admin, engine } = await serving(['--maxmemory-policy', 'volatile-lru'])
    await admin.mset('app:a', '1', 'app:b', '1')
    await admin.expire('app:a', 1_000)
    const { running, lives, says } = await engine({ prefix: 'app:' }, { notifications: false, pollMs: 100 })
    await admin.config('SET', 'maxmemory', '1')
    await says('app:a is gone, and nobody was seen to remove it, while the server evicts keys')
    expect(running.live).toEqual({ a: 1, b: 1 })
    await admin.config('SET', 'maxmemory', '0')
    await admin.set('app:a', '2')
    await lives({ a: 2, b: 1 })
    await admin.del('app:a')
    await lives({ b: 1 })
  })

  test('what was published while the connection was cut is read anew, removals included (F38)', async () => {
    const { server, admin, engine } = await serving()
    await admin.mset('app:a', '1', 'app:b', '1', 'app:c', '1')
    const { lives } = await engine({ prefix: 'app:' })
    server.proxy.refuse = true
    server.proxy.reset()
    await admin.mset('app:a', '2', 'app:d', '1')
    await admin.del('app:c')
    server.proxy.refuse = false
    await lives({ a: 2, b: 1, d: 1 })
    await admin.set('app:a', '3')
    await lives({ a: 3, b: 1, d: 1 })
  })

  test('a server that comes back without its data takes nothing away (F38)', async () => {
    const { server, admin, engine } = await serving([...notifying, '--appendonly', 'no'])
    await admin.mset('app:a', '1', 'app:b', '1')
    const { running, lives, says } = await engine({ prefix: 'app:' })
    await server.stop()
    await server.start()
    await says('has no keys below it; what was never seen to be removed is not taken for removed')
    expect(running.live).toEqual({ a: 1, b: 1 })
    await server.admin.mset('app:a', '1', 'app:b', '2')
    await lives({ a: 1, b: 2 })
  })

  test('without the notifications that it needs it says which, and which option is for that', async () => {
    const { admin, engine } = await serving(['--notify-keyspace-events', 'Ex'])
    await admin.set('doc', '{"a":1}')
    const { says } = await engine({ key: 'doc' })
    await says('notify-keyspace-events is "xE"; want Kg$xe, or the option notifications: false')
  })

  test('with the least permissions it works, and says what it cannot know', async () => {
    const { admin, engine } = await serving()
    await admin.set('app:a', '1')
    await admin.call('ACL', 'SETUSER', 'reader', 'on', '>s3cret', '~app:*', '&__keyspace@0__:app:*', '+scan', '+strlen')
    await admin.call('ACL', 'SETUSER', 'reader', '+mget', '+getrange', '+hello', '+auth', '+psubscribe')
    const { lives, says } = await engine({ prefix: 'app:' }, { username: 'reader', password: 's3cret' })
    await says('does not say whether it sends keyspace notifications: NOPERM')
    await admin.set('app:a', '2')
    await lives({ a: 2 })
  })

  test('a user that may not listen is told so, and the clock goes on', async () => {
    const { admin, engine } = await serving()
    await admin.set('app:a', '1')
    await admin.call('ACL', 'SETUSER', 'reader', 'on', '>s3cret', '~app:*', '+@all', '-psubscribe')
    const options = { username: 'reader', password: 's3cret', pollMs: 100 }
    const { lives, says } = await engine({ prefix: 'app:' }, options)
    await says('may not listen to hints, and is asked now and then: NOPERM')
    await admin.set('app:a', '2')
    await lives({ a: 2 })
  })

  test('a value of another type is refused by its key, and one that mends it is taken', async () => {
    const { admin, engine } = await serving()
    await admin.set('app:a', '1')
    const { running, lives, says } = await engine({ prefix: 'app:' })
    await admin.multi().hset('app:b', 'd', '1').set('app:c', '1').exec()
    await says('app:b is no string; want a string')
    expect(running.live).toEqual({ a: 1 })
    await admin.del('app:b')
    await admin.set('app:b', '2')
    await lives({ a: 1, b: 2, c: 1 })
  })

  test('a hash that is a string is refused, and fields that are not UTF-8', async () => {
    const { admin, source } = await serving()
    await admin.set('app', '1')
    const made = source({ hash: 'app' })
    await expect(made.load(soon())).rejects.toThrow('app is no hash; want a hash')
    await admin.del('app')
    await admin.hset('app', Buffer.from([0x61, 0xff]), '1')
    await expect(made.load(soon())).rejects.toThrow('app has a field that is not UTF-8')
    await admin.del('app')
    await admin.hset('app', '__proto__', '1')
    await expect(made.load(soon())).rejects.toThrow('__proto__')
  })

  test('a key that is not UTF-8 is refused, not passed over', async () => {
    const { admin, source } = await serving()
    await admin.set(Buffer.from('app:a\xff', 'latin1'), '1')
    await expect(source({ prefix: 'app:' }).load(soon())).rejects.toThrow('is a key that is not UTF-8')
  })

  test('a prefix with the signs of patterns reads its own keys only', async () => {
    const { admin, engine } = await serving()
    await admin.mset('a*[b]?\\:x', '1', 'aabc\\:x', '2', 'a*b?\\:x', '3')
    const { lives, running } = await engine({ prefix: 'a*[b]?\\:' })
    expect(running.live).toEqual({ x: 1 })
    await admin.set('a*[b]?\\:x', '4')
    await lives({ x: 4 })
  })

  test('values are counted before they are sent, and together', async () => {
    const { admin, source } = await serving()
    await admin.mset('app:a', 'x'.repeat(600), 'app:b', 'x'.repeat(600))
    const loading = source({ prefix: 'app:' }, { maxBytes: 1_000 }).load(soon())
    await expect(loading).rejects.toThrow('makes 1200 bytes; want at most 1000')
    expect(await admin.info('commandstats')).not.toContain('cmdstat_mget')
  })

  test('a database that is not there is refused: another one is not read in its place', async () => {
    const { server, admin, source } = await serving()
    await admin.set('doc', '{"a":1}')
    await expect(source({ key: 'doc' }, { url: `${server.url}/99` }).load(soon())).rejects.toThrow('DB index')
    await admin.call('SELECT', '3')
    await admin.set('doc', '{"a":3}')
    expect((await source({ key: 'doc' }, { url: `${server.url}/3` }).load(soon())).config).toEqual({ a: 3 })
  })

  test('a server is trusted by the authority that is given, with a password', async () => {
    const server = await RedisServer.start({ tls: true, password: 'r1ght' })
    onTestFinished(() => server.close())
    await server.admin.set('doc', '{"a":1}')
    const source = redis({ url: server.url, key: 'doc', password: 'r1ght', tls: { ca: server.ca ?? '' } })
    onTestFinished(() => source.close())
    expect((await source.load(soon())).config).toEqual({ a: 1 })
  })

  test('the password is in no error, and a right one in the URL is taken', async () => {
    const { server, admin, source } = await serving(notifying, 'r1ght')
    await admin.set('doc', '{"a":1}')
    const wrong = source({ key: 'doc' }, { url: server.url.replace('//', '//:wr0ng@') })
    const error = await wrong.load(soon()).catch((thrown: unknown) => thrown)
    expect(inspect(error, { depth: 9, showHidden: true })).toContain('WRONGPASS')
    expect(inspect([error, wrong.following(), wrong.name], { depth: 9, showHidden: true })).not.toContain('wr0ng')
    const right = source({ key: 'doc' }, { url: server.url.replace('//', '//:r1ght@') })
    expect((await right.load(soon())).config).toEqual({ a: 1 })
    expect(right.name).not.toContain('r1ght')
  })
})

test('options that cannot be meant are refused at the call, without the password', () => {
  const url = 'redis://:s3cret@localhost'
  expect(() => redis({ url })).toThrow('want one of key, prefix and hash')
  expect(() => redis({ url, key: 'a', hash: 'b' })).toThrow('want one of key, prefix and hash')
  expect(() => redis({ url, prefix: 'app' })).toThrow('want it to end in :')
  expect(() => redis({ url, key: '' })).toThrow('want a key that is not empty')
  expect(() => redis({ url, hash: '' })).toThrow('the hash has no name')
  expect(() => redis({ url: `${url}/one`, key: 'a' })).toThrow('the database is "/one"; want a number')
  expect(() => redis({ url, key: 'a', tls: {} })).toThrow('want a rediss:// URL')
  expect(() => redis({ url, key: 'a', pollMs: 1 })).toThrow('pollMs is 1; want 100 to 86400000')
  for (const wrong of ['http://:s3cret@localhost', 's3cret', 'redis:']) {
    expect(() => redis({ url: wrong, key: 'a' })).toThrow(/^redis\(\): the URL is none of Redis; want (?!.*s3cret)/)
  }
})
