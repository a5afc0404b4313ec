/** What is of `kubernetes()` alone: versions, watches, removals, permissions, and where a pod finds its cluster. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { expect, onTestFinished, test, vi } from 'vitest'
import { kubernetes, type KubernetesOptions } from '../src/sources/kubernetes.ts'
import { jsonLines } from '../src/sources/kubernetes/lines.ts'
import { KubernetesPeer } from './kubernetes-peer.ts'
import { selfSigned } from './self-signed.ts'
import { quick } from './source-peer-rig.ts'

const soon = () => AbortSignal.timeout(10_000)
const usual = { namespace: 'shop', ...quick, watchMs: 60_000, paceMs: 10 } as const

type Own = Omit<Partial<KubernetesOptions>, 'configMap' | 'secret'>

async function peerWith(data: Record<string, string> | undefined, options: Own = {}) {
  const peer = await KubernetesPeer.listen()
  if (data) peer.apply('ConfigMap', 'gateway', { data })
  const source = kubernetes({ url: peer.url, configMap: 'gateway', ...usual, ...options })
  onTestFinished(async () => {
    await source.close()
    await peer.web.close()
  })
  const loaded = async () => (await source.load(soon())).config
  /** Without a look at the server: what came by the watch. */
  const heard = async (config: unknown) => {
    const stop = new AbortController()
    const late = setTimeout(() => stop.abort(), 10_000)
    try {
      for await (const _ of source.requests(stop.signal)) {
        const known = await source.load(stop.signal).then(
          (document) => document.config,
          () => undefined,
        )
        source.settled?.({ kind: 'committed' } as never)
        if (JSON.stringify(known) === JSON.stringify(config)) return
      }
      expect.fail(`never heard ${JSON.stringify(config)}`)
    } finally {
      clearTimeout(late)
      stop.abort()
    }
  }
  return { peer, source, loaded, heard }
}

const watching = (peer: KubernetesPeer, count = 1) => expect.poll(() => peer.watches, { timeout: 5_000 }).toBe(count)

for (const how of ['status', 'event'] as const) {
  test(`a version that is too old, told by ${how}, is listed anew, and what is told is exactly the difference (F34)`, async () => {
    const { peer, loaded, heard } = await peerWith({ a: '1', b: '1' })
    peer.expiresBy = how
    expect(await loaded()).toEqual({ a: 1, b: 1 })
    await watching(peer)
    peer.bookmark()
    const asked = peer.asked.length
    // The next watch goes on from the bookmark, and by then the change is in no history any more.
    peer.endWatches()
    peer.apply('ConfigMap', 'gateway', { data: { a: '2', c: '1' } })
    peer.compact()
    await heard({ a: 2, c: 1 })
    await expect.poll(() => peer.asked.slice(asked).includes('list')).toBe(true)
    expect(peer.asked.slice(asked)[0]).not.toBe('list')
    await watching(peer)
    peer.apply('ConfigMap', 'gateway', { data: { a: '3', c: '1' } })
    await heard({ a: 3, c: 1 })
  })
}

test('a watch that has ended goes on from the last bookmark, without a list', async () => {
  const { peer, loaded, heard } = await peerWith({ a: '1' })
  await loaded()
  await watching(peer)
  peer.bookmark()
  const version = peer.version
  const asked = peer.asked.length
  peer.endWatches()
  await expect.poll(() => peer.asked.slice(asked)).toEqual([String(version)])
  await watching(peer)
  peer.apply('ConfigMap', 'gateway', { data: { a: '2' } })
  await heard({ a: 2 })
})

test('a watch that ended without a word is followed by a list: the history may be another (F42)', async () => {
  const { peer, loaded } = await peerWith({ a: '1' })
  await loaded()
  await watching(peer)
  const asked = peer.asked.length
  peer.endWatches()
  await expect.poll(() => peer.asked[asked]).toBe('list')
})

test('a watch asks for one object, for bookmarks, and for an end', async () => {
  const { peer, loaded } = await peerWith({ a: '1' })
  await loaded()
  await watching(peer)
  expect(peer.web.requests.map(({ url }) => url)).toEqual([
    '/api/v1/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dgateway',
    `/api/v1/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dgateway&watch=1&allowWatchBookmarks=true&resourceVersion=${peer.version}&timeoutSeconds=60`,
  ])
})

test('DELETED in a watch is a removal (Z4), and what is made anew is read', async () => {
  const { peer, loaded, heard } = await peerWith({ a: '1' })
  await loaded()
  await watching(peer)
  peer.remove('ConfigMap', 'gateway')
  await heard({})
  peer.apply('ConfigMap', 'gateway', { data: { a: '2' } })
  await heard({ a: 2 })
})

test('an object that was deleted while nobody watched is removed if the history has its end, and refused if not', async () => {
  for (const compacted of [false, true]) {
    const { peer, source, loaded } = await peerWith({ a: '1' })
    expect(await loaded()).toEqual({ a: 1 })
    peer.web.proxy.refuse = true
    peer.web.proxy.reset()
    peer.remove('ConfigMap', 'gateway')
    if (compacted) peer.compact()
    peer.web.proxy.refuse = false
    await expect.poll(() => source.following().state).toBe('following')
    if (!compacted) expect(await loaded()).toEqual({})
    else await expect(loaded()).rejects.toThrow('what was never seen to be removed is not taken for removed')
  }
})

test('all data keys taken out of an object is a removal; one that was always empty is refused', async () => {
  const { peer, loaded } = await peerWith({})
  await expect(loaded()).rejects.toThrow('has no keys below it')
  peer.apply('ConfigMap', 'gateway', { data: { a: '1' } })
  expect(await loaded()).toEqual({ a: 1 })
  peer.apply('ConfigMap', 'gateway', {})
  expect(await loaded()).toEqual({})
})

test('one key holds the document, read by the end of its name; the others are passed over', async () => {
  const { peer, loaded } = await peerWith({ 'app.toml': 'a = 1', other: '{' }, { key: 'app.toml' })
  expect(await loaded()).toEqual({ a: 1 })
  peer.apply('ConfigMap', 'gateway', { data: { 'app.toml': 'a = 2' }, binaryData: { logo: 'AAEC' } })
  expect(await loaded()).toEqual({ a: 2 })
})

test('data keys are a flat map whose values follow the rules of prefixes', async () => {
  const { loaded } = await peerWith({ 'server.port': '80', zip: '007', 'rules.json': '[1]', 'app.yaml': 'a: 1' })
  expect(await loaded()).toEqual({ 'server.port': 80, zip: '007', 'rules.json': [1], 'app.yaml': 'a: 1' })
})

test('binaryData is refused by its key, and what is live stays', async () => {
  const { peer, loaded } = await peerWith({ a: '1' })
  await loaded()
  peer.apply('ConfigMap', 'gateway', { data: { a: '2' }, binaryData: { logo: 'AAEC' } })
  await expect(loaded()).rejects.toThrow(
    'kubernetes:configmap/gateway logo is in binaryData, which holds what is not UTF-8; want text, in data',
  )
})

for (const verb of ['list', 'watch'] as const) {
  test(`who may not ${verb} is told what to grant, and to whom`, async () => {
    const { peer, source, loaded } = await peerWith({ a: '1' })
    peer.forbidden = verb
    await loaded().catch(() => {}) // told by the state, also where the list was allowed
    await expect.poll(() => source.following().state).toBe('lost')
    const state = source.following()
    expect('error' in state && state.error).toBe(
      `${peer.url} does not let system:serviceaccount:shop:gateway ${verb} configmaps "gateway" in the namespace shop (403); ` +
        'want a Role with the verbs list and watch on configmaps "gateway" in the namespace shop, bound to it',
    )
    peer.forbidden = undefined
    await expect.poll(() => source.following().state).toBe('following')
  })
}

test('a permission that is lost leaves what is known', async () => {
  const { peer, loaded } = await peerWith({ a: '1' })
  await loaded()
  peer.forbidden = 'list'
  expect(await loaded()).toEqual({ a: 1 })
})

test('a token that is not known is named as such, not shown, and tried again', async () => {
  let token = 'my-own-secret'
  const { peer, source, loaded } = await peerWith({ a: '1' }, { token: () => token })
  peer.token = 'another'
  const error = await loaded().catch((reason: unknown) => reason)
  expect(String(error)).toContain('does not know the token, or lacks one (401)')
  expect(String(error)).not.toContain('my-own-secret')
  token = 'another'
  await expect.poll(() => source.following().state).toBe('following')
})

test('what is no API of Kubernetes is told as such, and what was read stays', async () => {
  const { peer, source, loaded } = await peerWith({ a: '1' })
  const usualAnswer = peer.web.answering
  await loaded()
  for (const body of ['<html>', '{}', '[]', '{"kind":"PodList","metadata":{"resourceVersion":"1"}}']) {
    peer.web.answering = (_, response) => response.writeHead(200).end(body)
    expect(await loaded()).toEqual({ a: 1 })
    expect(JSON.stringify(source.following())).toContain(
      'answers with no ConfigMapList; want the URL of a Kubernetes API',
    )
  }
  peer.web.answering = usualAnswer
  await expect.poll(() => source.following().state).toBe('following')
})

test('events are read however they are cut, and one without end is not kept', async () => {
  const lines = ['{"a":"ü"}', '{"b":[1,2]}', '{"c":3}']
  const bytes = Buffer.from(`${lines.join('\n')}\n`)
  const collected = async (chunks: Iterable<Buffer>) => {
    const read: string[] = []
    for await (const line of jsonLines(asStream(chunks))) read.push(line.toString())
    return read
  }
  for (let size = 1; size <= bytes.length; size++) {
    const chunks: Buffer[] = []
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size))
    expect(await collected(chunks)).toEqual(lines)
  }
  function* endless() {
    for (;;) yield Buffer.alloc(1024 * 1024, 'x')
  }
  await expect(collected(endless())).rejects.toThrow('is longer than')
})

async function* asStream(chunks: Iterable<Buffer>): AsyncGenerator<Buffer> {
  yield* chunks
}

test('a pod finds its cluster, trusts its authority, and takes a token that was rotated', async () => {
  const peer = await KubernetesPeer.listen()
  peer.apply('ConfigMap', 'gateway', { data: { a: '1' } })
  const folder = mkdtempSync(join(tmpdir(), 'midflight-pod-'))
  const cluster = await secured(peer, folder)
  for (const [name, text] of Object.entries({ namespace: 'shop\n', token: 'first\n' })) {
    writeFileSync(join(folder, name), text)
  }
  peer.token = 'first'
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '127.0.0.1')
  vi.stubEnv('KUBERNETES_SERVICE_PORT', String(cluster.port))
  const { namespace: _, ...others } = usual
  const source = kubernetes({ configMap: 'gateway', serviceAccountDir: folder, ...others })
  onTestFinished(async () => {
    vi.unstubAllEnvs()
    await source.close()
    await cluster.close()
    await peer.web.close()
    rmSync(folder, { recursive: true })
  })
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  await watching(peer)
  // In time: the next watch of the same following has the new one.
  writeFileSync(join(folder, 'token'), 'rotated\n')
  peer.token = 'rotated'
  peer.bookmark()
  const asked = peer.asked.length
  peer.endWatches()
  await watching(peer)
  expect(peer.asked.slice(asked)).toEqual([String(peer.version)])
  // Late.
  peer.token = 'second'
  peer.apply('ConfigMap', 'gateway', { data: { a: '2' } })
  peer.endWatches()
  await expect.poll(() => JSON.stringify(source.following())).toContain('(401)')
  writeFileSync(join(folder, 'token'), 'second\n')
  await expect.poll(() => source.following().state).toBe('following')
  expect((await source.load(soon())).config).toEqual({ a: 2 })
})

/** The peer behind TLS, with its certificate as the `ca.crt` of `folder`. */
async function secured(peer: KubernetesPeer, folder: string) {
  const { pem, keyPem } = selfSigned(folder, 'ca')
  const server = createServer({ cert: pem, key: keyPem }, (socket) => {
    const behind = connect(Number(new URL(peer.url).port), '127.0.0.1')
    for (const one of [socket, behind]) {
      one.on('error', () => {}) // the other end is told by `close`
      one.on('close', () => (one === socket ? behind : socket).destroy())
    }
    socket.pipe(behind).pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}

test('outside of a pod, and in one without a service account, it says what it wants', async () => {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '')
  onTestFinished(() => void vi.unstubAllEnvs())
  const serviceAccountDir = join(tmpdir(), 'midflight-there-is-none')
  const source = kubernetes({ configMap: 'gateway', serviceAccountDir })
  await expect(source.load(soon())).rejects.toThrow('this is no pod; want the option url')
  await source.close()
  vi.stubEnv('KUBERNETES_SERVICE_HOST', '::1')
  const another = kubernetes({ configMap: 'gateway', serviceAccountDir })
  await expect(another.load(soon())).rejects.toThrow('want a pod with automountServiceAccountToken')
  await another.close()
})

test('options that cannot be meant are refused at the call', () => {
  const refused = (options: object) => expect(() => kubernetes(options as KubernetesOptions))
  refused({}).toThrow('want either a configMap or a secret')
  refused({ configMap: 'a', secret: 'b' }).toThrow('want either a configMap or a secret')
  refused({ configMap: 'a/b' }).toThrow('the name is "a/b"; want one as Kubernetes takes it')
  refused({ configMap: 'a', key: 'b/c' }).toThrow('key is "b/c"; want letters')
  refused({ configMap: 'a', namespace: '../b' }).toThrow('namespace is "../b"; want one as Kubernetes takes it')
  refused({ configMap: 'a', url: 'ftp://x' }).toThrow('want http:// or https://')
  refused({ configMap: 'a', watchMs: 10 }).toThrow('watchMs is 10; want 1000 to 3600000')
})
