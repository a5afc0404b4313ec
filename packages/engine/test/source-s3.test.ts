import { execFile } from 'node:child_process'
import dns from 'node:dns'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { s3, type S3Options } from '../src/sources/s3.ts'
import { locationOf } from '../src/sources/s3/bucket.ts'
import { parseXml } from '../src/sources/s3/xml.ts'
import { fail, refusalOf, S3Peer } from './s3-peer.ts'
import { quick } from './source-peer-rig.ts'

const soon = () => AbortSignal.timeout(10_000)
const slow = { ...quick, timeoutMs: 5_000, answerMs: 5_000, pollMs: 60_000 } as const

async function peerWith(values: Record<string, string | Uint8Array>, options: Partial<S3Options> = {}) {
  const peer = await S3Peer.listen()
  for (const [key, value] of Object.entries(values)) peer.put(key, value)
  const place = options.key === undefined ? { prefix: 'app/' } : {}
  const { bucket, region, keys: credentials } = peer
  const source = s3({ bucket, region, endpoint: peer.web.proxy.url, credentials, ...place, ...slow, ...options })
  onTestFinished(async () => {
    await source.close()
    await peer.web.close()
  })
  return { peer, source }
}

const asks = ({ web }: S3Peer) =>
  web.requests.map(({ method, url }) => `${method} ${new URL(url ?? '', 'http://peer').pathname}`)

/** What a source says of an answer, as text. */
async function said(answering: (request: IncomingMessage, response: ServerResponse) => void, key?: string) {
  const { peer, source } = await peerWith({ 'app/doc': '{"a":1}' }, key === undefined ? {} : { key })
  peer.web.answering = answering
  const error: unknown = await source.load(soon()).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(Error)
  const { message } = error as Error
  for (const secret of ['AKIAPEER', 'peer/secret+key', 'AKIASHOWN']) expect(message).not.toContain(secret)
  return message
}

describe('on a protocol peer written from S3’s API documentation', () => {
  test('only what changed is read, and an object is asked for with the ETag that it had', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1', 'app/b': '2' })
    const first = await source.load(soon())
    expect(asks(peer).sort()).toEqual(['GET /shop/', 'GET /shop/app/a', 'GET /shop/app/b'])
    expect(await source.load(soon())).toBe(first)
    peer.put('app/b', '3')
    expect((await source.load(soon())).config).toEqual({ a: 1, b: 3 })
    expect(asks(peer).slice(3)).toEqual(['GET /shop/', 'GET /shop/', 'GET /shop/app/b'])

    const one = await peerWith({ 'app/doc': '{"a":1}' }, { key: 'app/doc' })
    expect((await one.source.load(soon())).config).toEqual({ a: 1 })
    expect((await one.source.load(soon())).config).toEqual({ a: 1 })
    expect(one.peer.web.requests.map(({ headers }) => headers['if-none-match'] !== undefined)).toEqual([false, true])
  })

  test('a long list is read page by page, by tokens that are to be encoded', async () => {
    const values = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`app/k${i}`, String(i)]))
    const { peer, source } = await peerWith({ ...values, other: 'x' })
    peer.pageSize = 10
    const { config } = await source.load(soon())
    expect(config).toEqual(Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`k${i}`, i])))
    expect(asks(peer).filter((ask) => ask === 'GET /shop/')).toHaveLength(3)
  })

  test('keys may hold what neither URLs nor XML may', async () => {
    const under = `app/ä %41+&<'"!*()/`
    const { source } = await peerWith({ [`${under}x y+z/\u0001#?`]: '"v&w"', [`${under}g`]: 'ü' }, { prefix: under })
    expect((await source.load(soon())).config).toEqual({ 'x y+z': { '\u0001#?': 'v&w' }, g: 'ü' })
  })

  test('an object whose key a URL cannot say is refused by its name', async () => {
    const { source } = await peerWith({ 'app/../x': '1' })
    await expect(source.load(soon())).rejects.toThrow('app/../x has a step . or ..')
  })

  test('what changes between the list and the reading is listed again', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1', 'app/b': '1', 'app/c': '1' })
    peer.beforeGet = () => {
      peer.beforeGet = () => {}
      peer.remove('app/b')
      peer.put('app/c', '2')
    }
    expect((await source.load(soon())).config).toEqual({ a: 1, c: 2 })
    expect(asks(peer).filter((ask) => ask === 'GET /shop/')).toHaveLength(2)
    expect(asks(peer).filter((ask) => ask === 'GET /shop/app/a')).toHaveLength(1)
  })

  test('what is written at every reading is told as it was at one list', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1', 'app/b': '1' })
    let count = 1
    peer.beforeGet = (key) => peer.put(key, String(++count))
    const { config } = await source.load(soon())
    const now = Object.fromEntries([...peer.objects].map(([key, bytes]) => [key.slice(4), Number(bytes.toString())]))
    expect(config).toEqual(now)
  })

  test('where the list and the objects never agree it gives up for now, and what was read stays', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1' })
    const first = await source.load(soon())
    const { answering } = peer.web
    peer.put('app/a', '2')
    peer.web.answering = (request, response) => {
      if (request.url?.startsWith('/shop/app/')) response.writeHead(200, { etag: '"other"' }).end('2')
      else answering?.(request, response)
    }
    expect(await source.load(soon())).toBe(first)
    expect(source.following()).toMatchObject({ state: 'lost', error: expect.stringContaining('5 times in a row') })
    peer.web.answering = answering
    await expect.poll(() => source.following().state).toBe('following')
    expect((await source.load(soon())).config).toEqual({ a: 2 })
  })

  test('in a bucket with versions what has a delete marker was removed, also the last; without versions it was not', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1', 'app/b': '2' })
    await source.load(soon())
    peer.remove('app/a')
    peer.remove('app/b')
    expect((await source.load(soon())).config).toEqual({})
    const before = asks(peer).length
    expect((await source.load(soon())).config).toEqual({})
    expect(asks(peer).slice(before)).toEqual(['GET /shop/'])
    peer.put('app/a', '1')
    expect((await source.load(soon())).config).toEqual({ a: 1 })
    peer.isVersioned = false
    peer.remove('app/a')
    await expect(source.load(soon())).rejects.toThrow('has no keys below it')
  })

  test('a delete marker of an object that was never seen is no configuration', async () => {
    const { peer, source } = await peerWith({ 'app/doc': '{"a":1}' }, { key: 'app/doc' })
    peer.remove('app/doc')
    await expect(source.load(soon())).rejects.toThrow('is not there')
  })

  test('one of several objects that is gone with a bucket that has others is a removal, and folders are nothing', async () => {
    const { peer, source } = await peerWith({ 'app/': '', 'app/d/': '', 'app/a': '1', 'app/d/b': '2' })
    expect((await source.load(soon())).config).toEqual({ a: 1, d: { b: 2 } })
    expect(asks(peer)).toHaveLength(3)
    peer.remove('app/d/b')
    expect((await source.load(soon())).config).toEqual({ a: 1 })
    peer.lose()
    peer.put('app/', '')
    await expect(source.load(soon())).rejects.toThrow('has no keys below it')
  })

  test('too large is told from the list: by itself, or all together, without reading any', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1'.repeat(60), 'app/b': '2'.repeat(60) }, { maxBytes: 100 })
    await expect(source.load(soon())).rejects.toThrow('app/b and the keys before it are more than 100 bytes')
    peer.put('app/a', 'x'.repeat(101))
    await expect(source.load(soon())).rejects.toThrow('app/a is 101 bytes; want at most 100')
    expect(new Set(asks(peer))).toEqual(new Set(['GET /shop/']))
    const one = await peerWith({ 'app/doc': 'x'.repeat(101) }, { key: 'app/doc', maxBytes: 100 })
    await expect(one.source.load(soon())).rejects.toThrow('app/doc is 101 bytes; want at most 100')
  })

  test('credentials are asked for each time, with their session token, and may be others the next time', async () => {
    let keys = { accessKeyId: 'AKIAONE', secretAccessKey: 'one', sessionToken: 'token/one==' }
    const { peer, source } = await peerWith({ 'app/a': '1' }, { credentials: () => keys })
    peer.keys = keys
    await source.load(soon())
    keys = { accessKeyId: 'AKIATWO', secretAccessKey: 'two', sessionToken: 'token/two==' }
    peer.keys = keys
    peer.put('app/a', '2')
    expect((await source.load(soon())).config).toEqual({ a: 2 })
    peer.keys = { ...keys, sessionToken: 'another' }
    await source.load(soon())
    const state = source.following()
    expect(state).toMatchObject({ state: 'lost', error: expect.stringContaining('refuses the session token (400') })
    expect(JSON.stringify(state)).not.toMatch(/AKIATWO|token.two/)
  })

  test('credentials come from the usual variables, as they are at each request', async () => {
    onTestFinished(() => void vi.unstubAllEnvs())
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']) vi.stubEnv(name, undefined)
    const peer = await S3Peer.listen()
    peer.put('app/a', '1')
    const source = s3({ bucket: 'shop', region: peer.region, endpoint: peer.web.proxy.url, prefix: 'app/', ...slow })
    onTestFinished(async () => {
      await source.close()
      await peer.web.close()
    })
    await expect(source.load(soon())).rejects.toThrow('want AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
    expect(peer.web.requests).toEqual([])
    vi.stubEnv('AWS_ACCESS_KEY_ID', peer.keys.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', peer.keys.secretAccessKey)
    await expect.poll(() => source.following().state).toBe('following')
    expect((await source.load(soon())).config).toEqual({ a: 1 })
  })

  test('a function that fails, and credentials that cannot be sent, are told without them', async () => {
    const failing = await peerWith({}, { credentials: () => Promise.reject(new Error('no role')) })
    await expect(failing.source.load(soon())).rejects.toThrow('the function that gives the credentials failed: no role')
    const broken = await peerWith({}, { credentials: { accessKeyId: 'AKIAX', secretAccessKey: 'hunter2\n' } })
    const error: unknown = await broken.source.load(soon()).catch((reason: unknown) => reason)
    expect(String(error)).toContain('hold other than visible ASCII')
    expect(String(error)).not.toContain('hunter2')
    expect(broken.peer.web.requests).toEqual([])
  })

  test('refusals are told by what to do about them, without what is secret', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1' })
    const told = async () => {
      await source.load(soon())
      return (source.following() as { error?: string }).error
    }
    await source.load(soon())
    const { keys } = peer
    peer.keys = { ...keys, secretAccessKey: 'another' }
    expect(await told()).toContain('refuses the signature (403 SignatureDoesNotMatch)')
    peer.keys = { ...keys, accessKeyId: 'AKIAOTHER' }
    expect(await told()).toContain('does not know the access key id (403 InvalidAccessKeyId)')
    peer.keys = keys
    peer.skewMs = 3_600_000
    expect(await told()).toMatch(/RequestTimeTooSkewed\): there it is \S+Z, here \S+Z; want clocks that are right/)
    peer.skewMs = 0
    expect(JSON.stringify(source.following())).not.toMatch(/AKIA|secret\+key/)
  })

  test('no access, no bucket, another region', async () => {
    expect(await said((_, response) => fail(response, 403, 'AccessDenied'))).toContain(
      'want s3:GetObject and s3:ListBucket, without which a key that is not there is refused like this too',
    )
    expect(await said((_, response) => fail(response, 404, 'NoSuchBucket'), 'app/doc')).toContain('404 (NoSuchBucket)')
    const moved = await said((_, response) => {
      response.setHeader('x-amz-bucket-region', 'us-west-2')
      fail(response, 301, 'PermanentRedirect')
    })
    expect(moved).toContain('want the region us-west-2')
    expect(await said((_, response) => response.writeHead(403).end('<html>no'))).toContain(
      'refuses the credentials (403)',
    )
    expect(await said((_, response) => fail(response, 400, 'x'.repeat(80)))).not.toContain('xxx')
  })

  test('a server that is busy is left alone for as long as it says', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1' })
    await source.load(soon())
    peer.web.answering = (_, response) => {
      response.setHeader('retry-after', '3600')
      fail(response, 503, 'SlowDown')
    }
    await source.load(soon())
    const after = peer.web.requests.length
    expect(source.following()).toMatchObject({ state: 'lost', error: expect.stringContaining('503 (SlowDown)') })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(peer.web.requests.length).toBe(after)
  })

  test('what comes with 200 and is no object is refused, and an object after it is taken', async () => {
    const answers: Readonly<Record<string, (response: ServerResponse) => void>> = {
      'is a page': (response) => response.writeHead(200, { 'content-type': 'text/html', etag: '"1"' }).end('a: 1'),
      'is a page; want': (response) => response.writeHead(200, { etag: '"1"' }).end('\n<!DOCTYPE html><p>in'),
      'is an error (InternalError)': (response) => fail(response, 200, 'InternalError'),
      'has no ETag': (response) => response.writeHead(200).end('{}'),
      'is encoded as gzip': (response) =>
        response.writeHead(200, { etag: '"1"', 'content-encoding': 'gzip' }).end('{}'),
    }
    const { peer, source } = await peerWith({ 'app/doc': '{"a":1}' }, { key: 'app/doc' })
    const { answering } = peer.web
    for (const [message, answer] of Object.entries(answers)) {
      peer.web.answering = (_, response) => answer(response)
      await expect(source.load(soon()), message).rejects.toThrow(message)
    }
    peer.web.answering = answering
    expect((await source.load(soon())).config).toEqual({ a: 1 })
    peer.web.answering = (_, response) => answers['is a page']?.(response)
    await expect(source.load(soon())).rejects.toThrow('is a page')
    peer.web.answering = answering
    expect((await source.load(soon())).config, 'not modified').toEqual({ a: 1 })
  })

  test('what is not wholly a list of objects removes nothing', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1' })
    const first = await source.load(soon())
    const { answering } = peer.web
    const object = (key: string) => `<Contents><Key>${key}</Key><ETag>"1"</ETag><Size>1</Size></Contents>`
    const list = (inner: string) => `<ListBucketResult>${inner}</ListBucketResult>`
    const bodies = {
      '<html><p>in</html>': 'an element ends that did not begin',
      '<html/>': 'its element is html',
      '': 'there is not one element around all',
      '<Error><Code>SlowDown</Code></Error>': 'its element is Error',
      [list('')]: 'does not say whether it goes on',
      [list('<IsTruncated>true</IsTruncated>')]: 'does not say whether it goes on',
      [list(`<IsTruncated>false</IsTruncated>${object('other')}`)]: 'which is not below the prefix',
      [list('<IsTruncated>false</IsTruncated><Contents><Key>app/b</Key></Contents>')]: 'lacks its key, ETag or size',
      [`${list('<IsTruncated>false</IsTruncated>').slice(0, -5)}`]: 'other than elements and text',
    }
    for (const [body, message] of Object.entries(bodies)) {
      peer.web.answering = (_, response) => response.writeHead(200).end(body)
      expect(await source.load(soon()), body).toBe(first)
      expect((source.following() as { error?: string }).error, body).toContain(message)
    }
    peer.web.answering = answering
    await source.load(soon())
    expect(source.following().state).toBe('following')
  })

  test('a list that never ends is left', async () => {
    const { peer, source } = await peerWith({ 'app/a': '1' })
    peer.web.answering = (_, response) => {
      const how = '<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>'
      response.writeHead(200).end(`<ListBucketResult>${how}</ListBucketResult>`)
    }
    await expect(source.load(soon())).rejects.toThrow('has the same token for the next page as for this one')
  })

  test('the bucket may be a part of the host', async () => {
    const { peer } = await peerWith({ 'app/a': '1' })
    // In the place of a name server that knows all names of the store.
    const { lookup } = dns
    onTestFinished(() => void (dns.lookup = lookup))
    const known = (_: string, options: object, done: never) => lookup('127.0.0.1', options, done)
    dns.lookup = known as unknown as typeof lookup
    const endpoint = peer.web.proxy.url.replace('127.0.0.1', 'store.example')
    const { bucket, region, keys: credentials } = peer
    // The peer takes the first step of the path for the bucket.
    const source = s3({ bucket, region, endpoint, pathStyle: false, credentials, key: 'shop/app/a', ...slow })
    onTestFinished(() => source.close())
    expect((await source.load(soon())).config).toBe(1)
    expect(peer.web.requests.map(({ headers }) => headers.host)).toEqual([`shop.${new URL(endpoint).host}`])
  })
})

describe('the peer’s own reckoning of signatures is that of the documentation', () => {
  // The examples of "Signature Calculations for the Authorization Header" in Amazon's S3 API reference.
  const keys = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
  const examples = {
    '/test.txt': { range: 'bytes=0-9', of: 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41' },
    '/?lifecycle': { of: 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543' },
    '/?max-keys=2&prefix=J': { of: '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7' },
  }
  for (const [target, { of, ...more }] of Object.entries(examples)) {
    test(`GET ${target}`, () => {
      const date = '20130524T000000Z'
      const signed = ['host', ...Object.keys(more), 'x-amz-content-sha256', 'x-amz-date'].join(';')
      const authorization = (signature: string) =>
        `AWS4-HMAC-SHA256 Credential=${keys.accessKeyId}/20130524/us-east-1/s3/aws4_request,SignedHeaders=${signed},Signature=${signature}`
      const headers = {
        host: 'examplebucket.s3.amazonaws.com',
        'x-amz-date': date,
        'x-amz-content-sha256': empty,
        ...more,
      }
      const check = (signature: string) =>
        refusalOf(
          { method: 'GET', target, headers: { ...headers, authorization: authorization(signature) } },
          keys,
          'us-east-1',
          Date.UTC(2013, 4, 24),
        )
      expect(check(of)).toBeUndefined()
      expect(check(of.replace(/^./, (c) => (c === '0' ? '1' : '0')))).toBe('SignatureDoesNotMatch')
    })
  }
})

test('without the package that signs, it says what to install', async () => {
  // A process in which it cannot be resolved.
  const hook = `export const resolve = (name, context, next) => {
    if (name === 'aws4fetch') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
    return next(name, context)
  }`
  const asData = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`
  const register = `import { register } from 'node:module'; register(${JSON.stringify(asData(hook))})`
  const main = `import { s3 } from ${JSON.stringify(new URL('../src/sources/s3.ts', import.meta.url).href)}
    const credentials = { accessKeyId: 'a', secretAccessKey: 'b' }
    const source = s3({ bucket: 'shop', region: 'eu-west-1', key: 'a', credentials })
    await source.load(AbortSignal.timeout(10_000)).catch((error) => console.log(error.message))
    await source.close()`
  const args = ['--conditions=midflight-source', `--import=${asData(register)}`, '--input-type=module', '-e', main]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  expect(stdout).toContain('reading S3 needs the package aws4fetch: npm install aws4fetch')
})

test('where a bucket is', () => {
  const at = (place: Parameters<typeof locationOf>[0]) => locationOf(place).base.href
  expect(at({ bucket: 'shop', region: 'eu-west-1' })).toBe('https://shop.s3.eu-west-1.amazonaws.com/')
  expect(at({ bucket: 'a.b', region: 'eu-west-1' })).toBe('https://s3.eu-west-1.amazonaws.com/a.b/')
  expect(at({ bucket: 'shop', endpoint: 'http://minio:9000' })).toBe('http://minio:9000/shop/')
  expect(at({ bucket: 'shop', endpoint: 'https://x.example/s3/' })).toBe('https://x.example/s3/shop/')
  expect(at({ bucket: 'shop', endpoint: 'https://x.example', pathStyle: false })).toBe('https://shop.x.example/')
  expect(locationOf({ bucket: 'shop', endpoint: 'http://minio:9000' }).region).toBe('us-east-1')
})

test('options that cannot be meant are refused at the call', () => {
  const usual = { bucket: 'shop', region: 'eu-west-1' }
  expect(() => s3({ ...usual })).toThrow('want one of key and prefix')
  expect(() => s3({ ...usual, key: 'a', prefix: 'b/' })).toThrow('want one of key and prefix')
  expect(() => s3({ ...usual, prefix: 'app' })).toThrow('want it to end in /')
  expect(() => s3({ ...usual, key: 'a/../b' })).toThrow('has a step . or ..')
  expect(() => s3({ ...usual, key: '\ud800' })).toThrow('is no Unicode')
  expect(() => s3({ bucket: 'a/b', key: 'a' })).toThrow('want a name as S3 takes it')
  expect(() => s3({ ...usual, region: '', key: 'a' })).toThrow('want one such as eu-central-1')
  expect(() => s3({ ...usual, key: 'a', endpoint: 'ftp://x' })).toThrow('want http:// or https://')
  expect(() => s3({ ...usual, key: 'a', pollMs: 10 })).toThrow('pollMs is 10; want 100 to 86400000')
})

test('of XML it reads what S3 sends, and no more', () => {
  expect(parseXml('<?xml version="1.0"?>\n<A x="1"><B>&lt;&#65;&#x1F600;&amp;</B>\n<C/></A>')).toEqual({
    name: 'A',
    text: '',
    children: [
      { name: 'B', text: '<A😀&', children: [] },
      { name: 'C', text: '', children: [] },
    ],
  })
  const bad = {
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>': 'other than elements and text',
    '<a>&b;</a>': 'an entity that is no character',
    '<a>& b</a>': 'an entity that is no character',
    '<a>&#0;</a>': 'an entity that is no character',
    '<a>&#xd800;</a>': 'an entity that is no character',
    '<a><![CDATA[x]]></a>': 'other than elements and text',
    '<a><!-- x --></a>': 'other than elements and text',
    '<a>x<b/></a>': 'text stands beside elements',
    '<a><b></a></b>': 'ends that did not begin',
    '<a>': 'ends within an element',
    '<a/><b/>': 'not one element around all',
    '<a/>x': 'not one element around all',
    '<a b=1/>': 'other than elements and text',
    [`${'<a>'.repeat(20)}${'</a>'.repeat(20)}`]: 'too deep',
  }
  for (const [text, message] of Object.entries(bad)) expect(() => parseXml(text), text).toThrow(message)
})
