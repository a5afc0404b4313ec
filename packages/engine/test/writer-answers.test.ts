/** Answers to a write that are not what they seem, by what may stand before a server: of Nacos, Kubernetes and Apollo. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { apolloWriter } from '../src/writers/apollo.ts'
import { kubernetesWriter } from '../src/writers/kubernetes.ts'
import { nacosWriter } from '../src/writers/nacos.ts'
import type { Writer } from '../src/writers/writer.ts'
import { ApolloPeer } from './apollo-peer.ts'
import { KubernetesPeer } from './kubernetes-peer.ts'
import { NacosPeer } from './nacos-peer.ts'
import type { WebServer } from './source-http-rig.ts'

const token = 'canary-token'
const timeoutMs = 20_000
const at = 'app/default/app.json'
const soon = () => AbortSignal.timeout(10_000)

interface Opened {
  readonly web: WebServer
  readonly writer: Writer
  isThere(): boolean
}

async function nacosAt(): Promise<Opened> {
  const peer = await NacosPeer.listen()
  peer.user = { username: 'me', password: token }
  peer.tokens.add(token)
  const writer = nacosWriter({ url: peer.url, accessToken: token, timeoutMs })
  return { web: peer.web, writer, isThere: () => peer.get(['app.json', 'DEFAULT_GROUP', '']) !== undefined }
}

async function kubernetesAt(): Promise<Opened> {
  const peer = await KubernetesPeer.listen()
  peer.token = token
  const writer = kubernetesWriter({ url: peer.url, namespace: 'shop', configMap: 'gateway', token, timeoutMs })
  return { web: peer.web, writer, isThere: () => peer.object('ConfigMap', 'gateway') !== undefined }
}

async function apolloAt(): Promise<Opened> {
  const peer = await ApolloPeer.listen()
  peer.portalToken = token
  peer.create(at)
  const writer = apolloWriter({ url: peer.url, env: 'DEV', appId: 'app', operator: 'jo', token, timeoutMs })
  return { web: peer.web, writer, isThere: () => peer.releases > 0 }
}

/** @param answering takes the place of the answer to what changes something. */
async function behind(open: () => Promise<Opened>, answering: (said: string, response: ServerResponse) => void) {
  const opened = await open()
  const { web, writer } = opened
  onTestFinished(async () => {
    await writer.close()
    await web.close()
  })
  const usual = web.answering
  web.answering = (request: IncomingMessage, response) => {
    if (request.method === 'GET') return usual?.(request, response)
    void text(request).then((body) =>
      answering(`${request.url} ${request.headers.authorization ?? ''} ${body}`, response),
    )
  }
  return opened
}

for (const [name, open] of Object.entries({ Nacos: nacosAt, Kubernetes: kubernetesAt, Apollo: apolloAt })) {
  const write = ({ writer }: Opened) => writer.write('app.json', Buffer.from('{"a":"canary-value"}'), 'any', soon())

  test(`what ${name} says is told; where it repeats the token or what was sent, it is not`, async () => {
    for (const cut of [0, 1]) {
      const opened = await behind(open, (said, response) => {
        const shown = cut === 0 ? said : said.slice(said.indexOf('canary') - 20)
        response.writeHead(400).end(JSON.stringify({ message: `cannot read ${shown.slice(0, 250)}` }))
      })
      const failed = write(opened)
      await expect(failed).rejects.toMatchObject({ code: 'refused', message: expect.not.stringContaining('canary') })
      await expect(failed).rejects.toThrow('answers 400: what it says repeats what it was sent, and is not shown')
    }
    const opened = await behind(open, (_said, response) => response.writeHead(400).end('{"message":"too late"}'))
    await expect(write(opened)).rejects.toThrow(/answers 400: .*too late/)
  })

  test(`a page instead of an answer of ${name} to a write is no success`, async () => {
    const opened = await behind(open, (_said, response) => response.writeHead(200).end('<html>Log in</html>'))
    await expect(write(opened)).rejects.toMatchObject({ name: 'WriteError' })
    expect(opened.isThere()).toBe(false)
    const changes = opened.web.requests.filter(({ method }) => method !== 'GET')
    expect(changes).toHaveLength(1)
  })

  test(`what ${name} has no time for is not taken, and may be tried again`, async () => {
    const opened = await behind(open, (_said, response) => response.writeHead(429).end())
    const failed = write(opened)
    await expect(failed).rejects.toMatchObject({ code: 'unreachable', transient: true })
    await expect(failed).rejects.toThrow('answers 429; it was not taken')
  })

  test(`more than ${name} can mean is not read`, async () => {
    const opened = await open()
    onTestFinished(async () => {
      await opened.writer.close()
      await opened.web.close()
    })
    const chunk = Buffer.alloc(4 * 1024 * 1024, '[')
    opened.web.answering = (_request, response) => {
      const more = () => void response.write(chunk, () => response.destroyed || more())
      more()
    }
    await expect(opened.writer.read('app.json', AbortSignal.timeout(60_000))).rejects.toThrow(
      /answers with more than \d+ bytes/,
    )
  }, 60_000)
}
