import { spawn, spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { EtcdServer, noEtcd } from '../../engine/test/source-etcd-rig.ts'
import { startBroker, withoutKafka } from '../../engine/test/kafka-broker.ts'
import { Hand } from '../../engine/test/source-kafka-rig.ts'
import { NatsServer, withoutNats } from '../../engine/test/source-nats-rig.ts'
import { S3Peer } from '../../engine/test/s3-peer.ts'
import { RedisServer, withoutRedis } from '../../engine/test/source-redis-rig.ts'
import { withoutZookeeper, Zookeeper } from '../../engine/test/source-zookeeper-rig.ts'
import { made, type Plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned } from './rig.ts'

const skip = noEtcd ?? withoutRedis ?? withoutNats
let etcd: EtcdServer
let redis: RedisServer

beforeAll(async () => {
  if (skip !== undefined) return
  etcd = await EtcdServer.start()
  redis = await RedisServer.start()
}, 60_000)

afterAll(async () => {
  await etcd?.close()
  await redis?.close()
})

/** For the end of a test's name. */
function skipped(reason: string | undefined): string {
  return reason === undefined ? '' : ` (skipped: ${reason})`
}

const etcdAt = (path: string) => `etcd://127.0.0.1:${etcd.port}/${path}`
const redisAt = (path: string) => `redis://${new URL(redis.url).host}/0/${path}`

interface Told {
  readonly written: number
  readonly unchanged: number
  readonly removed: number
  readonly left: number
}

async function brought(command: 'import' | 'export', from: string, to: string, ...more: string[]): Promise<Told> {
  const ran = await midflight([command, from, to, '--json', ...more])
  expect(ran.code, ran.out + ran.err).toBe(0)
  return ran.json() as Told
}

async function keysIn(prefix: string): Promise<Record<string, string>> {
  const keys = await redis.admin.keys(`${prefix}*`)
  const entries = keys.map(async (key) => [key.slice(prefix.length), (await redis.admin.get(key)) ?? ''] as const)
  return Object.fromEntries(await Promise.all(entries))
}

describe.skipIf(skip !== undefined)(`import and export, on real servers${skipped(skip)}`, () => {
  test('2,000 keys go from store to store as they are; again nothing is written; --delete alone removes', async () => {
    const entries = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`big/${i % 20}/${i}`, `value ${i}`]))
    const all = Object.entries(entries)
    for (let i = 0; i < all.length; i += 100) await etcd.putAll(Object.fromEntries(all.slice(i, i + 100)))
    await redis.admin.set('big:stale', '1')
    expect(await brought('import', etcdAt('big/'), redisAt('big:'))).toMatchObject({ written: 2_000, left: 1 })
    expect(Object.keys(await keysIn('big:'))).toHaveLength(2_001)
    expect(await redis.admin.get('big:7:7')).toBe('value 7')
    await redis.admin.set('big:7:7', 'by somebody else')
    expect(await brought('import', etcdAt('big/'), redisAt('big:'))).toMatchObject({ written: 1, unchanged: 1_999 })
    const dry = await midflight(['import', etcdAt('big/'), redisAt('big:'), '--delete', '--dry-run'])
    expect(dry).toMatchObject({ code: 2, err: '' })
    expect(dry.out).toContain('would be: 0 written, 2,000 unchanged, 1 removed')
    expect(await redis.admin.exists('big:stale')).toBe(1)
    const last = await brought('import', etcdAt('big/'), redisAt('big:'), '--delete')
    expect(last).toMatchObject({ unchanged: 2_000, removed: 1, left: 0 })
    expect(await redis.admin.exists('big:stale')).toBe(0)
  })

  test('values keep their types on the way through keys, and JSON stays what it was', async () => {
    const text = JSON.stringify({ n: 1, s: '1', yes: true, word: 'true', list: [1, 'a'], deep: { x: null, y: '' } })
    const cwd = await folder({ 'a.json': text })
    await brought('import', join(cwd, 'a.json'), redisAt('typed:'))
    expect(await keysIn('typed:')).toEqual({
      n: '1',
      s: '"1"',
      yes: 'true',
      word: '"true"',
      list: '[1,"a"]',
      'deep:x': 'null',
      'deep:y': '""',
    })
    await brought('export', redisAt('typed:'), join(cwd, 'b.json'))
    expect(JSON.parse(await readFile(join(cwd, 'b.json'), 'utf8'))).toEqual(JSON.parse(text))
  })

  test('what would make a value lie below another is not written: nobody could read it', async () => {
    const cwd = await folder({ 'deep.json': '{"a":{"b":1}}', 'flat.json': '{"a":1}' })
    await redis.admin.mset('below:a', '5', 'above:a:x', '5')
    for (const [file, place] of [
      ['deep.json', 'below:'],
      ['flat.json', 'above:'],
    ] as const) {
      const before = await keysIn(place)
      const refused = await midflight(['import', file, redisAt(place)], { cwd })
      expect(refused).toMatchObject({ code: 1, out: '' })
      expect(refused.err).toMatch(/:a:[bx] would lie below a key that has a value; nothing was written/)
      expect(await keysIn(place)).toEqual(before)
      expect(await brought('import', join(cwd, file), redisAt(place), '--delete')).toMatchObject({ removed: 1 })
      await brought('export', redisAt(place), join(cwd, 'back.json'))
      expect(await readFile(join(cwd, 'back.json'), 'utf8')).toBe(await readFile(join(cwd, file), 'utf8'))
    }
  })

  test('a store becomes one release of a config, the same again none; a config becomes keys', async () => {
    const to: Plane = await made()
    await etcd.putAll({ 'shop/server/port': '8081', 'shop/log/level': 'info', 'shop/rules': '[{"id":"r1"}]' })
    const first = await to.run('import', etcdAt('shop/'), 'shop/gateway', '-m', 'from etcd')
    expect(first, first.err).toMatchObject({ code: 0 })
    expect(first.out).toContain('as release 1')
    expect((await to.run('import', etcdAt('shop/'), 'shop/gateway')).out).toContain('0 written, 1 unchanged')
    await etcd.put('shop/log/level', 'loud')
    const bad = await to.run('import', etcdAt('shop/'), 'shop/gateway')
    expect(bad.code).toBe(1)
    expect(bad.err).toContain('log.level')
    expect(await to.run('export', 'shop/gateway', redisAt('out:'))).toMatchObject({ code: 0 })
    expect(await keysIn('out:')).toEqual({ 'server:port': '8081', 'log:level': 'info', rules: '[{"id":"r1"}]' })
  })

  test.skipIf(withoutZookeeper !== undefined)(
    `from a file to ZooKeeper, over TLS, to a bucket of S3 and back, it is the same${skipped(withoutZookeeper)}`,
    async () => {
      const [zookeeper, bucket] = await Promise.all([Zookeeper.start({ tls: 'own' }), S3Peer.listen()])
      onTestFinished(async () => {
        await zookeeper.close()
        await bucket.web.close()
      })
      const config = { port: 80, log: { level: 'info', tags: ['a', 'b'] }, name: 'ä €' }
      const cwd = await folder({ 'a.json': JSON.stringify(config) })
      const { accessKeyId, secretAccessKey } = bucket.keys
      const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }
      const s3 = `s3://shop/app/?endpoint=${encodeURIComponent(bucket.web.proxy.url)}&region=${bucket.region}`
      const ca = encodeURIComponent(zookeeper.tls?.server.cert ?? '')
      const zk = `zookeeper://127.0.0.1:${zookeeper.servers[0]?.securePort}/app/?ca=${ca}`
      for (const words of [
        ['import', 'a.json', zk],
        ['import', zk, s3],
        ['export', s3, 'b.json'],
      ]) {
        const ran = await midflight(words, { cwd, env })
        expect(ran, ran.err).toMatchObject({ code: 0 })
      }
      expect([...bucket.objects.keys()].toSorted()).toEqual(['app/log/level', 'app/log/tags', 'app/name', 'app/port'])
      expect(JSON.parse(await readFile(join(cwd, 'b.json'), 'utf8'))).toEqual(config)
    },
  )

  test.skipIf(withoutKafka !== undefined)(
    `to a compacted topic of Kafka and back, and that nobody could be guarded against is said${skipped(withoutKafka)}`,
    async () => {
      const broker = await startBroker()
      const hand = new Hand(broker)
      onTestFinished(async () => {
        await hand.close()
        await broker.close()
      })
      const cwd = await folder({ 'a.json': '{"a":1,"b":{"c":"x"}}' })
      const topic = `kafka://${broker.bootstrap}/${await hand.topic()}/app/`
      const first = await midflight(['import', 'a.json', topic], { cwd })
      expect(first, first.err).toMatchObject({ code: 0 })
      expect(first.out).toMatch(/2 written, 0 unchanged\n.*would not have been noticed: Kafka has no compare-and-set/)
      expect((await midflight(['import', 'a.json', topic], { cwd })).out).toContain('0 written, 2 unchanged')
      expect(await midflight(['export', topic, 'b.json'], { cwd })).toMatchObject({ code: 0 })
      expect(await readFile(join(cwd, 'b.json'), 'utf8')).toBe('{"a":1,"b":{"c":"x"}}')
    },
    120_000,
  )

  const noScript = spawnSync('script', ['--version']).status === 0 ? undefined : 'there is no script(1)'
  test.skipIf(noScript !== undefined)(
    `on a terminal a bar shows how far it is with many keys, and is gone at the end${skipped(noScript)}`,
    async () => {
      const cwd = await folder({
        'a.json': JSON.stringify(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, i]))),
      })
      const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
      const command = `'${process.execPath}' --conditions=midflight-source '${main}' import a.json '${redisAt('bar:')}'`
      const env = { ...process.env, TERM: 'xterm' }
      const ran = await finished(spawn('script', ['-qec', command, '/dev/null'], { cwd, env, stdio: 'pipe' }))
      expect(ran.out).toMatch(/█.* of 500 keys/)
      const after = ran.out.slice(ran.out.lastIndexOf('500 of 500 keys'))
      expect(after.slice(after.indexOf('\r\u001b[K'))).toContain('500 written')
    },
  )

  test('what is not there, or is empty, removes nothing (I11)', async () => {
    const cwd = await folder({ 'empty.json': '{}' })
    await redis.admin.set('kept:a', '1')
    for (const from of [etcdAt('nothing/'), join(cwd, 'empty.json')]) {
      const ran = await midflight(['import', from, redisAt('kept:'), '--delete'])
      expect(ran.code).toBe(1)
      expect(await keysIn('kept:')).toEqual({ a: '1' })
    }
  })

  test('a step that a store would read as two is refused by its path, and nothing is written', async () => {
    const cwd = await folder({ 'a.json': '{"a":{"x:y":1},"b":2}' })
    const ran = await midflight(['import', join(cwd, 'a.json'), redisAt('steps:')])
    expect(ran.code).toBe(1)
    expect(ran.err).toContain('it cannot become a key')
    expect(await keysIn('steps:')).toEqual({})
  })

  test('Ctrl-C says how far it went, and the next one goes on from there', async () => {
    const entries = Array.from({ length: 2_000 }, (_, i) => [`stop/${i}`, 'x'.repeat(200)] as const)
    for (let i = 0; i < entries.length; i += 100) await etcd.putAll(Object.fromEntries(entries.slice(i, i + 100)))
    redis.proxy.delayMs = 20
    onTestFinished(() => void (redis.proxy.delayMs = 0))
    const child = spawned(['import', etcdAt('stop/'), redisAt('stop:')])
    const ran = finished(child)
    await expect.poll(async () => (await redis.admin.keys('stop:*')).length, { timeout: 30_000 }).toBeGreaterThan(50)
    child.kill('SIGINT')
    const { code, err } = await ran
    const [, said = ''] = /stopped: .* ([\d,]+) written/.exec(err) ?? []
    const there = (await redis.admin.keys('stop:*')).length
    expect({ code, said: Number(said.replace(',', '')) }).toEqual({ code: 130, said: there })
    expect(there).toBeLessThan(2_000)
    redis.proxy.delayMs = 0
    expect(await brought('import', etcdAt('stop/'), redisAt('stop:'))).toMatchObject({
      unchanged: there,
      written: 2_000 - there,
    })
  })
})

describe.skipIf(skip !== undefined)(`mirror, on real servers${skipped(skip)}`, () => {
  function mirroring(from: string, to: string, ...more: string[]) {
    const child = spawned(['mirror', from, to, '--json', ...more])
    const said = lines(child)
    const ran = finished(child)
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ran
    })
    const stop = async () => {
      child.kill('SIGTERM')
      return await ran
    }
    return { child, said, stop }
  }
  const reaches = (prefix: string, wanted: Record<string, string>) =>
    expect.poll(() => keysIn(prefix), { timeout: 30_000, interval: 50 }).toEqual(wanted)

  test('follows changes and removals that are seen, and leaves what it never brought', async () => {
    await etcd.putAll({ 'm1/a': '1', 'm1/b/c': 'two' })
    await redis.admin.set('m1:own', 'kept')
    const { stop } = mirroring(etcdAt('m1/'), redisAt('m1:'))
    await reaches('m1:', { a: '1', 'b:c': 'two', own: 'kept' })
    await etcd.putAll({ 'm1/a': '2', 'm1/d': 'x' })
    await etcd.remove('m1/b/c')
    await reaches('m1:', { a: '2', d: 'x', own: 'kept' })
    await etcd.removeBelow('m1/')
    await reaches('m1:', { own: 'kept' })
    const { code, err } = await stop()
    expect(code).toBe(0)
    expect(err).toContain('stopped: ')
  })

  test('with its source’s server gone for a while it keeps, says so, and catches up', async () => {
    const source = await EtcdServer.start()
    onTestFinished(() => source.close())
    await source.putAll({ 'm2/a': '1', 'm2/b': '1' })
    const { stop } = mirroring(`etcd://127.0.0.1:${source.port}/m2/`, redisAt('m2:'))
    await reaches('m2:', { a: '1', b: '1' })
    await source.stop('SIGKILL')
    await source.start()
    await source.put('m2/a', '2')
    await source.remove('m2/b')
    await reaches('m2:', { a: '2' })
    expect((await stop()).err).toMatch(/cannot be followed: .*(\n.*)*is followed again/)
  })

  test('with its target’s server gone for a while it tries again, and the newest counts', async () => {
    const target = await RedisServer.start()
    onTestFinished(() => target.close())
    await etcd.putAll({ 'm3/a': '1', 'm3/gone': '1' })
    const { child, stop } = mirroring(etcdAt('m3/'), `redis://${new URL(target.url).host}/0/m3:`)
    let err = ''
    child.stderr?.on('data', (said: string) => (err += said))
    const there = async () => [await target.admin.get('m3:a'), await target.admin.get('m3:gone')]
    await expect.poll(there, { timeout: 30_000 }).toEqual(['1', '1'])
    await target.stop()
    for (const value of ['2', '3', '4']) await etcd.put('m3/a', value)
    await etcd.remove('m3/gone')
    await expect.poll(() => err, { timeout: 30_000 }).toContain('it is tried again')
    await target.start()
    await expect.poll(there, { timeout: 30_000 }).toEqual(['4', null])
    await expect.poll(() => err, { timeout: 30_000 }).toContain('is up to date again')
    expect((await stop()).err).not.toContain('not what came after it')
  })

  test('stopped while its target is away, it does not say that what came last is there', async () => {
    const target = await RedisServer.start()
    onTestFinished(() => target.close())
    await etcd.put('m5/a', '1')
    const { child, stop } = mirroring(etcdAt('m5/'), `redis://${new URL(target.url).host}/0/m5:`)
    await expect.poll(() => target.admin.get('m5:a'), { timeout: 30_000 }).toBe('1')
    const triesAgain = new Promise<void>((resolve) => {
      child.stderr?.on('data', (said: string) => said.includes('it is tried again') && resolve())
    })
    await target.stop()
    await etcd.put('m5/a', '2')
    await triesAgain
    expect((await stop()).err).toMatch(/stopped: .* holds what was brought by [\d:]+, and not what came after it\n$/)
  })

  test('two that face each other come to rest: what is the same is not written', async () => {
    await etcd.put('m4/a', '1')
    const there = mirroring(etcdAt('m4/'), redisAt('m4:'))
    await reaches('m4:', { a: '1' })
    const back = mirroring(redisAt('m4:'), etcdAt('m4/'))
    await redis.admin.config('SET', 'notify-keyspace-events', 'KEA')
    await etcd.put('m4/a', '2')
    await reaches('m4:', { a: '2' })
    await etcd.put('m4/b', 'last')
    await reaches('m4:', { a: '2', b: 'last' })
    const [first, second] = [await there.stop(), await back.stop()]
    const written = (out: string) => out.split('\n').filter((line) => line !== '').length
    expect(written(first.out)).toBeLessThanOrEqual(3)
    expect(written(second.out)).toBe(0)
  })

  test('a config of the control plane is followed to a bucket of NATS, release by release', async () => {
    const nats = await NatsServer.start()
    onTestFinished(() => nats.close())
    const to = await made()
    expect(await to.run('publish', 'shop/gateway', 'gateway.yaml', '--yes', '--no-wait')).toMatchObject({ code: 0 })
    const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, NATS_PASSWORD: 'right' }
    const child = spawned(['mirror', 'shop/gateway', `nats://admin@${new URL(nats.url).host}/config/gw.`], { env })
    const ran = finished(child)
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ran
    })
    const level = async () => (await nats.admin.kv.get('gw.log.level'))?.string()
    await expect.poll(level, { timeout: 30_000 }).toBe('info')
    await writeFile(join(to.cwd, 'merge.json'), JSON.stringify({ log: { level: 'debug' } }))
    const second = await to.run('publish', 'shop/gateway', '--merge-patch', 'merge.json', '--yes', '--no-wait')
    expect(second, second.err).toMatchObject({ code: 0 })
    await expect.poll(level, { timeout: 30_000 }).toBe('debug')
  })
})
