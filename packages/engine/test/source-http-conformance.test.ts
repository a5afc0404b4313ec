import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { http, type HttpOptions } from '../src/sources/http.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { WebServer } from './source-http-rig.ts'

const folder = mkdtempSync(join(tmpdir(), 'midflight-http-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const quick = { pollMs: 100, timeoutMs: 500, answerMs: 400, retry: { firstMs: 20, maxMs: 200 } } as const

async function open(options: (web: WebServer) => HttpOptions): Promise<SourceRig> {
  const web = await WebServer.listen()
  const closing: (() => Promise<void>)[] = [() => web.close()]
  return {
    newSource: ({ maxBytes }) =>
      http(web.url('doc'), { ...quick, ...options(web), ...(maxBytes !== undefined && { maxBytes }) }),
    write: async (key, value) => web.put(key, Buffer.from(value)),
    remove: async (key) => void web.documents.delete(key),
    loseAll: async () => web.documents.clear(),
    async cutOff() {
      web.proxy.refuse = true
      web.proxy.reset()
    },
    silence: async () => void (web.proxy.swallow = true),
    drip: async () => void (web.proxy.bytesPerSecond = 20),
    async letBack() {
      web.proxy.refuse = false
      web.proxy.swallow = false
      web.proxy.bytesPerSecond = Infinity
      web.proxy.reset()
    },
    stopServer: () => web.stop(),
    startServer: () => web.start(),
    async wrongAuth() {
      web.answering = (request, response) =>
        request.headers.authorization === 'Bearer right' ? web.answer(request, response) : response.writeHead(401).end()
      return { source: http(web.url('doc'), { ...quick, token: () => 'wrong' }), attempts: () => web.requests.length }
    },
    async wrongTls() {
      const { cert, key } = selfSigned()
      let attempts = 0
      const server = createServer({ cert, key })
      server.on('connection', () => attempts++)
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      closing.push(async () => {
        server.close()
        server.closeAllConnections()
        await once(server, 'close')
      })
      const { port } = server.address() as AddressInfo
      return { source: http(`https://127.0.0.1:${port}/doc`, quick), attempts: () => attempts }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

function selfSigned(): { cert: Buffer; key: Buffer } {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const made = ['-keyout', key, '-out', cert, '-days', '1']
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...subject, ...made],
    {
      stdio: 'pipe',
    },
  )
  return { cert: readFileSync(cert), key: readFileSync(key) }
}

const without = {
  prefix: 'one URL is one document',
  removal: '404 is absence, whoever removed it',
  compact: 'a URL has no history',
}

for (const [title, options] of Object.entries({
  'http(), asked now and then': () => ({}),
  'http(), by long poll': () => ({ waitMs: 5_000, timeoutMs: 500 }),
  'http(), with hints from server-sent events': (web: WebServer) => ({ events: web.url('events'), pollMs: 500 }),
})) {
  describe(`${title}`, () => {
    for (const { name, skip, run } of testSource({ open: () => open(options), without })) {
      test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
    }
  })
}
