import { inspect } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { nats, type NatsOptions } from '../src/sources/nats.ts'
import { engineOn } from './source-engine-rig.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'

/** Far beyond any test: what is seen is told by the server. */
const never = 86_400_000
const soon = () => AbortSignal.timeout(10_000)

async function serving(options: Parameters<typeof NatsServer.start>[0] = {}) {
  const server = await NatsServer.start(options)
  onTestFinished(() => server.close())
  const source = (own: Partial<NatsOptions>) => {
    const made = nats({
      ...{ servers: server.url, bucket: 'config', user: 'admin', password: 'right' },
      ...{ pollMs: never, timeoutMs: 2_000, retry: { firstMs: 20, maxMs: 100 }, ...own },
    })
    onTestFinished(() => made.close())
    return made
  }
  const engine = (own: Partial<NatsOptions>) => engineOn(source(own))
  const put = async (key: string, value: string) => void (await server.admin.kv.put(key, value))
  const consumers = async () => (await server.admin.manager.streams.info('KV_config')).state.consumer_count
  return { server, source, engine, put, consumers }
}

describe.skipIf(withoutNats !== undefined)(`nats()${withoutNats ? ` (skipped: ${withoutNats})` : ''}`, () => {
  test('by the watch alone, PUT, DEL, PURGE and keys that are new are seen', async () => {
    const { server, engine, put } = await serving()
    await put('app.a', '1')
    const { lives } = await engine({ prefix: 'app.' })
    await put('app.a', '2')
    await lives({ a: 2 })
    await put('app.b.c', 'x')
    await put('other.b.c', 'x')
    await lives({ a: 2, b: { c: 'x' } })
    await server.admin.kv.delete('app.a')
    await lives({ b: { c: 'x' } })
    await server.admin.kv.purge('app.b.c')
    await lives({})
    await put('app.a', '3')
    await lives({ a: 3 })
  })

  test('markers of what was removed meanwhile are removals, also where nothing is left (F39)', async () => {
    const { server, engine, put } = await serving()
    await put('app.a', '1')
    await put('app.b', '1')
    const { lives } = await engine({ prefix: 'app.' })
    server.proxy.refuse = true
    server.proxy.reset()
    await server.admin.kv.delete('app.a')
    await server.admin.kv.purge('app.b')
    server.proxy.refuse = false
    await lives({})
  })

  test('where a marker is all there is at a start, it is refused: nobody saw what was removed', async () => {
    const { server, source, put } = await serving()
    await put('doc', '{"a":1}')
    await server.admin.kv.delete('doc')
    await expect(source({ key: 'doc' }).load(soon())).rejects.toThrow(
      'doc is not there; put it there, or is the key wrong?',
    )
  })

  test('a bucket that comes back empty from a restart takes nothing away, and is followed on (F39)', async () => {
    const { server, engine, put } = await serving({ bucket: { storage: 'memory' } })
    for (const key of ['app.a', 'app.b', 'app.c']) await put(key, '1')
    const { running, lives, says } = await engine({ prefix: 'app.' })
    await server.stop()
    await server.start()
    await says('app. has no keys below it; what was never seen to be removed is not taken for removed')
    expect(running.live).toEqual({ a: 1, b: 1, c: 1 })
    // Its revisions begin at 1 again.
    await put('app.a', '2')
    await lives({ a: 2 })
  })

  test('a bucket that is not there is named; it is followed once it is', async () => {
    const { server, source, engine, put } = await serving()
    await expect(source({ bucket: 'none', key: 'doc' }).load(soon())).rejects.toThrow('there is no bucket none')
    await put('doc', '{"a":1}')
    const { running, lives, says } = await engine({ key: 'doc', pollMs: 200 })
    await server.admin.manager.streams.delete('KV_config')
    await says('there is no bucket config')
    expect(running.live).toEqual({ a: 1 })
    await server.stop()
    await server.start()
    await put('doc', '{"a":2}')
    await lives({ a: 2 })
  })

  test('while all is read anew again and again, nothing is lost and no consumers stay behind', async () => {
    const { server, engine, put, consumers } = await serving()
    await put('app.a', '0')
    const { running, lives } = await engine({ prefix: 'app.', pollMs: 100 })
    for (let i = 1; i <= 300; i++) await put('app.a', String(i))
    await lives({ a: 300 })
    for (let i = 0; i < 5; i++) await running.reload()
    expect(await consumers()).toBeLessThanOrEqual(2)
    await running.close()
    await expect.poll(consumers, { timeout: 10_000 }).toBe(0)
    expect(server.admin.connection.isClosed()).toBe(false)
  })

  test('a connection that went silent is given up when pings are not answered', async () => {
    const { server, engine, put } = await serving()
    await put('doc', '{"a":1}')
    const { lives, says } = await engine({ key: 'doc', pingMs: 50 })
    server.proxy.swallow = true
    await put('doc', '{"a":2}')
    await says('cannot be followed')
    server.proxy.swallow = false
    server.proxy.reset()
    await lives({ a: 2 })
  })

  test('what is too large together is not read to its end, and is followed once it is small enough', async () => {
    const { server, engine, source, put } = await serving()
    await put('app.a', '1')
    const { running, lives, says } = await engine({ prefix: 'app.', maxBytes: 1_000 })
    const long = 'x'.repeat(600)
    await put('app.b', long)
    await lives({ a: 1, b: long })
    await put('app.c', long)
    await says('want less')
    await expect(source({ prefix: 'app.', maxBytes: 1_000 }).load(soon())).rejects.toThrow(
      'app.c and the keys before it are more than 1000 bytes; want less',
    )
    expect(running.live).toEqual({ a: 1, b: long })
    await server.admin.kv.delete('app.b')
    await put('app.c', '1')
    await lives({ a: 1, c: 1 })
  })

  test('keys may be parted by slashes; others in the bucket are none of its business', async () => {
    const { engine, put } = await serving()
    await put('app/a/b', '1')
    await put('apple/a', '1')
    const { running, lives } = await engine({ prefix: 'app/', separator: '/' })
    expect(running.live).toEqual({ a: { b: 1 } })
    await put('apple/a', '2')
    await put('app/c', '2')
    await lives({ a: { b: 1 }, c: 2 })
  })

  test('with the permissions that its page names it works, and without them it says so', async () => {
    const api = '$JS.API.CONSUMER'
    const publish = `"${api}.CREATE.KV_config.>", "${api}.DELETE.KV_config.>", "$JS.FC.KV_config.>"`
    const users = `
      { user: reader, password: s3cret, permissions: { publish: [${publish}], subscribe: ["_INBOX.>"] } }
      { user: nobody, password: s3cret, permissions: { publish: ["none"], subscribe: ["_INBOX.>"] } }`
    const { source, engine, put, consumers } = await serving({ users })
    await put('doc', '{"a":1}')
    const { lives, running } = await engine({ key: 'doc', user: 'reader', password: () => 's3cret' })
    await put('doc', '{"a":2}')
    await lives({ a: 2 })
    await running.close()
    await expect.poll(consumers, { timeout: 10_000 }).toBe(0)
    await expect(source({ key: 'doc', user: 'nobody', password: 's3cret' }).load(soon())).rejects.toThrow(/permission/i)
  })

  test('the password is in no error', async () => {
    const { source } = await serving()
    const wrong = source({ key: 'doc', password: 'wr0ng' })
    const error = await wrong.load(soon()).catch((thrown: unknown) => thrown)
    const shown = inspect([error, wrong.following(), wrong.name], { depth: 9, showHidden: true })
    expect(shown).toMatch(/authorization/i)
    expect(shown).not.toContain('wr0ng')
  })

  test('a server is trusted by the authority that is given', async () => {
    const { server, source, put } = await serving({ tls: true })
    await put('doc', '{"a":1}')
    expect((await source({ key: 'doc', tls: { ca: server.ca ?? '' } }).load(soon())).config).toEqual({ a: 1 })
  })

  test('where the server must be one with TLS, one without is refused', async () => {
    const { server, source, put } = await serving()
    await put('doc', '{"a":1}')
    const secure = source({ key: 'doc', servers: server.url.replace('nats:', 'tls:') })
    await expect(secure.load(soon())).rejects.toThrow(/tls/i)
  })
})

test('options that cannot be meant are refused at the call, without a password', () => {
  const servers = 'nats://localhost'
  const bucket = 'config'
  expect(() => nats({ servers, bucket })).toThrow('want one of key and prefix')
  expect(() => nats({ servers, bucket, key: 'a', prefix: 'b.' })).toThrow('want one of key and prefix')
  expect(() => nats({ servers, bucket: 'a.b', key: 'a' })).toThrow('the bucket is "a.b"')
  for (const key of ['a.', '.a', 'a..b', 'a.*', '>', 'a b']) {
    expect(() => nats({ servers, bucket, key })).toThrow('is no key of NATS')
  }
  expect(() => nats({ servers, bucket, key: '' })).toThrow('want a key that is not empty')
  expect(() => nats({ servers, bucket, prefix: 'app' })).toThrow('want it to end in .')
  expect(() => nats({ servers, bucket, key: 'a', pollMs: 1 })).toThrow('pollMs is 1; want 100 to 86400000')
  for (const wrong of [[], 'nats://me:s3cret@localhost', ['http://s3cret']]) {
    expect(() => nats({ servers: wrong, bucket, key: 'a' })).toThrow(/^nats\(\): want servers as (?!.*s3cret)/)
  }
})
