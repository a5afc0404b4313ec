import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import { http } from '../src/sources/http.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { httpWriter } from '../src/writers/http.ts'
import { putIfChanged } from '../src/writers/put-if-changed.ts'
import { WebServer } from './source-http-rig.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

/** Documents with ETags that are never given twice, and conditions as RFC 9110 has them. */
class Documents {
  readonly #entries = new Map<string, { readonly value: Uint8Array; readonly etag: string }>()
  /** Without: it tells none, and does not look at conditions. */
  hasEtags = true
  token: string | undefined
  #revision = 0

  put(path: string, value: Uint8Array): string {
    const etag = `"${++this.#revision}"`
    this.#entries.set(path, { value, etag })
    return etag
  }

  get(path: string): Uint8Array | undefined {
    return this.#entries.get(path)?.value
  }

  remove(path: string): void {
    this.#entries.delete(path)
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => this.#answer(request, response, Buffer.concat(chunks)))
  }

  #answer({ url = '', method, headers }: IncomingMessage, response: ServerResponse, body: Buffer): void {
    const entry = this.#entries.get(url)
    const isExpected = headers['if-match'] === undefined || headers['if-match'] === entry?.etag
    const isAbsent = headers['if-none-match'] === undefined || entry === undefined
    const end = (status: number, etag?: string, value?: Uint8Array) => {
      const told = this.hasEtags && etag !== undefined ? { etag } : {}
      response.writeHead(status, { 'content-type': 'application/json', ...told }).end(value)
    }
    if (this.token !== undefined && headers.authorization !== `Bearer ${this.token}`) return end(401)
    if (method === 'GET') return entry ? end(200, entry.etag, entry.value) : end(404)
    if (this.hasEtags && !(isExpected && isAbsent)) return end(412)
    if (method === 'PUT') return end(entry ? 204 : 201, this.put(url, body))
    if (!entry) return end(404)
    this.remove(url)
    end(204)
  }
}

async function served() {
  const web = await WebServer.listen()
  const documents = new Documents()
  web.answering = (request, response) => documents.answer(request, response)
  return { web, documents }
}

async function open(): Promise<WriterRig> {
  const { web, documents } = await served()
  const closing: (() => Promise<void>)[] = [() => web.close()]
  const quick = { timeoutMs: 1_000 }
  return {
    newWriter: () => httpWriter(web.proxy.url, quick),
    key: (name) => `/config/${name}?v=1`,
    put: async (key, value) => void documents.put(key, value),
    get: async (key) => documents.get(key),
    remove: async (key) => documents.remove(key),
    newSource: (key) => http(`${web.proxy.url}${key}`),
    ...faultsOf(web.proxy),
    wrongAuth() {
      documents.token = 'right'
      return httpWriter(web.proxy.url, { ...quick, token: 'of-nobody' })
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return httpWriter(server.url, quick)
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('httpWriter(), on a server with conditions as RFC 9110 has them', () => {
  writerTests({ open, without: { list: 'HTTP has no lists' } })
})

test('a server that tells no ETag is written to by force only', async () => {
  const { web, documents } = await served()
  const writer = httpWriter(web.proxy.url)
  onTestFinished(async () => {
    await writer.close()
    await web.close()
  })
  documents.hasEtags = false
  expect(await putIfChanged(writer, '/a', { a: 1 })).toMatchObject({ kind: 'written' })
  expect(await putIfChanged(writer, '/a', { a: 1 })).toMatchObject({ kind: 'unchanged' })
  await expect(putIfChanged(writer, '/a', { a: 2 })).rejects.toThrow('has no strong ETag')
  expect(String(documents.get('/a'))).toBe('{"a":1}')
  expect(await putIfChanged(writer, '/a', { a: 2 }, { force: true })).toMatchObject({ kind: 'written' })
  expect(String(documents.get('/a'))).toBe('{"a":2}')
})
