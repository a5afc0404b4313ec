import { describe, test } from 'vitest'
import { http, type HttpOptions } from '../src/sources/http.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { WebServer } from './source-http-rig.ts'
import { faultsOf, quick as quickly, untrusted } from './source-peer-rig.ts'

const quick = { pollMs: 100, ...quickly } as const

async function open(options: (web: WebServer) => HttpOptions): Promise<SourceRig> {
  const web = await WebServer.listen()
  const closing: (() => Promise<void>)[] = [() => web.close()]
  return {
    newSource: ({ maxBytes }) =>
      http(web.url('doc'), { ...quick, ...options(web), ...(maxBytes !== undefined && { maxBytes }) }),
    write: async (key, value) => web.put(key, Buffer.from(value)),
    remove: async (key) => void web.documents.delete(key),
    loseAll: async () => web.documents.clear(),
    ...faultsOf(web.proxy),
    stopServer: () => web.stop(),
    startServer: () => web.start(),
    async wrongAuth() {
      web.answering = (request, response) =>
        request.headers.authorization === 'Bearer right' ? web.answer(request, response) : response.writeHead(401).end()
      return { source: http(web.url('doc'), { ...quick, token: () => 'wrong' }), attempts: () => web.requests.length }
    },
    async wrongTls() {
      const other = await untrusted()
      closing.push(() => other.close())
      return { source: http(`${other.url}/doc`, quick), attempts: () => other.attempts() }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
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
