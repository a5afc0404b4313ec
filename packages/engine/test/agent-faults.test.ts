/** What a program in a fleet makes of a wire and a control plane that misbehave. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import type { ReleaseMessage, Report } from '../src/protocol/messages.ts'
import { signedText, type ReleaseInfo } from '../src/protocol/release.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'
import { TcpProxy } from './tcp-proxy.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))
const proxied = async (fake: FakeControlPlane) => rig.add(await TcpProxy.listen(fake.port))
const applied = (number: number) => (report: Report) => report.number === number && report.status === 'APPLIED'

/** A program that runs release 1, and has said so. */
async function running(options?: FakeOptions) {
  const fake = await plane(options)
  fake.publish({ limit: 1 })
  const program = await rig.program(fake)
  await fake.heard('hello')
  return { fake, ...program }
}

/** Changes each release on its way to agents. */
function altered(fake: FakeControlPlane, alter: (message: ReleaseMessage) => object) {
  fake.frames = (text) => {
    const message = JSON.parse(text) as ReleaseMessage
    return [message.type === 'release' ? JSON.stringify(alter(message)) : text]
  }
}

test('I6: a no is a no to the release that came, and not to one that was lost on its way here and is known by its number', async () => {
  const { fake, engine } = await running()
  fake.publish({ limit: 0 })
  await fake.heard('report', ({ number, status }) => number === 2 && status === 'FAILED')
  const pass = fake.frames
  fake.frames = (text) => (text.includes('"type":"release"') ? [] : [text])
  fake.publish({ limit: 3 })
  const hellos = () => fake.said.flatMap(({ message }) => (message.type === 'hello' ? [message] : []))
  // The first connection tells it of release 3; what it says on the second is what is known of it then.
  for (let i = 0; i < 2; i++) {
    const before = hellos().length
    for (const ws of fake.sockets) ws.terminate()
    await until(() => hellos().length > before && fake.sockets.size > 0)
  }
  expect(hellos().at(-1)).toMatchObject({
    status: 'FAILED',
    detail: expect.stringContaining('limit'),
    seen: 2,
    runs: { number: 1 },
  })
  fake.frames = pass
  for (const ws of fake.sockets) ws.terminate()
  await fake.heard('report', applied(3))
  expect(engine.live.limit).toBe(3)
})

describe('a release that is not what it says', () => {
  test.each([
    ['that comes to another digest', { patch: [{ op: 'replace', path: '/limit', value: 99 }] }],
    ['onto a base that is not here', { base: 77 }],
    ['onto a base with another digest', { baseDigest: `sha256:${'0'.repeat(64)}` }],
    ['that does not fit', { patch: [{ op: 'remove', path: '/nowhere' }] }],
  ])('a delta %s: the whole is asked for', async (_, change) => {
    const { fake, engine } = await running()
    altered(fake, (message) =>
      message.body.kind === 'delta' ? { ...message, body: { ...message.body, ...change } } : message,
    )
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
    expect(await fake.heard('whole')).toMatchObject({ number: 2 })
    expect(engine.live.limit).toBe(2)
  })

  test('the same over long poll', async () => {
    const fake = await plane()
    fake.upgrades = 404
    fake.publish({ limit: 1 })
    const { engine } = await rig.program(fake)
    altered(fake, (message) =>
      message.body.kind === 'delta' ? { ...message, body: { ...message.body, base: 77 } } : message,
    )
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
    expect(engine.live.limit).toBe(2)
  })

  test('a whole that does not come to its digest is refused; the next good one is taken', async () => {
    const { fake, engine } = await running()
    fake.publish({ limit: 2 }, { digest: `sha256:${'0'.repeat(64)}` })
    const report = await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    expect(report.detail).toMatch(/release 2 comes to sha256:[0-9a-f]{64}; want sha256:0000/)
    expect(engine.live.limit).toBe(1)
    fake.publish({ limit: 3 })
    await fake.heard('report', applied(3))
  })

  test('a release of another config is refused', async () => {
    const { fake, engine } = await running()
    fake.publish({ limit: 2 }, { config: 'shop/other' })
    const report = await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    expect(report.detail).toContain('is of shop/other; want shop/gateway/prod')
    expect(engine.live.limit).toBe(1)
  })

  test('a number that is used twice is refused', async () => {
    const { fake, engine, warnings } = await running()
    const { release, content } = fake.made({ limit: 7 }, { number: 1 })
    fake.send(undefined, { type: 'release', release, body: { kind: 'whole', content } })
    await fake.heard('report', (r) => r.number === 1 && r.status === 'FAILED')
    expect(warnings.join()).toContain('a number must not be used twice')
    expect(engine.live.limit).toBe(1)
  })

  test('polls are not repeated at once for what cannot be used', async () => {
    const fake = await plane()
    fake.upgrades = 404
    fake.publish({ limit: 1 })
    await rig.program(fake)
    await fake.heard('hello')
    fake.publish({ limit: 2 }, { digest: `sha256:${'0'.repeat(64)}` })
    await fake.heard('report', (r) => r.number === 2)
    let polls = 0
    fake.intercept = (request) => (request.url?.includes('/poll') && polls++, false)
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(polls).toBeLessThan(20)
  })
})

describe('signatures', () => {
  const keys = Object.fromEntries(
    ['old', 'new', 'foreign'].map((id) => [id, generateKeyPairSync('ed25519')] as const),
  ) as Record<'old' | 'new' | 'foreign', ReturnType<typeof generateKeyPairSync>>
  const pem = (id: keyof typeof keys) => keys[id].publicKey.export({ type: 'spki', format: 'pem' }) as string
  const signer =
    (id: keyof typeof keys, keyId: string = id) =>
    (release: ReleaseInfo) => ({
      keyId,
      alg: 'Ed25519' as const,
      value: sign(null, Buffer.from(signedText(release)), keys[id].privateKey).toString('base64url'),
    })
  const verify = { keys: { old: pem('old'), new: pem('new') } }

  test('one by a key that is known here is taken, also while keys are being rotated', async () => {
    const fake = await plane()
    const first = fake.made({ limit: 1 })
    fake.releases.push({ ...first, release: { ...first.release, signature: signer('old')(first.release) } })
    const { engine } = await rig.program(fake, { verify })
    await fake.heard('hello')
    const next = fake.made({ limit: 2 })
    fake.releases.push({ ...next, release: { ...next.release, signature: signer('new')(next.release) } })
    fake.pushAll()
    await fake.heard('report', applied(2))
    expect(engine.live.limit).toBe(2)
  })

  const refused: [string, (release: ReleaseInfo) => ReleaseInfo['signature'], string][] = [
    ['without a signature', () => undefined, 'is not signed'],
    ['by a key that is not known here', signer('foreign'), 'signed by foreign, a key that is not known here'],
    ['by another key under a known name', signer('foreign', 'new'), 'the signature of release 2 by new does not fit'],
    ['over another number', (r) => signer('new')({ ...r, number: 3 }), 'does not fit'],
    ['over another digest', (r) => signer('new')({ ...r, digest: `sha256:${'0'.repeat(64)}` }), 'does not fit'],
  ]
  test.each(refused)('refused: one %s', async (_, signature, why) => {
    const fake = await plane()
    const first = fake.made({ limit: 1 })
    fake.releases.push({ ...first, release: { ...first.release, signature: signer('old')(first.release) } })
    const { engine } = await rig.program(fake, { verify })
    await fake.heard('hello')
    const next = fake.made({ limit: 2 })
    const made = signature(next.release)
    fake.releases.push({ ...next, release: { ...next.release, ...(made && { signature: made }) } })
    fake.pushAll()
    const report = await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    expect(report.detail).toContain(why)
    expect(engine.live.limit).toBe(1)
  })

  test('not required: unsigned ones are taken, forged ones are not', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { engine } = await rig.program(fake, { verify: { ...verify, required: false } })
    await fake.heard('hello')
    const next = fake.made({ limit: 2 })
    fake.releases.push({ ...next, release: { ...next.release, signature: signer('foreign', 'new')(next.release) } })
    fake.pushAll()
    await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    expect(engine.live.limit).toBe(1)
  })

  test('what is on disk is checked too: a key that was withdrawn no longer counts', async () => {
    const stateDir = await rig.directory()
    const fake = await plane({ sign: signer('old') })
    fake.publish({ limit: 1 })
    await (await rig.program(fake, { stateDir, verify })).close()
    fake.releases.length = 0
    const { url } = fake
    const only = { keys: { new: pem('new') } }
    const { engine, warnings } = await rig.program(url, { stateDir, verify: only, engine: { bundled: { limit: 9 } } })
    expect(engine.live.limit).toBe(9)
    expect(warnings.join()).toContain('what is on disk is not used')
  })
})

describe('a control plane that talks nonsense', () => {
  const frames: [string, string | Buffer][] = [
    ['a binary frame', Buffer.from([1, 2, 3])],
    ['what is not JSON', '<html>log in</html>'],
    ['an unknown type', '{"type":"reboot"}'],
    ['a field that does not fit', '{"type":"pace","pollMs":-1}'],
    ['an error', '{"type":"error","code":"overloaded","message":"come back later"}'],
    ['a __proto__', '{"type":"release","release":{"__proto__":1}}'],
  ]
  test.each(frames)('%s: the connection is opened anew, and nothing is lost', async (_, frame) => {
    const { fake, engine } = await running()
    for (const ws of fake.sockets) ws.send(frame)
    await until(
      () => fake.said.filter(({ message, via }) => message.type === 'hello' && via === 'websocket').length > 1,
    )
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
    expect(engine.live.limit).toBe(2)
  })

  test('a login page with 200 in place of an answer: what is live stays live', async () => {
    const fake = await plane()
    fake.upgrades = 404
    fake.publish({ limit: 1 })
    const { engine, warnings } = await rig.program(fake)
    fake.intercept = (_, response) => (response.end('<html>log in</html>'), true)
    fake.pushAll()
    await until(() => warnings.some((text) => text.includes('is no message')))
    expect(engine.live.limit).toBe(1)
    fake.intercept = () => false
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
  })
})

describe('a wire that breaks', () => {
  test('via is poll while the first long poll in place of a socket waits', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    let asked = 0
    // The look at the start is answered; what waits is never.
    fake.intercept = ({ url = '' }) => /poll.*wait=[1-9]/.test(url) && ++asked > 0
    const { source } = await rig.program(fake, { websocket: false })
    await until(() => asked > 0)
    expect(source.status().via).toBe('poll')
  })

  test('no WebSocket can be had: long polls bring releases, and reports go by HTTP', async () => {
    const fake = await plane()
    fake.upgrades = 404
    fake.publish({ limit: 1 })
    const { engine, source, warnings } = await rig.program(fake)
    expect(await fake.heard('hello', (_, via) => via === 'http')).toMatchObject({
      runs: { number: 1 },
      status: 'APPLIED',
    })
    fake.publish({ limit: 2 })
    await fake.heard('report', (report, via) => via === 'http' && applied(2)(report))
    expect(engine.live.limit).toBe(2)
    expect(source.status().via).toBe('poll')
    expect(warnings.filter((text) => text.includes('answers 404 to the WebSocket'))).toHaveLength(1)
    fake.upgrades = true
    await until(() => source.status().via === 'websocket')
    fake.publish({ limit: 3 })
    await fake.heard('report', (report, via) => via === 'websocket' && applied(3)(report))
  })

  test('F26: cut in the middle of a frame: nothing of it is used, and the release comes anew', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { engine } = await rig.program(proxy.url)
    await fake.heard('hello')
    fake.deltas = false
    proxy.cutAfterBytes = 50_000
    fake.publish({ limit: 2, text: 'x'.repeat(200_000) })
    await fake.heard('report', applied(2))
    expect(engine.live.text).toHaveLength(200_000)
  })

  test('F20: a partition: what is live stays live, and afterwards the newest is applied', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { engine, warnings } = await rig.program(proxy.url)
    await fake.heard('hello')
    proxy.refuse = true
    proxy.reset()
    for (const limit of [2, 3]) fake.publish({ limit })
    await until(() => warnings.some((text) => text.includes('cannot be reached')))
    expect(engine.live.limit).toBe(1)
    proxy.refuse = false
    await fake.heard('report', applied(3))
    expect(engine.live.limit).toBe(3)
  })

  test('F22: a half-open connection is noticed within the lease', async () => {
    const fake = await plane({ pacing: { heartbeatMs: 100, leaseMs: 300 } })
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { engine, source } = await rig.program(proxy.url)
    await until(() => source.status().via === 'websocket')
    proxy.swallow = true
    fake.publish({ limit: 2 })
    await until(() => source.status().via !== 'websocket')
    proxy.swallow = false
    proxy.reset()
    await fake.heard('report', applied(2))
    expect(engine.live.limit).toBe(2)
  })

  test('F21: a one-way partition, in which only the node is heard, is noticed within the lease', async () => {
    const fake = await plane({ pacing: { heartbeatMs: 100, leaseMs: 300 } })
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { source } = await rig.program(proxy.url)
    await until(() => source.status().via === 'websocket')
    proxy.swallowAnswers = true
    fake.publish({ limit: 2 })
    await until(() => source.status().via !== 'websocket')
    proxy.swallowAnswers = false
    proxy.reset()
    await fake.heard('report', applied(2))
  })

  test('F29: a name that is not found: starts from disk, and says why', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 4 })
    await (await rig.program(fake, { stateDir })).close()
    const { engine, warnings } = await rig.program('http://nowhere.invalid:7700', { stateDir })
    expect(engine.live.limit).toBe(4)
    expect(warnings.join()).toMatch(/ENOTFOUND|EAI_AGAIN/)
  })

  test('F43: an answer that drips is given up after its time, and what is on disk is taken', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 4 })
    await (await rig.program(fake, { stateDir })).close()
    const drips: NodeJS.Timeout[] = []
    fake.intercept = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      drips.push(setInterval(() => response.write(' '), 100))
      return true
    }
    fake.upgrades = 503
    const { engine, warnings } = await rig.program(fake, { stateDir })
    for (const drip of drips) clearInterval(drip)
    expect(engine.live.limit).toBe(4)
    expect(warnings.join()).toContain('no answer within 5000 ms')
  })

  test('F24: a release that is lost on the WebSocket comes with the next poll', async () => {
    const { fake, engine } = await running({ pacing: { pollMs: 200 } })
    let lost = 0
    fake.frames = (text) => (text.includes('"release"') && lost++ === 0 ? [] : [text])
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
    expect(lost).toBeGreaterThan(1)
    expect(engine.live.limit).toBe(2)
  })

  test('away at the start, and there later', async () => {
    const early = await plane()
    const { port, url } = early
    await early.close()
    const { engine } = await rig.program(url, { engine: { bundled: { limit: 9 } } })
    const fake = await plane({ port })
    fake.publish({ limit: 1 })
    await fake.heard('report', applied(1))
    expect(engine.live.limit).toBe(1)
  })

  test('F28: where nobody listens no poll is tried, and afterwards the socket is what brings the newest', async () => {
    let fake = await plane()
    fake.publish({ limit: 1 })
    const { source, warnings } = await rig.program(fake)
    await fake.heard('hello')
    const { port, releases } = fake
    await fake.close()
    await until(() => warnings.some((text) => text.includes('ECONNREFUSED')))
    fake = await plane({ port, releases })
    const requests: (string | undefined)[] = []
    fake.intercept = (request) => (requests.push(request.url), false)
    fake.publish({ limit: 2 })
    await fake.heard('report', (report, via) => via === 'websocket' && applied(2)(report))
    expect(source.status().via).toBe('websocket')
    expect(requests).toEqual([])
  })

  test('F28: one of many that start at once is told to come later, and does', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    let polls = 0
    fake.intercept = (_, response) => {
      if (polls++ > 0) return false
      response.writeHead(429, { 'retry-after': '1' }).end()
      return true
    }
    const { engine } = await rig.program(fake)
    expect(engine.live.limit).toBe(1)
  })

  test('sent away: comes back, and not at once', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { source } = await rig.program(fake)
    await until(() => source.status().via === 'websocket')
    fake.send(undefined, { type: 'pace', pollMs: 60_000, reconnectAfterMs: 400 })
    await until(() => source.status().via !== 'websocket')
    await until(() => source.status().via === 'websocket')
  })

  test('a token that is not taken: what is live stays live; a new one from the function is', async () => {
    const fake = await plane({ token: 'new-token' })
    fake.publish({ limit: 1 })
    let token = 'new-token'
    const { engine, source, warnings } = await rig.program(fake, { token: () => token })
    await until(() => source.status().via === 'websocket')
    expect(fake.upgradeHeaders[0]?.authorization).toBe('Bearer new-token')
    token = 'withdrawn'
    for (const ws of fake.sockets) ws.terminate()
    await until(() => warnings.some((text) => text.includes('answers 401')))
    expect(engine.live.limit).toBe(1)
    token = 'new-token'
    await until(() => source.status().via === 'websocket')
    expect(warnings.join()).not.toContain('withdrawn')
  })

  test.each(['', 'a\r\nX-Evil: 1', 'a b', 'é'])('the token %j never reaches a header', async (token) => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    await expect(rig.program(fake, { token })).rejects.toThrow('visible ASCII')
  })

  test('a report that the control plane will not hear does not end every connection', async () => {
    const { fake, source } = await running()
    fake.onReport = (ws) => {
      ws.send('{"type":"error","code":"not-sent","message":"there is no such release"}')
      ws.close(1008)
    }
    fake.publish({ limit: 2 })
    await until(() => fake.reports(2).length > 0 && source.status().via === 'websocket')
    const { length } = fake.said.filter(({ message }) => message.type === 'hello')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(fake.said.filter(({ message }) => message.type === 'hello').length).toBeLessThanOrEqual(length + 2)
    expect(source.status()).toMatchObject({ via: 'websocket', runs: { number: 2 } })
  })

  test('the token is in nothing that the node says or shows', async () => {
    const canary = 'canary-7f3a9c'
    const fake = await plane({ token: canary })
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    let token = canary
    const { engine, source, warnings } = await rig.program(proxy.url, { token: () => token })
    await until(() => source.status().via === 'websocket')
    fake.publish({ limit: 0 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
    for (const ws of fake.sockets) ws.send('nonsense')
    await until(() => warnings.some((text) => text.includes('is not JSON')))
    token = `wrong-${canary}`
    for (const ws of fake.sockets) ws.terminate()
    await until(() => warnings.some((text) => text.includes('401')))
    proxy.refuse = true
    proxy.reset()
    await until(() => warnings.some((text) => /ECONNRESET|hang up/.test(text)))
    token = `${canary}\n`
    await until(() => warnings.some((text) => text.includes('visible ASCII')))
    const shown = [warnings, fake.said, source.status(), engine.status(), engine.metrics()]
    expect(JSON.stringify(shown)).not.toContain('canary')
  })

  test('what a commit came to is kept and reported, though the program is closing', async () => {
    for (const upgrades of [true, 404] as const) {
      const stateDir = await rig.directory()
      const fake = await plane()
      fake.upgrades = upgrades
      fake.publish({ limit: 1 })
      let proceed = () => {}
      const slow = new Promise<void>((resolve) => (proceed = resolve))
      const program = await rig.program(fake, {
        stateDir,
        failOn: async (limit) => {
          if (limit === 2) await slow
          return false
        },
      })
      await fake.heard('hello')
      fake.publish({ limit: 2 })
      await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLYING')
      const closed = program.close()
      proceed()
      await closed
      await fake.heard('report', applied(2))
      fake.releases.length = 0
      expect((await rig.program(fake, { stateDir })).engine.live.limit).toBe(2)
    }
  })

  test('closing in the middle of everything leaves nothing behind', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    for (const upgrades of [true, 404] as const) {
      fake.upgrades = upgrades
      const program = await rig.program(fake)
      await program.close()
      await until(() => fake.sockets.size === 0)
    }
  })
})
