/** The ways to a control plane: with and without the package `ws`, TLS, mutual TLS, behind a proxy's path. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { agentUrl, isExposed, socketUrl, type Remote } from '../src/agent/remote.ts'
import { retryAfterMs } from '../src/http-request.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))

describe('a process without the package ws', () => {
  const run = async (fake: FakeControlPlane, sockets: string) => {
    const program = fileURLToPath(new URL('programs/agent-without-ws.ts', import.meta.url))
    const child = spawn(process.execPath, ['--conditions=midflight-source', program, fake.url, 'the-token', sockets])
    let out = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    const exited = once(child, 'exit')
    rig.add({
      async close() {
        child.kill('SIGKILL')
        await exited
      },
    })
    await fake.heard('hello')
    fake.publish({ limit: 2 })
    const [code] = (await exited) as [number]
    return { out, code, errors }
  }

  test('takes the global WebSocket, with the token as a subprotocol, and ends when it is closed', async () => {
    const fake = await plane({ token: 'the-token' })
    fake.publish({ limit: 1 })
    const { out, code, errors } = await run(fake, 'global')
    expect(errors).toBe('')
    expect(out).toBe('1 nothing\n2 websocket\n')
    expect(code).toBe(0)
    const bearer = `bearer.${Buffer.from('the-token').toString('base64url')}`
    expect(fake.upgradeHeaders[0]?.['sec-websocket-protocol']?.replaceAll(' ', '')).toBe(`midflight.v1,${bearer}`)
  })

  test('nor any other WebSocket, as on Node 20: takes long polls from the start, and ends when it is closed', async () => {
    const fake = await plane({ token: 'the-token' })
    fake.publish({ limit: 1 })
    const { out, code } = await run(fake, 'none')
    expect(out).toBe('1 nothing\n2 poll\n')
    expect(code).toBe(0)
    expect(fake.upgradeHeaders).toEqual([])
  })
})

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const skipped = hasOpenssl ? '' : ' (skipped: there is no openssl here to make certificates with)'

describe.skipIf(!hasOpenssl)(`TLS${skipped}`, () => {
  /** A certificate authority in `folder`, and certificates by it. */
  const authority = (folder: string, name: string) => {
    const file = (kind: string) => join(folder, `${name}${kind}`)
    const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout']
    openssl('req', '-x509', ...key, file('.key'), '-out', file('.crt'), '-subj', `/CN=${name}`, '-days', '2')
    return {
      ca: readFileSync(file('.crt'), 'utf8'),
      issue(subject: string) {
        const to = (kind: string) => join(folder, `${name}-${subject}${kind}`)
        openssl('req', ...key, to('.key'), '-out', to('.csr'), '-subj', `/CN=${subject}`)
        writeFileSync(to('.ext'), 'subjectAltName=IP:127.0.0.1')
        const by = ['-CA', file('.crt'), '-CAkey', file('.key'), '-CAcreateserial', '-days', '2']
        openssl('x509', '-req', '-in', to('.csr'), ...by, '-out', to('.crt'), '-extfile', to('.ext'))
        return { key: readFileSync(to('.key'), 'utf8'), cert: readFileSync(to('.crt'), 'utf8') }
      },
    }
  }

  test('by an authority that is given: WebSocket and polls both', async () => {
    const { ca, issue } = authority(await rig.directory(), 'ours')
    const fake = await plane({ tls: issue('server') })
    fake.publish({ limit: 1 })
    const { source, engine } = await rig.program(fake, { tls: { ca } })
    await until(() => source.status().via === 'websocket')
    fake.publish({ limit: 2 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(engine.live.limit).toBe(2)
  })

  test('F30: by another authority: nothing is taken, nothing is sent, and the reason is said', async () => {
    const folder = await rig.directory()
    const fake = await plane({ tls: authority(folder, 'theirs').issue('server') })
    fake.publish({ limit: 1 })
    await expect(rig.program(fake, { token: 'secret', tls: { ca: authority(folder, 'ours').ca } })).rejects.toThrow(
      /certificate/,
    )
    expect(fake.said).toEqual([])
    expect(fake.upgradeHeaders).toEqual([])
  })

  test('mutual: a node with a certificate gets in, one without does not', async () => {
    const { ca, issue } = authority(await rig.directory(), 'ours')
    const fake = await plane({ tls: { ...issue('server'), ca } })
    fake.publish({ limit: 1 })
    const { source } = await rig.program(fake, { tls: { ca, ...issue('node') } })
    await until(() => source.status().via === 'websocket')
    await expect(rig.program(fake, { tls: { ca } })).rejects.toThrow(/nothing was received/)
  })
})

describe('addresses', () => {
  const remote = (url: string) => ({ url: new URL(url), config: 'shop/gateway/prod' }) as unknown as Remote

  test('a path of the URL is kept, and the name of the config is one segment', () => {
    expect(agentUrl(remote('https://x.example/midflight'), 'poll').href).toBe(
      'https://x.example/midflight/v1/agent/shop%2Fgateway%2Fprod/poll',
    )
    expect(socketUrl(remote('https://x.example/midflight/?a=1#b'))).toBe('wss://x.example/midflight/v1/agent/connect')
    expect(socketUrl(remote('http://127.0.0.1:8710'))).toBe('ws://127.0.0.1:8710/v1/agent/connect')
  })

  test.each([
    ['https://x.example', false],
    ['http://x.example', true],
    ['http://127.0.0.1:1', false],
    ['http://[::1]:1', false],
    ['http://localhost:1', false],
    ['http://127.0.0.1.x.example', true],
    ['http://10.0.0.1', true],
  ])('a token to %s can be read by others: %s', (url, exposed) => {
    expect(isExposed(new URL(url))).toBe(exposed)
  })

  test.each([
    ['7', 7_000],
    ['0', 0],
    ['999999999', 3_600_000],
    ['soon', undefined],
    ['-1', undefined],
    [undefined, undefined],
  ])('Retry-After: %s', (header, ms) => {
    expect(retryAfterMs(header === undefined ? {} : { 'retry-after': header })).toBe(ms)
  })
})
