/** What the rigs of sources and writers share: a server behind a proxy that can be cut, and one that nobody trusts. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'vitest'
import { testSource, type SourceFactory, type SourceRig } from '../src/testing/index.ts'
import { selfSigned } from './self-signed.ts'
import type { TcpProxy } from './tcp-proxy.ts'

/** Short waits for whatever a source waits for. */
export const quick = { timeoutMs: 500, answerMs: 400, retry: { firstMs: 20, maxMs: 200 } } as const

export function faultsOf(proxy: TcpProxy): Required<Pick<SourceRig, 'cutOff' | 'silence' | 'drip' | 'letBack'>> {
  return {
    async cutOff() {
      proxy.refuse = true
      proxy.reset()
    },
    silence: async () => void (proxy.swallow = true),
    drip: async () => void (proxy.bytesPerSecond = 20),
    async letBack() {
      proxy.refuse = false
      proxy.swallow = false
      proxy.bytesPerSecond = Infinity
      proxy.reset()
    },
  }
}

export interface Untrusted {
  readonly url: string
  attempts(): number
  close(): Promise<void>
}

/** A server with a certificate that it signed itself. */
export async function untrusted(): Promise<Untrusted> {
  let attempts = 0
  const folder = mkdtempSync(join(tmpdir(), 'midflight-untrusted-'))
  const { pem, keyPem } = selfSigned(folder)
  rmSync(folder, { recursive: true, force: true })
  const server = createServer({ cert: pem, key: keyPem })
  server.on('connection', () => attempts++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    attempts: () => attempts,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

export function testsOf(factory: SourceFactory): void {
  for (const { name, skip, run } of testSource(factory)) {
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
  }
}
