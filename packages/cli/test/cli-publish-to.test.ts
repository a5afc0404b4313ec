import { mkdtempSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConsulServer, noConsul } from '../../engine/test/source-consul-rig.ts'
import { EtcdServer, noEtcd } from '../../engine/test/source-etcd-rig.ts'
import { RedisServer, withoutRedis } from '../../engine/test/source-redis-rig.ts'
import { folder, midflight } from './rig.ts'

let etcd: EtcdServer | undefined
let consul: ConsulServer | undefined
const consulFolder = mkdtempSync(join(tmpdir(), 'midflight-consul-'))

beforeAll(async () => {
  if (noEtcd === undefined) etcd = await EtcdServer.start()
  if (noConsul === undefined) consul = await ConsulServer.start(consulFolder)
}, 60_000)

afterAll(async () => {
  await etcd?.close()
  await consul?.stop()
  rmSync(consulFolder, { recursive: true, force: true })
})

const stores = {
  etcd: { skip: noEtcd, at: () => `etcd://127.0.0.1:${etcd?.port}/app/gateway` },
  Consul: { skip: noConsul, at: () => `consul://127.0.0.1:${consul?.port}/app/gateway` },
}

for (const [name, { skip, at }] of Object.entries(stores)) {
  const why = skip === undefined ? '' : ` (skipped: ${skip})`
  describe.skipIf(skip !== undefined)(`publish --to, on a real ${name}${why}`, () => {
    test('B6: another type is written, another order of keys is not, force is', async () => {
      const cwd = await folder()
      const put = async (text: string, ...more: string[]) => {
        await writeFile(join(cwd, 'a.json'), text)
        const { code, out, err, json } = await midflight(['publish', 'a.json', '--to', at(), '--json', ...more], {
          cwd,
        })
        expect(code, out + err).toBe(0)
        return json() as { kind: string; revision: string; digest: string; before?: { digest: string } }
      }
      const first = await put('{"a":1,"b":[1,2]}')
      const second = await put('{"a":"1","b":[1,2]}')
      expect([first.kind, second.kind]).toEqual(['written', 'written'])
      expect(second.before?.digest).toBe(first.digest)
      expect(await put('{"b":[1,2],"a":"1"}')).toMatchObject({ kind: 'unchanged', revision: second.revision })
      const forced = await put('{"b":[1,2],"a":"1"}', '--force')
      expect(forced.kind).toBe('written')
      expect(await put('{"a":"1","b":[2,1]}')).toMatchObject({ kind: 'written', before: { digest: second.digest } })
    })

    test('only where the key is as expected: what somebody else wrote stays, and is told', async () => {
      const cwd = await folder({ 'a.json': '{"by":"me"}', 'b.json': '{"by":"them"}' })
      const to = `${at()}-expected`
      const put = (...words: string[]) => midflight(['publish', ...words, '--to', to], { cwd })
      const first = (await put('b.json', '--json')).json() as { revision: string }
      const lost = await put('a.json', '--if-revision', 'absent')
      expect(lost).toMatchObject({ code: 1, out: '' })
      expect(lost.err).toContain(`at revision ${first.revision}; nothing was written`)
      expect(await put('a.json', '--if-revision', first.revision)).toMatchObject({ code: 0 })
      expect((await put('b.json', '--if-revision', first.revision)).code).toBe(1)
    })

    test('--dry-run shows what would change, without secrets, and writes nothing', async () => {
      const cwd = await folder({
        'a.yaml': 'port: 80\npassword: canary-1\n',
        'b.yaml': 'port: 81\npassword: canary-2\n',
      })
      const to = `${at()}-dry`
      const dry = () => midflight(['publish', 'b.yaml', '--to', to, '--dry-run', '--secrets', 'password'], { cwd })
      expect(await dry()).toMatchObject({ code: 2, err: '' })
      expect(await midflight(['publish', 'a.yaml', '--to', to], { cwd })).toMatchObject({ code: 0 })
      const shown = await dry()
      expect(shown.code).toBe(2)
      expect(shown.out).toMatch(/~ port +80 → 81/)
      expect(shown.out).not.toContain('canary')
      expect(await midflight(['publish', 'b.yaml', '--to', to], { cwd })).toMatchObject({ code: 0 })
      expect(await dry()).toMatchObject({ code: 0 })
    })
  })
}

test.skipIf(noEtcd !== undefined)(
  'of two publishes at once at the same revision exactly one writes, and the other is told',
  async () => {
    const cwd = await folder({ 'a.json': '{"by":"a"}', 'b.json': '{"by":"b"}' })
    const to = `etcd://127.0.0.1:${etcd?.port}/race`
    const both = ['a.json', 'b.json'].map((file) =>
      midflight(['publish', file, '--to', to, '--if-revision', 'absent', '--json'], { cwd }),
    )
    const codes = (await Promise.all(both)).map(({ code }) => code)
    expect(new Set(codes)).toEqual(new Set([0, 1]))
  },
)

test.skipIf(noEtcd !== undefined)('what is there and is no JSON is written over, and told', async () => {
  const cwd = await folder({ 'a.json': '{"a":1}' })
  await etcd?.put('broken', '{"a":')
  const put = (...more: string[]) =>
    midflight(['publish', 'a.json', '--to', `etcd://127.0.0.1:${etcd?.port}/broken`, ...more], { cwd })
  const dry = await put('--dry-run')
  expect(dry).toMatchObject({ code: 2, err: '' })
  expect(dry.out).toContain('cannot be read as a configuration')
  const ran = await put()
  expect(ran).toMatchObject({ code: 0 })
  expect(ran.out).toContain('before: what is no JSON, at revision')
})

test.skipIf(withoutRedis !== undefined)(
  `a password comes from a file, the environment or the URL, and is never shown${withoutRedis === undefined ? '' : ` (skipped: ${withoutRedis})`}`,
  async () => {
    const redis = await RedisServer.start({ password: 'canary-right' })
    try {
      const cwd = await folder({ 'a.json': '{"a":1}', pw: 'canary-right\n', wrong: 'canary-wrong\n' })
      const host = new URL(redis.url).host
      const put = (to: string, env = {}) => midflight(['publish', 'a.json', '--to', to], { cwd, env })
      const ways = [
        await put(`redis://${host}/0/app:a?password-file=pw`),
        await put(`redis://${host}/0/app:b`, { REDISCLI_AUTH: 'canary-right' }),
        await put(`redis://:canary-right@${host}/0/app:c`),
      ]
      expect(ways.map(({ code }) => code)).toEqual([0, 0, 0])
      const wrong = [
        await put(`redis://${host}/0/a?password-file=wrong`),
        await put(`redis://:canary-wrong@${host}/0/a`),
      ]
      expect(wrong.map(({ code }) => code)).toEqual([1, 1])
      for (const { out, err } of [...ways, ...wrong]) expect(out + err).not.toContain('canary')
      expect(await redis.admin.get('app:c')).toBe('{"a":1}')
    } finally {
      await redis.close()
    }
  },
)

test('a place that a URL takes for another one, or whose user nobody would be told, is refused before it is asked', async () => {
  const cwd = await folder({ 'a.json': '{"a":1}' })
  const refused = {
    'etcd://127.0.0.1:1/app/a#b': 'want %23',
    'etcd://127.0.0.1:1/app/../a': 'a step . or ..',
    'etcd://127.0.0.1:1/app/%2E%2e/a': 'a step . or ..',
    'consul://127.0.0.1:1/app/%ff': 'want %25',
    'redis://u%:canary@127.0.0.1:1/0/a': 'want %25',
    'https://u:canary@127.0.0.1:1/a.json': 'MIDFLIGHT_PLACE_TOKEN',
    's3://bucket/a.json': 'AWS_REGION',
  }
  for (const [to, wanted] of Object.entries(refused)) {
    const { code, out, err } = await midflight(['publish', 'a.json', '--to', to], { cwd, env: { AWS_REGION: '' } })
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain(wanted)
    expect(err).not.toMatch(/canary|this is a bug|ECONNREFUSED/)
  }
})

test('a file is replaced whole, and that nobody could be guarded against is said', async () => {
  const cwd = await folder({ 'a.yaml': 'a: 1\nb: [x]\n' })
  const put = () => midflight(['publish', 'a.yaml', '--to', 'file:out.json'], { cwd })
  const first = await put()
  expect(first).toMatchObject({ code: 0 })
  expect(first.err).toContain('would not have been noticed')
  expect(await readFile(join(cwd, 'out.json'), 'utf8')).toBe('{"a":1,"b":["x"]}')
  expect((await put()).out).toContain('holds this already')
})

test('what cannot be meant is refused before anything is asked', async () => {
  const cwd = await folder({ 'a.json': '{"a":1}' })
  const put = async (...words: string[]) => {
    const { code, err } = await midflight(['publish', 'a.json', ...words], { cwd })
    expect(code).toBe(1)
    return err
  }
  expect(await put('--to', 'ftp://host/a')).toContain('want one of etcd, consul')
  expect(await put('--to', 'etcd://host:1/app/')).toContain('midflight import a.json')
  expect(await put('--to', 'etcd://host:1/app?pasword=x')).toContain('has the option pasword')
  expect(await put('--to', 'redis://:canary@/a')).not.toContain('canary')
  expect(await put('--to', 'nats://host:1/')).toContain('names no bucket')
  expect(await put('--to', 'etcd://host:1/a', '--message', 'why')).toContain('--message is for a config')
  expect(await put('--if-revision', '1')).toContain('--if-revision is for --to')
  expect(await put('--to', 'etcd://127.0.0.1:1/a')).toContain('etcd:127.0.0.1:1')
})
