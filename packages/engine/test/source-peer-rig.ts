/** What the rigs of sources that speak HTTP share: a server behind a proxy that can be cut, and one that nobody trusts. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'vitest'
import { testSource, type SourceFactory, type SourceRig } from '../src/testing/index.ts'
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
  const server = createServer(selfSigned())
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

function selfSigned(): { cert: Buffer; key: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-untrusted-'))
  try {
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
    execFileSync('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'pipe' })
    return { cert: readFileSync(cert), key: readFileSync(key) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export function testsOf(factory: SourceFactory): void {
  for (const { name, skip, run } of testSource(factory)) {
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
  }
}
