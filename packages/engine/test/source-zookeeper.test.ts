import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { inspect, promisify } from 'node:util'
import zookeeperClient from 'node-zookeeper-client'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { zookeeper, type ZookeeperOptions } from '../src/sources/zookeeper.ts'
import type { TlsOptions } from '../src/credentials.ts'
import { accessOf, connected, isPath } from '../src/sources/zookeeper/access.ts'
import { Tree } from '../src/sources/zookeeper/tree.ts'
import { engineOn } from './source-engine-rig.ts'
import { addressOf, asOld, done, proxied, withoutZookeeper, Zookeeper } from './source-zookeeper-rig.ts'

/** Far beyond any test: what is seen is told by a watch. */
const never = 3_600_000
const soon = () => AbortSignal.timeout(20_000)
const waited = { timeout: 20_000, interval: 5 }

let shared: Promise<Zookeeper> | undefined
let places = 0

afterAll(async () => (await shared)?.close())

/** A place of its own on the one server, behind a proxy. */
async function serving(isOld = false) {
  const server = await (shared ??= Zookeeper.start())
  const first = server.servers[0] as (typeof server.servers)[0]
  const proxy = await proxied(first)
  const place = `/own${++places}`
  const old = isOld ? await asOld(first) : undefined
  onTestFinished(async () => {
    await proxy.close()
    old?.close()
    await server.removeAll(place)
  })
  return {
    server: first,
    admin: server,
    proxy,
    place,
    cutOff() {
      proxy.refuse = true
      proxy.reset()
    },
    write: (path: string, value: string | null) => server.write(`${place}${path}`, value),
    remove: (path: string) => server.removeAll(`${place}${path}`),
    ...using(`${old?.address ?? addressOf(proxy)}${place}`),
  }
}

function using(servers: string) {
  const source = (own: Partial<ZookeeperOptions>) => {
    const made = zookeeper({
      ...{
        servers,
        pollMs: never,
        pingMs: never,
        timeoutMs: 5_000,
        answerMs: 1_000,
        retry: { firstMs: 20, maxMs: 100 },
        ...own,
      },
    })
    onTestFinished(() => made.close())
    return made
  }
  const engine = async (own: Partial<ZookeeperOptions>) => {
    const made = await engineOn(source(own))
    const { running } = made
    const lived: unknown[] = []
    running.events.subscribe((event) => {
      if (event.kind === 'reload' && event.outcome.kind === 'committed') lived.push(running.live)
    })
    return { ...made, lived }
  }
  return { source, engine }
}

/** The second tells of one znode at a time, and once. */
const servers = [
  ['', false],
  [', by a server of before 3.6', true],
] as const

const why = withoutZookeeper === undefined ? '' : ` (skipped: ${withoutZookeeper})`

describe.skipIf(withoutZookeeper !== undefined)(`zookeeper()${why}`, { timeout: 60_000 }, () => {
  test.each(servers)(
    'by watches alone: values, children that are new, nested, gone and there again%s',
    async (_which, isOld) => {
      const { write, remove, engine } = await serving(isOld)
      await write('/app/a', '1')
      const { lives } = await engine({ prefix: '/app/' })
      for (let i = 2; i <= 4; i++) {
        await write('/app/a', String(i))
        await lives({ a: i })
      }
      await write('/app/b/c/d', 'x')
      await lives({ a: 4, b: { c: { d: 'x' } } })
      await write('/app/b/c/e', '{"f":[1]}')
      await lives({ a: 4, b: { c: { d: 'x', e: { f: [1] } } } })
      await remove('/app/b/c/d')
      await lives({ a: 4, b: { c: { e: { f: [1] } } } })
      await remove('/app/b')
      await lives({ a: 4 })
      await write('/app/b/c/d', 'y')
      await lives({ a: 4, b: { c: { d: 'y' } } })
      await write('/apple/a', '1')
      await remove('/app')
      await lives({})
      await write('/app/a', '5')
      await lives({ a: 5 })
    },
  )

  test('one znode, that it is deleted, and that it is there again', async () => {
    const { write, remove, engine } = await serving()
    await write('/doc.yaml', 'a: 1')
    const { lives } = await engine({ key: '/doc.yaml' })
    await write('/doc.yaml/below', 'is none of it')
    await write('/doc.yaml', 'a: 2')
    await lives({ a: 2 })
    await remove('/doc.yaml')
    await lives({})
    await write('/doc.yaml', 'a: 3')
    await lives({ a: 3 })
    await write('/doc.yaml', 'a: 4')
    await lives({ a: 4 })
  })

  test.each(servers)(
    'of hundreds of changes at once, with subtrees that come and go, none is lost (Z5)%s',
    async (_which, isOld) => {
      const { write, remove, engine } = await serving(isOld)
      await write('/app/z', '0')
      const { lives, running } = await engine({ prefix: '/app/' })
      let seed = 7
      const random = (below: number) => (seed = (seed * 48_271) % 0x7f_ff_ff_ff) % below
      const wanted = new Map<string, number>()
      /** Each has its own part, so that they do not get into each other's way. */
      const changing = async (part: string) => {
        for (let i = 0; i < 100; i++) {
          const path = `${part}/n${random(3)}/leaf${random(3)}`
          if (random(3) === 0) {
            const above = path.slice(0, path.lastIndexOf('/'))
            await remove(`/app/${above}`)
            for (const key of wanted.keys()) if (key.startsWith(`${above}/`)) wanted.delete(key)
          } else {
            await write(`/app/${path}`, String(i))
            wanted.set(path, i)
          }
          if (random(10) === 0) void running.reload()
        }
      }
      await Promise.all(['p', 'q', 'r', 's'].map(changing))
      await write('/app/z', '1')
      const tree: Record<string, Record<string, Record<string, number>>> = {}
      for (const [path, value] of wanted) {
        const [part, node, leaf] = path.split('/') as [string, string, string]
        ;((tree[part] ??= {})[node] ??= {})[leaf] = value
      }
      await lives({ z: 1, ...tree })
    },
  )

  test.each(servers)('what is written in one transaction comes as one change%s', async (_which, isOld) => {
    const { write, engine, admin, place } = await serving(isOld)
    await write('/app/a', '0')
    await write('/app/b/c', '0')
    const { lives, lived } = await engine({ prefix: '/app/' })
    const client = await admin.admin()
    for (let i = 1; i <= 50; i++) {
      const both = client.transaction().setData(`${place}/app/a`, Buffer.from(String(i)))
      both.setData(`${place}/app/b/c`, Buffer.from(String(i)))
      await done((end) => both.commit(end))
    }
    await lives({ a: 50, b: { c: 50 } })
    const torn = lived.filter((config) => {
      const { a, b } = config as { a: number; b: { c: number } }
      return a !== b.c
    })
    expect(torn).toEqual([])
  })

  test.each(servers)(
    'a value that is replaced by a subtree in one transaction is followed as the other that it is%s',
    async (_which, isOld) => {
      const { write, engine, admin, place } = await serving(isOld)
      await write('/app/a', '1')
      const { lives } = await engine({ prefix: '/app/' })
      const client = await admin.admin()
      const at = `${place}/app/a`
      const swap = client.transaction().remove(at).create(at).create(`${at}/b`, Buffer.from('2'))
      await done((end) => swap.commit(end))
      await lives({ a: { b: 2 } })
      await write('/app/a/c', '3')
      await lives({ a: { b: 2, c: 3 } })
      await write('/app/a/b', '4')
      await lives({ a: { b: 4, c: 3 } })
    },
  )

  test('after the first look only what changed is told, however many znodes there are', async () => {
    const { write, remove, proxy, place } = await serving()
    for (const name of ['a', 'b', 'c', 'd/e', 'd/f']) await write(`/app/${name}`, '1')
    const session = await connected(accessOf({ servers: addressOf(proxy) }), soon())
    expect(await session.watchBelow(`${place}/app`)).toBe(true)
    const tree = new Tree({ path: `${place}/app`, chroot: place, isKey: false, maxBytes: 10 }, session, true)
    onTestFinished(() => tree.close())
    const told = async () => {
      await tree.heard()
      await tree.settled()
      const news = tree.news()
      if (news.kind === 'whole') return [news.kind, [...news.entries.keys()].sort(), news.emptied]
      if (news.kind !== 'changes') return [news.kind]
      return [
        news.kind,
        news.changes.map(({ key, value }) => `${key}=${value && Buffer.from(value).toString()}`).sort(),
      ]
    }
    expect(await told()).toEqual(['whole', ['/app/a', '/app/b', '/app/c', '/app/d/e', '/app/d/f'], false])
    await write('/app/b', '2')
    expect(await told()).toEqual(['changes', ['/app/b=2']])
    await write('/app/c', '3')
    await remove('/app/d')
    await write('/app/d/e', '4')
    expect((await told())[1]).toEqual(expect.arrayContaining(['/app/c=3', '/app/d/e=4', '/app/d/f=undefined']))
    expect(await told()).toEqual(['changes', []])
    // What was refused is told whole, as nothing but the change of it would be told otherwise.
    await write('/app/c', 'x'.repeat(20))
    expect(await told()).toEqual(['unusable'])
    await write('/app/c', '3')
    expect(await told()).toEqual(['whole', ['/app/a', '/app/b', '/app/c', '/app/d/e'], false])
    await remove('/app')
    expect(await told()).toEqual(['whole', [], true])
  })

  test('a value that changes all the time holds up no other', async () => {
    const { write, engine } = await serving()
    await write('/app/a', '0')
    await write('/app/b', '0')
    const { running } = await engine({ prefix: '/app/' })
    let isOver = false
    const writing = Promise.all(
      [1, 2, 3, 4].map(async () => {
        for (let i = 0; !isOver; i++) await write('/app/a', String(i))
      }),
    )
    try {
      await write('/app/b', '1')
      await expect.poll(() => running.live, waited).toMatchObject({ b: 1 })
    } finally {
      isOver = true
      await writing
    }
  })

  test('an ephemeral znode is removed when the session that made it ends', async () => {
    const { write, engine, server, place } = await serving()
    await write('/app/a', '1')
    const { lives } = await engine({ prefix: '/app/' })
    const other = zookeeperClient.createClient(`127.0.0.1:${server.port}`)
    const connected = once(other, 'connected')
    other.connect()
    await connected
    const { EPHEMERAL } = zookeeperClient.CreateMode
    await done((end) => other.create(`${place}/app/here`, Buffer.from('true'), EPHEMERAL, end))
    await lives({ a: 1, here: true })
    other.close()
    await lives({ a: 1 })
  })

  test('what happened while the session expired comes as exactly the difference (F37)', async () => {
    // Sessions of at most a second, so that one ends while nothing passes.
    const own = await Zookeeper.start({ tickMs: 50 })
    onTestFinished(() => own.close())
    const [server] = own.servers
    const proxy = await proxied(server as NonNullable<typeof server>)
    onTestFinished(() => proxy.close())
    for (const key of ['a', 'b', 'c']) await own.write(`/app/${key}`, '1')
    const { lives, lived } = await using(addressOf(proxy)).engine({ prefix: '/app/', timeoutMs: never })
    const connections = async () => ((await server?.ask('cons')) ?? '').match(/sid=/g)?.length
    const before = await connections()
    proxy.swallow = true
    await own.write('/app/a', '2')
    await own.remove('/app/b')
    await own.write('/app/d', '1')
    await expect.poll(connections, waited).toBe((before ?? 0) - 1)
    expect(lived).toEqual([])
    proxy.swallow = false
    proxy.reset()
    await lives({ a: 2, c: 1, d: 1 })
    expect(lived).toHaveLength(1)
    await own.write('/app/c', '2')
    await lives({ a: 2, c: 2, d: 1 })
  })

  test('what was below a znode that is still there was deleted, also where nobody saw it', async () => {
    const { write, remove, engine, cutOff, proxy, place } = await serving()
    await write('/app/a', '1')
    await write('/app/b', '1')
    const { lives, running, says } = await engine({ prefix: '/app/' })
    cutOff()
    await remove('/app/a')
    await remove('/app/b')
    proxy.refuse = false
    await lives({})
    await write('/app/a', '2')
    await lives({ a: 2 })
    cutOff()
    await remove('/app')
    await write('/app', null)
    proxy.refuse = false
    // As after a loss: it is another.
    await says(
      `/app/ has no keys below it at ${addressOf(proxy)}${place}; what was never seen to be removed is not taken`,
    )
    expect(running.live).toEqual({ a: 2 })
  })

  test('a znode that is too large is not read; source and key are named, and the old stays', async () => {
    const { write, engine, source } = await serving()
    await write('/app/a', '1')
    const { running, lives, says } = await engine({ prefix: '/app/', maxBytes: 500_000 })
    await write('/app/big', 'x'.repeat(1_000_000))
    await says('zookeeper:/app/ /app/big is 1000000 bytes, with all others 1000001; want at most 500000')
    expect(running.live).toEqual({ a: 1 })
    await write('/app/big', '2')
    await lives({ a: 1, big: 2 })
    // Together with the others.
    const long = 'x'.repeat(300_000)
    await write('/app/big', long)
    await lives({ a: 1, big: long })
    await write('/app/other', long)
    await says('/app/other is 300000 bytes, with all others 600001; want at most 500000')
    await expect(source({ key: '/app/other', maxBytes: 1_000 }).load(soon())).rejects.toThrow('want at most 1000')
    await write('/app/big', '3')
    await lives({ a: 1, big: 3, other: long })
  })

  test('znodes without a value are there for those below them; one with both is refused by name', async () => {
    const { write, engine } = await serving()
    await write('/app/empty', '')
    await write('/app/none', null)
    await write('/app/a/b', '1')
    const { running, says } = await engine({ prefix: '/app/' })
    expect(running.live).toEqual({ a: { b: 1 } })
    await write('/app/a', '10.0.0.1')
    await says('goes below the key /app/a, which has a value')
  })

  test('all of a server can be read; what the server keeps of itself is passed over', async () => {
    const { server, write } = await serving()
    await write('/app/a', '1')
    const { engine } = using(`127.0.0.1:${server.port}`)
    const { running } = await engine({ prefix: '/' })
    expect(Object.keys(running.live)).not.toContain('zookeeper')
    expect(Object.keys(running.live).some((key) => key.startsWith('own'))).toBe(true)
  })

  test.each(servers)(
    'what may not be read is named, without the password, and is read with the right one%s',
    async (_which, isOld) => {
      const { write, source, engine, admin, place } = await serving(isOld)
      await write('/app/a', '1')
      await write('/app/secret', '1')
      await admin.protect(`${place}/app/secret`, 'reader:s3cret')
      const wrong = source({ prefix: '/app/', user: 'reader', password: 'wr0ng' })
      const error = await wrong.load(soon()).catch((thrown: unknown) => thrown)
      const shown = inspect([error, wrong.following(), wrong.name], { depth: 9, showHidden: true })
      expect(shown).toContain(`may not read ${place}/app/secret`)
      expect(shown).not.toContain('wr0ng')
      await expect(source({ key: '/app/secret' }).load(soon())).rejects.toThrow('may not read')
      const { lives } = await engine({ prefix: '/app/', user: 'reader', password: () => 's3cret' })
      await write('/app/secret', '2')
      await lives({ a: 1, secret: 2 })
    },
  )

  test('a change that it may not see is no loss: all is read anew now and then', async () => {
    const { write, engine, admin, place } = await serving()
    await write('/app/a', '1')
    const { running, lives, says } = await engine({ prefix: '/app/', pollMs: 200 })
    // The server takes the watch and tells nothing.
    await admin.protect(`${place}/app/a`, 'reader:s3cret')
    await write('/app/a', '2')
    await says(`may not read ${place}/app/a`)
    expect(running.live).toEqual({ a: 1 })
    await admin.protect(`${place}/app/a`)
    await lives({ a: 2 })
    await write('/app/a', '3')
    await lives({ a: 3 })
  })

  test('reloads that others ask for look through the session that is there', async () => {
    const { write, engine, proxy } = await serving()
    await write('/app/a', '0')
    const { running } = await engine({ prefix: '/app/' })
    for (let i = 1; i <= 20; i++) {
      await write('/app/a', String(i))
      await running.reload()
      expect(running.live).toEqual({ a: i })
    }
    expect(proxy.accepted).toBe(1)
  })

  test('close ends the session, and the server keeps no watch', async () => {
    const { write, source, server, proxy } = await serving()
    await write('/app/a', '1')
    const connections = async () => (await server.ask('cons')).match(/sid=/g)?.length
    const before = await connections()
    const made = source({ prefix: '/app/' })
    await made.load(soon())
    expect(await connections()).toBe((before ?? 0) + 1)
    await made.close()
    await expect.poll(connections, waited).toBe(before)
    expect(proxy.accepted).toBe(1)
  })

  test('a server of the list that is not there is passed over', async () => {
    const { write, proxy, place } = await serving()
    await write('/doc', '{"a":1}')
    const gone = createServer().listen(0, '127.0.0.1')
    await once(gone, 'listening')
    const { port } = gone.address() as AddressInfo
    gone.close()
    const { source } = using(`127.0.0.1:${port},${addressOf(proxy)}${place}`)
    for (let i = 0; i < 5; i++) {
      expect((await source({ key: '/doc' }).load(soon())).config).toEqual({ a: 1 })
    }
    const alone = using(`127.0.0.1:${port}`).source({ key: '/doc' })
    await expect(alone.load(soon())).rejects.toThrow(`connect ECONNREFUSED 127.0.0.1:${port}`)
  })

  test('over TLS, with a certificate of its own, it is followed; others are refused', async () => {
    const mutual = await Zookeeper.start({ tls: 'mutual' })
    onTestFinished(() => mutual.close())
    await mutual.write('/app/a', '1')
    const [ca, cert, key] = [
      mutual.tls?.server.pem ?? '',
      mutual.tls?.client.pem ?? '',
      mutual.tls?.client.keyPem ?? '',
    ]
    const { engine, source } = using(`127.0.0.1:${mutual.servers[0]?.securePort}`)
    const { lives } = await engine({ prefix: '/app/', tls: { ca, cert, key } })
    await mutual.write('/app/a', '2')
    await mutual.write('/app/b', 'x'.repeat(500_000))
    await lives({ a: 2, b: 'x'.repeat(500_000) })
    const refused = (tls?: TlsOptions) => source({ key: '/app/a', ...(tls && { tls }) }).load(soon())
    await expect(refused({ ca })).rejects.toMatchObject({ transient: false })
    await expect(refused({ cert, key })).rejects.toMatchObject({ transient: false })
    await expect(refused({ ca: cert, cert, key })).rejects.toMatchObject({ transient: false })
    await expect(refused()).rejects.toThrow('the server has ended the connection')
    // Such a server answers a login at once, and opens a session when all have agreed.
    await mutual.protect('/app/a', 'reader:s3cret')
    for (let i = 0; i < 20; i++) {
      const one = source({ key: '/app/a', tls: { ca, cert, key }, user: 'reader', password: 's3cret' })
      expect((await one.load(soon())).config).toBe(2)
      await one.close()
    }
  })

  test('a server that wants another login is told as such, lasting; with the one that it wants all is read', async () => {
    const lines = ['enforce.auth.enabled=true', 'enforce.auth.schemes=digest']
    const own = await Zookeeper.start({ lines })
    onTestFinished(() => own.close())
    await own.write('/app/a', '1')
    const { source } = using(`127.0.0.1:${own.servers[0]?.port}`)
    for (const at of [{ key: '/app/a' }, { prefix: '/app/' }]) {
      const error = await source(at)
        .load(soon())
        .catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ transient: false })
      expect(String(error)).toContain('wants a login that it was not given (-124)')
    }
    const one = source({ prefix: '/app/', user: 'me', password: 's3cret' })
    expect((await one.load(soon())).config).toEqual({ a: 1 })
  })

  test('members that open sessions without the others give what was written last', async () => {
    const three = await Zookeeper.start({ members: 3, lines: ['localSessionsEnabled=true'] })
    onTestFinished(() => three.close())
    const all = three.servers.map(({ port }) => `127.0.0.1:${port}`)
    await three.write('/app/a', '0')
    const { lives, running } = await using(all[0] ?? '').engine({ prefix: '/app/' })
    for (let i = 1; i <= 20; i++) {
      await three.write('/app/a', String(i))
      const { source } = using(all[i % 3] ?? '')
      expect((await source({ prefix: '/app/' }).load(soon())).config).toEqual({ a: i })
    }
    await lives({ a: 20 })
    await running.reload()
    expect(running.live).toEqual({ a: 20 })
  })

  test.each(servers)('ten thousand znodes below one are read, all change, and all go%s', async (_which, isOld) => {
    const { server, place, write, engine } = await serving(isOld)
    await write('/app/z', '1')
    const { lives } = await engine({ prefix: '/app/' })
    const session = await connected(accessOf({ servers: `127.0.0.1:${server.port}` }), soon())
    onTestFinished(() => session.close())
    const paths = Array.from({ length: 10_000 }, (_, i) => `${place}/app/n${i}`)
    const all = async (work: (path: string) => Promise<unknown>) => {
      for (let i = 0; i < paths.length; i += 500) await Promise.all(paths.slice(i, i + 500).map(work))
    }
    const expected = (value: number) => ({
      z: 1,
      ...Object.fromEntries(paths.map((path) => [path.slice(place.length + 5), value])),
    })
    await all((path) => session.create(path, Buffer.from('1')))
    await lives(expected(1))
    await all((path) => session.set(path, Buffer.from('2'), -1))
    await lives(expected(2))
    await all((path) => session.remove(path, -1))
    await lives({ z: 1 })
  })

  test('what is taken for a path is what a server takes', async () => {
    const { server, place } = await serving()
    const session = await connected(accessOf({ servers: `127.0.0.1:${server.port}` }), soon())
    onTestFinished(() => session.close())
    await session.create(place)
    const edges = [
      0x00, 0x01, 0x1f, 0x20, 0x7e, 0x7f, 0x9f, 0xa0, 0x2028, 0xd7ff, 0xe000, 0xf8ff, 0xf900, 0xfeff, 0xffef,
    ]
    const names = [...edges, 0xfff0, 0xffff, 0x1_0000, 0x1_f600, 0x10_ffff].map(
      (code) => `a${String.fromCodePoint(code)}b`,
    )
    for (const name of [...names, '.', '..', '...', '.a', 'a..', 'zookeeper', '%2f', '*', 'ä']) {
      const path = `${place}/${name}`
      const kind = await session.create(path).then(
        (made) => made.kind,
        () => 'refused',
      )
      expect([name, kind]).toEqual([name, isPath(path) ? 'done' : 'refused'])
    }
  })

  test('whoever has closed all ends by itself, also amid a load (F30)', async () => {
    const { write, proxy, place } = await serving()
    await write('/app/a', '1')
    const module = (name: string) => JSON.stringify(new URL(`../src/${name}.ts`, import.meta.url).href)
    const program = `
      import { zookeeper } from ${module('sources/zookeeper')}
      import { zookeeperWriter } from ${module('writers/zookeeper')}
      const servers = ${JSON.stringify(`${addressOf(proxy)}${place}`)}
      const signal = AbortSignal.timeout(20_000)
      const read = zookeeper({ servers, prefix: '/app/', timeoutMs: 3_600_000 })
      console.log(JSON.stringify((await read.load(signal)).config))
      const writer = zookeeperWriter({ servers, timeoutMs: 3_600_000 })
      await writer.write('/app/b', Buffer.from('2'), 'any', signal)
      const amid = zookeeper({ servers, prefix: '/app/', timeoutMs: 3_600_000, password: () => new Promise(() => {}), user: 'me' })
      amid.load(signal).catch(() => {})
      for (const one of [amid, read, writer]) await one.close()
      console.log('closed')`
    const args = ['--conditions=midflight-source', '--input-type=module', '-e', program]
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 })
    expect(stdout).toBe('{"a":1}\nclosed\n')
  })

  test('cut after any byte of what it reads, nothing of it is taken for the whole', async () => {
    const { write, source, proxy } = await serving()
    const whole: Record<string, string> = {}
    for (const key of ['a', 'b', 'c', 'd']) {
      whole[key] = key.repeat(100)
      await write(`/app/${key}`, key.repeat(100))
    }
    let cuts = 0
    for (let bytes = 1; bytes < 1_000; bytes += 37) {
      proxy.cutAfterBytes = bytes
      const one = source({ prefix: '/app/' })
      const configs: unknown[] = []
      const loaded = async () => {
        const config = await one.load(soon()).then(
          (document) => document.config,
          () => undefined,
        )
        if (config) configs.push(config)
        else cuts++
        return configs.length
      }
      await expect.poll(loaded, waited).toBe(1)
      expect(configs).toEqual([whole])
      await one.close()
    }
    proxy.cutAfterBytes = Infinity
    expect(cuts).toBeGreaterThan(10)
  })

  test('a leader that was killed, and a quorum that is lost and comes back, lose nothing (F35, F36)', async () => {
    const three = await Zookeeper.start({ members: 3 })
    onTestFinished(() => three.close())
    await three.write('/app/a', '1')
    await three.write('/app/b', '1')
    const all = three.servers.map(({ port }) => `127.0.0.1:${port}`).join(',')
    const { lives, running, says } = await using(all).engine({ prefix: '/app/' })
    const modes = await Promise.all(three.servers.map((server) => server.ask('srvr')))
    const leader = three.servers.find((_, i) => modes[i]?.includes('Mode: leader'))
    const [other] = three.servers.filter((server) => server !== leader)
    await leader?.stop()
    // The two others may still be choosing.
    await three.retried(() => three.write('/app/a', '2'))
    await lives({ a: 2, b: 1 })
    await other?.stop()
    await says('cannot be followed')
    expect((await running.reload()).kind).toBe('unchanged')
    await Promise.all([leader?.start(), other?.start()])
    await three.retried(() => three.remove('/app/b'))
    await lives({ a: 2 })
  }, 180_000)
})

test('options that cannot be meant are refused at the call, without a password', () => {
  const servers = 'zk1,zk2:2181/chroot'
  expect(() => zookeeper({ servers })).toThrow('want one of key and prefix')
  expect(() => zookeeper({ servers, key: '/a', prefix: '/b/' })).toThrow('want one of key and prefix')
  for (const key of ['a', '/', '/a/', '//a', '/a//b', '/./a', '/a/..', '', '/a\0', '/\u{1f600}']) {
    expect(() => zookeeper({ servers, key })).toThrow('is no path of ZooKeeper')
  }
  expect(() => zookeeper({ servers, prefix: '/app' })).toThrow('want it to end in /')
  expect(() => zookeeper({ servers, prefix: 'app/' })).toThrow('is no path of ZooKeeper')
  expect(() => zookeeper({ servers, prefix: '' })).toThrow('is no path of ZooKeeper')
  expect(() => zookeeper({ servers: 'zk1/a//b', key: '/a' })).toThrow('is no path of ZooKeeper')
  expect(() => zookeeper({ servers, key: '/a', user: 'me' })).toThrow('want user and password')
  expect(() => zookeeper({ servers, key: '/a', user: 'm:e', password: 'x' })).toThrow('want user and password')
  const broken = { servers, key: '/a', tls: { cert: 's3cret', key: 's3cret' } }
  expect(() => zookeeper(broken)).toThrow(/^zookeeper\(\): tls cannot be used: (?!.*s3cret)/)
  expect(() => zookeeper({ servers, key: '/a', pingMs: 1 })).toThrow('pingMs is 1; want 10 to 3600000')
  for (const wrong of ['', 'zk1,', 'zk1:99999', 'me:s3cret@zk1:2181', 'http://s3cret']) {
    expect(() => zookeeper({ servers: wrong, key: '/a' })).toThrow(/^zookeeper\(\): want servers as (?!.*s3cret)/)
  }
  for (const right of ['[::1]:2181', '10.0.0.1', 'zk-1.example:2181,zk2/', 'zk/a/b']) {
    expect(zookeeper({ servers: right, key: '/a' }).name).toBe('zookeeper:/a')
  }
})
