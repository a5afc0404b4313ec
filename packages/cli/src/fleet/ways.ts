/**
 * By which ways a node that a command starts reaches its control plane: whom it trusts, who it says it is, and what it
 * hears besides.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ControlPlaneOptions, TlsOptions } from 'midflight/agent'
import { Refusal } from '../refusal.ts'
import { busAt } from './bus.ts'

/** As flags and files have them. */
export interface Ways {
  /** PEM file: of the control plane's certificate, instead of the system's authorities. */
  readonly ca?: string
  /** PEM files: the certificate by which the control plane knows this node, and its key. */
  readonly cert?: string
  readonly key?: string
  readonly bus?: string
  /** Without a WebSocket, reports go over the bus. */
  readonly busReports?: boolean
  readonly websocket?: boolean
}

/**
 * Made anew for each node: a bus is for one. The PEM files are read again at each connection.
 * @param directory what paths in them count from
 * @throws Refusal, without anything that may be a password
 */
export async function waysOf(
  { ca, cert, key, bus, busReports = false, websocket = true }: Ways,
  directory: string,
): Promise<Pick<ControlPlaneOptions, 'tls' | 'bus' | 'acks' | 'websocket'>> {
  const tls = (): TlsOptions => ({
    ...(ca !== undefined && { ca: authoritiesIn(resolve(directory, ca)) }),
    ...identityIn(cert, key, directory),
  })
  const hasTls = Object.keys(tls()).length > 0
  return {
    websocket,
    ...(hasTls && { tls }),
    ...(bus !== undefined && { bus: await busAt(bus, directory) }),
    ...(busReports && { acks: 'bus' as const }),
  }
}

/** @throws Refusal */
export function authoritiesIn(path: string): string {
  const text = textIn(path)
  // Node takes what is none for an empty list, and then trusts nobody.
  certificateIn(path, text)
  return text
}

function identityIn(cert: string | undefined, key: string | undefined, directory: string) {
  if (cert === undefined && key === undefined) return {}
  if (cert === undefined || key === undefined) {
    throw new Refusal('usage', 'one of the certificate and its key is missing; want both')
  }
  const [certPath, keyPath] = [resolve(directory, cert), resolve(directory, key)]
  const [certText, keyText] = [textIn(certPath), textIn(keyPath)]
  if (!certificateIn(certPath, certText).checkPrivateKey(privateKeyIn(keyPath, keyText))) {
    throw new Refusal('unreadable', `${keyPath} is not the key of the certificate in ${certPath}`)
  }
  return { cert: certText, key: keyText }
}

function certificateIn(path: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text)
  } catch {
    throw new Refusal('unreadable', `${path} holds no certificate; want PEM`)
  }
}

function privateKeyIn(path: string, text: string) {
  try {
    return createPrivateKey(text)
  } catch {
    // What OpenSSL says of it may show pieces of the file.
    throw new Refusal('unreadable', `${path} holds no private key without a passphrase; want PEM`)
  }
}

function textIn(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException
    throw new Refusal('unreadable', `${path} cannot be read (${code})`)
  }
}
