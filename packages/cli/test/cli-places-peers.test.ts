/** Writing back to the stores whose servers are peers written from their documentation: Nacos, Kubernetes, Apollo. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ApolloPeer } from '../../engine/test/apollo-peer.ts'
import { KubernetesPeer } from '../../engine/test/kubernetes-peer.ts'
import { NacosPeer } from '../../engine/test/nacos-peer.ts'
import { finished, folder, midflight, spawned } from './rig.ts'

async function nacosAt() {
  const peer = await NacosPeer.listen()
  onTestFinished(() => peer.web.close())
  peer.user = { username: 'me', password: 'canary-right' }
  const at = ['app.json', 'shop', 'prod'] as const
  const place = `nacos://me@${new URL(peer.url).host}/app.json?group=shop&tenant=prod`
  const env = { NACOS_PASSWORD: 'canary-right' }
  return { peer, place, env, put: (text: string) => peer.put(at, Buffer.from(text)), text: () => String(peer.get(at)) }
}

async function kubernetesAt(kind: 'ConfigMap' | 'Secret' = 'ConfigMap') {
  const peer = await KubernetesPeer.listen()
  onTestFinished(() => peer.web.close())
  peer.token = 'canary-right'
  const object = `kubernetes://${new URL(peer.url).host}/shop/${kind.toLowerCase()}/gateway`
  const env = { KUBERNETES_TOKEN: 'canary-right' }
  const data = () => ({ ...peer.data(kind, 'gateway') })
  const put = (text: string) => peer.apply(kind, 'gateway', { data: { ...data(), 'app.json': text } })
  return { peer, object, place: `${object}/app.json`, env, put, data, text: () => String(data()['app.json']) }
}

async function apolloAt() {
  const peer = await ApolloPeer.listen()
  onTestFinished(() => peer.web.close())
  peer.portalToken = 'canary-right'
  const at = 'shop/default/app.json'
  peer.create(at)
  const { host } = new URL(peer.url)
  const place = `apollo://jo@${host}/shop/default/app.json?env=DEV`
  const env = { APOLLO_TOKEN: 'canary-right' }
  const put = (text: string) => peer.release(at, { content: text })
  return { peer, host, place, env, put, text: () => String(peer.items(at)['content']) }
}

const peers = { Nacos: nacosAt, Kubernetes: kubernetesAt, Apollo: apolloAt }

for (const [name, open] of Object.entries(peers)) {
  test(`publish --to, on a protocol peer written from ${name}’s documentation: written if it says something else (B6)`, async () => {
    const { place, env, put, text } = await open()
    const cwd = await folder({ 'a.json': '{"a":1,"b":[1]}', 'b.json': '{"b":[1],"a":1}', 'c.json': '{"a":"1"}' })
    const to = (file: string, ...more: string[]) => midflight(['publish', file, '--to', place, ...more], { cwd, env })
    expect(await to('a.json', '--dry-run')).toMatchObject({ code: 2 })
    const first = await to('a.json')
    expect(first, first.err).toMatchObject({ code: 0 })
    expect(first.out).toContain('before: nothing was there')
    expect((await to('b.json')).out).toContain('holds this already')
    expect(text()).toBe('{"a":1,"b":[1]}')
    put('{"a":2}')
    const dry = await to('c.json', '--dry-run')
    expect(dry).toMatchObject({ code: 2, err: '' })
    expect(dry.out).toMatch(/~ a +2 → "1"/)
    expect(await to('c.json')).toMatchObject({ code: 0 })
    expect(text()).toBe('{"a":"1"}')
  })

  test(`wrong credentials of ${name} are told, and not shown`, async () => {
    const { place, env } = await open()
    const cwd = await folder({ 'a.json': '{"a":1}' })
    const wrong = Object.fromEntries(Object.keys(env).map((variable) => [variable, 'canary-wrong']))
    const { code, out, err } = await midflight(['publish', 'a.json', '--to', place], { cwd, env: wrong })
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toMatch(/40[13]/)
    expect(err).not.toContain('canary')
  })
}

test('only where it is as expected: what somebody else wrote to Nacos or Kubernetes stays; Apollo cannot, and says so', async () => {
  const cwd = await folder({ 'a.json': '{"by":"me"}' })
  for (const open of [nacosAt, kubernetesAt]) {
    const { place, env, put, text } = await open()
    put('{"by":"them"}')
    const lost = await midflight(['publish', 'a.json', '--to', place, '--if-revision', 'absent'], { cwd, env })
    expect(lost).toMatchObject({ code: 1, out: '' })
    expect(lost.err).toContain('nothing was written')
    expect(text()).toBe('{"by":"them"}')
  }
  const { place, env } = await apolloAt()
  const blind = await midflight(['publish', 'a.json', '--to', place, '--if-revision', 'absent'], { cwd, env })
  expect(blind.err).toContain('Apollo has no compare-and-set')
})

test('from Nacos to Kubernetes to Apollo and back to a file it is the same', async () => {
  const [nacos, kubernetes, apollo] = await Promise.all([nacosAt(), kubernetesAt(), apolloAt()])
  const env = { ...nacos.env, ...kubernetes.env, ...apollo.env }
  const config = { port: 80, log: { level: 'info', tags: ['a'] }, name: 'ä €' }
  nacos.put(JSON.stringify(config))
  const cwd = await folder()
  const config80 = `apollo://${apollo.host}/shop/default/app.json`
  for (const [from, to] of [
    [nacos.place, kubernetes.place],
    [kubernetes.place, apollo.place],
    [config80, 'file:out.json'],
  ] as const) {
    const ran = await midflight(['export', from, to, '--json'], { cwd, env })
    expect(ran, ran.err).toMatchObject({ code: 0 })
    expect(ran.json()).toMatchObject({ written: 1 })
    expect((await midflight(['export', from, to, '--json'], { cwd, env })).json()).toMatchObject({ unchanged: 1 })
  }
  expect(JSON.parse(apollo.text())).toEqual(config)
})

test('data keys are no tree: names become keys, and what lies below another is refused with nothing written', async () => {
  const { object, env, data } = await kubernetesAt()
  const cwd = await folder({ 'flat.json': '{"a":1,"b.c":"x"}', 'deep.json': '{"a":2,"d":{"e":1}}' })
  const brought = (...words: string[]) => midflight(['import', ...words, '--json'], { cwd, env })
  expect((await brought('flat.json', `${object}/`)).json()).toMatchObject({ written: 2 })
  const refused = await brought('deep.json', `${object}/`)
  expect(refused.code).toBe(1)
  expect(refused.out).toContain('d.e lies below another name')
  expect(data()).toEqual({ a: '1', 'b.c': 'x' })
  await writeFile(join(cwd, 'odd.json'), '{"a":3,"b c":1}')
  expect((await brought('odd.json', `${object}/`)).out).toContain('cannot be the name of a key')
  expect(data()).toEqual({ a: '1', 'b.c': 'x' })
  expect(await midflight(['export', `${object}/`, 'file:back.json'], { cwd, env })).toMatchObject({ code: 0 })
  expect(JSON.parse(await readFile(join(cwd, 'back.json'), 'utf8'))).toEqual({ a: 1, 'b.c': 'x' })
  await writeFile(join(cwd, 'less.json'), '{"a":1}')
  expect((await brought('less.json', `${object}/`, '--delete')).json()).toMatchObject({ unchanged: 1, removed: 1 })
  expect(data()).toEqual({ a: '1' })
})

test('mirror follows a data id of Nacos into a ConfigMap', async () => {
  const [nacos, kubernetes] = await Promise.all([nacosAt(), kubernetesAt()])
  nacos.put('{"a":1}')
  const child = spawned(['mirror', nacos.place, kubernetes.place], { env: { ...nacos.env, ...kubernetes.env } })
  const ran = finished(child)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ran
  })
  const reaches = (text: string) => expect.poll(kubernetes.text, { timeout: 30_000, interval: 50 }).toBe(text)
  await reaches('{"a":1}')
  nacos.put('{"a":2}')
  await reaches('{"a":2}')
  child.kill('SIGTERM')
  expect((await ran).code).toBe(0)
})

test('nothing of a Secret is shown, and its values are there', async () => {
  const { peer, place, env, data } = await kubernetesAt('Secret')
  const cwd = await folder({ 'a.json': '{"key":"canary-1"}', 'b.json': '{"key":"canary-2"}' })
  const to = (file: string, ...more: string[]) => midflight(['publish', file, '--to', place, ...more], { cwd, env })
  expect(await to('a.json')).toMatchObject({ code: 0 })
  for (const ran of [await to('b.json', '--dry-run'), await to('b.json', '--dry-run', '--json')]) {
    expect(ran.code).toBe(2)
    expect(ran.out + ran.err).not.toContain('canary')
  }
  expect(Buffer.from(data()['app.json'] ?? '', 'base64').toString()).toBe('{"key":"canary-1"}')
  for (const more of [[], ['--if-revision', 'absent']]) {
    peer.apply('Secret', 'gateway', { data: { 'app.json': Buffer.from('canary-3 {').toString('base64') } })
    const ran = await to('b.json', '--json', ...more)
    expect(ran.out).toContain('what was found is secret, and is not shown')
    expect(ran.out + ran.err).not.toContain('canary')
  }
})

test('places of Nacos, Kubernetes and Apollo that cannot be meant are refused before anything is asked', async () => {
  const cwd = await folder({ 'a.json': '{"a":1}' })
  const refused = {
    'nacos://127.0.0.1:1/': 'names no data id',
    'nacos://127.0.0.1:1/a/b.json': 'is no data id',
    'nacos://127.0.0.1:1/a.json?group=a%20b': 'group is "a b"',
    // HTTP takes it for the usual port: a password would go to whoever listens there.
    'nacos://me:canary@127.0.0.1:0/a.json': 'has the port 0',
    'nacos://me@127.0.0.1:1/a.json': 'names a user and no password',
    'kubernetes://me:canary@127.0.0.1:1/shop/configmap/gateway/a': 'is given a user, which is not sent',
    'apollo://jo:canary@127.0.0.1:1/shop/default/a.json?env=DEV': 'is given a password, which is not sent',
    'apollo://jo@127.0.0.1:1/shop/default/a.json?env=..&token-file=a.json': 'env is ".."',
    'kubernetes://127.0.0.1:1/shop/pod/gateway/a': 'names no object',
    'kubernetes://127.0.0.1:1/shop/configmap/Gateway/a': 'the name is "Gateway"',
    'kubernetes://127.0.0.1:1/shop/configmap/gateway/a?cert=a.json': 'want a token',
    'kubernetes:///shop/configmap/gateway/a': 'this is no pod',
    'apollo://127.0.0.1:1/shop/default?env=DEV': 'names no namespace',
    'apollo://127.0.0.1:1/shop/default/a.json': 'is read only; want the portal',
    'apollo://127.0.0.1:1/shop/default/a.json?env=DEV': 'names nobody who releases',
    'apollo://jo@127.0.0.1:1/shop/default/a.json?env=DEV': 'has no token',
  }
  const env = { APOLLO_TOKEN: '', KUBERNETES_SERVICE_HOST: '', KUBERNETES_TOKEN: '', NACOS_PASSWORD: '' }
  for (const [to, wanted] of Object.entries(refused)) {
    const { code, out, err } = await midflight(['publish', 'a.json', '--to', to], { cwd, env })
    expect({ to, code, out }).toEqual({ to, code: 1, out: '' })
    expect(err).toContain(wanted)
    expect(err).not.toMatch(/this is a bug|ECONNREFUSED|canary/)
  }
  const read = await midflight(['export', 'apollo://jo@127.0.0.1:1/shop/default/a.json?env=DEV', 'file:b.json'], {
    cwd,
    env,
  })
  expect(read.err).toContain('is written to only')
})
