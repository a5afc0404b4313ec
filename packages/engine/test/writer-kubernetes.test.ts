import { describe, expect, onTestFinished, test } from 'vitest'
import { kubernetes } from '../src/sources/kubernetes.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { kubernetesWriter, type KubernetesWriterOptions } from '../src/writers/kubernetes.ts'
import { putIfChanged } from '../src/writers/put-if-changed.ts'
import { KubernetesPeer, type ApiObject } from './kubernetes-peer.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

const usual = { namespace: 'shop', timeoutMs: 1_000 } as const
const soon = () => AbortSignal.timeout(10_000)
const objectOf = (kind: ApiObject['kind']) => (kind === 'ConfigMap' ? { configMap: 'gateway' } : { secret: 'gateway' })

async function open(kind: ApiObject['kind']): Promise<WriterRig> {
  const peer = await KubernetesPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  const encoding = kind === 'Secret' ? 'base64' : 'utf8'
  const place = { url: peer.url, ...objectOf(kind), ...usual }
  const fields = (data: Readonly<Record<string, string>>) => {
    const binaryData = peer.object(kind, 'gateway')?.binaryData
    return { data, ...(binaryData && { binaryData }) }
  }
  return {
    newWriter: () => kubernetesWriter(place),
    key: (name) => name.replaceAll('/', '.'),
    put: async (key, value) =>
      peer.apply(
        kind,
        'gateway',
        fields({ ...peer.data(kind, 'gateway'), [key]: Buffer.from(value).toString(encoding) }),
      ),
    async get(key) {
      const value = peer.data(kind, 'gateway')?.[key]
      return value === undefined ? undefined : Buffer.from(value, encoding)
    },
    async remove(key) {
      const { [key]: _, ...data } = { ...peer.data(kind, 'gateway') }
      peer.apply(kind, 'gateway', fields(data))
    },
    newSource: (key) => kubernetes({ ...place, key }),
    ...faultsOf(peer.web.proxy),
    wrongAuth() {
      peer.token = 'right'
      return kubernetesWriter({ ...place, token: 'of-nobody' })
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return kubernetesWriter({ ...place, url: server.url })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

for (const kind of ['ConfigMap', 'Secret'] as const) {
  describe(`kubernetesWriter() with a ${kind}, on a protocol peer written from the documentation of Kubernetes’ API`, () => {
    const revisions = 'data keys have no versions of their own'
    const bytes = 'a ConfigMap holds text; what is in binaryData no source reads'
    // Each is an update of the whole object.
    writerTests({
      open: () => open(kind),
      without: { revisions, ...(kind === 'ConfigMap' && { bytes }) },
      manyKeys: 200,
    })
  })
}

async function peerWith(
  fields: Parameters<KubernetesPeer['apply']>[2] | undefined,
  options: Partial<KubernetesWriterOptions> = {},
) {
  const peer = await KubernetesPeer.listen()
  if (fields) peer.apply('ConfigMap', 'gateway', fields)
  const writer = kubernetesWriter({
    url: peer.url,
    ...usual,
    configMap: 'gateway',
    ...options,
  } as KubernetesWriterOptions)
  onTestFinished(async () => {
    await writer.close()
    await peer.web.close()
  })
  return { peer, writer }
}

test('an object that is not there is made, and what else is in one that is there stays as it is', async () => {
  const { peer, writer } = await peerWith(undefined)
  expect(await putIfChanged(writer, 'app.json', { a: 1 })).toMatchObject({ kind: 'written' })
  peer.apply('ConfigMap', 'gateway', { data: { 'app.json': '{}', other: 'x' }, binaryData: { logo: 'AAEC' } })
  expect(await putIfChanged(writer, 'app.json', { a: 2 })).toMatchObject({ kind: 'written' })
  const { data, binaryData } = peer.object('ConfigMap', 'gateway') ?? {}
  expect({ data, binaryData }).toEqual({ data: { 'app.json': '{"a":2}', other: 'x' }, binaryData: { logo: 'AAEC' } })
})

test('what somebody else does to other keys in between is no conflict, and is kept', async () => {
  const { peer, writer } = await peerWith({ data: { mine: '1', theirs: '1' } })
  let times = 3
  peer.beforeWrite = () => {
    if (times-- > 0) peer.apply('ConfigMap', 'gateway', { data: { mine: '1', theirs: String(times) } })
  }
  const before = await writer.read('mine', soon())
  const expected = { revision: before?.revision ?? '' }
  expect(await writer.write('mine', Buffer.from('2'), expected, soon())).toMatchObject({ kind: 'written' })
  expect(peer.data('ConfigMap', 'gateway')).toEqual({ mine: '2', theirs: '0' })
})

test('a key that somebody else writes between the look and the patch is theirs (F34)', async () => {
  const { peer, writer } = await peerWith({ data: { key: '1' } })
  const before = await writer.read('key', soon())
  peer.beforeWrite = () => {
    peer.beforeWrite = undefined
    peer.apply('ConfigMap', 'gateway', { data: { key: 'theirs' } })
  }
  const expected = { revision: before?.revision ?? '' }
  expect(await writer.write('key', Buffer.from('mine'), expected, soon())).toEqual({ kind: 'conflict' })
  expect(peer.data('ConfigMap', 'gateway')).toEqual({ key: 'theirs' })
})

test('an object that is made or removed by somebody else in between is looked at again', async () => {
  const { peer, writer } = await peerWith(undefined)
  const once = (act: () => void) => {
    peer.beforeWrite = () => {
      peer.beforeWrite = undefined
      act()
    }
  }
  once(() => peer.apply('ConfigMap', 'gateway', { data: { theirs: '1' } }))
  expect(await writer.write('mine', Buffer.from('1'), 'absent', soon())).toMatchObject({ kind: 'written' })
  expect(peer.data('ConfigMap', 'gateway')).toEqual({ mine: '1', theirs: '1' })
  once(() => peer.remove('ConfigMap', 'gateway'))
  expect(await writer.write('mine', Buffer.from('2'), 'any', soon())).toMatchObject({ kind: 'written' })
  expect(peer.data('ConfigMap', 'gateway')).toEqual({ mine: '2' })
})

test('a key that is in binaryData is read, and is text from then on', async () => {
  const { peer, writer } = await peerWith({ binaryData: { key: Buffer.from('old').toString('base64') } })
  expect(String((await writer.read('key', soon()))?.value)).toBe('old')
  await writer.write('key', Buffer.from('new'), 'any', soon())
  expect(peer.object('ConfigMap', 'gateway')).not.toHaveProperty('binaryData')
  expect(peer.data('ConfigMap', 'gateway')).toEqual({ key: 'new' })
})

test('an immutable object, more than 1 MiB, other than text, and a name that is none are refused before anything is sent', async () => {
  const { peer, writer } = await peerWith({ data: { key: '1' }, immutable: true })
  const put = (key: string, value: Uint8Array) => writer.write(key, value, 'any', soon())
  await expect(put('key', Buffer.from('2'))).rejects.toThrow('kubernetes:configmap/gateway is immutable')
  await expect(writer.remove('key', 'any', soon())).rejects.toMatchObject({ code: 'refused' })
  peer.apply('ConfigMap', 'gateway', { data: { other: 'x'.repeat(600_000) } })
  await expect(put('key', Buffer.alloc(500_000, 'x'))).rejects.toThrow('would hold 1100000 bytes')
  await expect(put('key', Buffer.of(0xff))).rejects.toThrow('is not UTF-8')
  await expect(put('a/b', Buffer.from('1'))).rejects.toThrow('"a/b" is no data key')
  expect(peer.web.requests.map(({ method }) => method)).not.toContain('PATCH')
  expect(peer.data('ConfigMap', 'gateway')).toHaveProperty('other')
})

test('what is not permitted is said with what to grant to whom', async () => {
  const { peer, writer } = await peerWith({ data: {} })
  peer.forbidden = 'patch'
  const asked = writer.write('key', Buffer.from('1'), 'any', soon())
  await expect(asked).rejects.toMatchObject({ code: 'denied' })
  const want = 'does not let system:serviceaccount:shop:gateway patch configmaps "gateway" in the namespace shop (403)'
  await expect(asked).rejects.toThrow(`${want}; want a Role with the verbs get, patch and create`)
})

test('what the cluster’s own rules forbid is told in their words, of a Secret without them', async () => {
  const { peer, writer } = await peerWith({ data: {} })
  peer.denies = 'admission webhook "policy.example" denied the request: canary is no value'
  const put = (one: typeof writer) => one.write('key', Buffer.from('canary'), 'any', soon())
  await expect(put(writer)).rejects.toThrow('forbid it (403): admission webhook "policy.example" denied the request')
  const secret = kubernetesWriter({ url: peer.url, ...usual, secret: 'gateway' })
  onTestFinished(() => secret.close())
  await expect(put(secret)).rejects.toMatchObject({ code: 'refused', message: expect.not.stringContaining('canary') })
})

test('many writes at once to a server that is silent end each within the limit of the writer (F22)', async () => {
  const { peer, writer } = await peerWith({ data: {} })
  peer.web.proxy.swallow = true
  const all = Array.from({ length: 30 }, (_, i) => writer.write(`key${i}`, Buffer.from('1'), 'any', soon()))
  const ended = await Promise.allSettled(all)
  // One after the other they would wait until `soon` ends them.
  for (const one of ended)
    expect(one).toMatchObject({ reason: { message: expect.stringMatching(/answer within 1000 ms/) } })
  peer.web.proxy.swallow = false
})
