/** By which ways a node that a command starts reaches its control plane: whom it trusts, and what it hears besides. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ControlPlaneOptions } from 'midflight/agent'
import { Refusal } from '../refusal.ts'
import { busAt } from './bus.ts'

/** As flags and files have them. */
export interface Ways {
  /** PEM file: of the control plane's certificate, instead of the system's authorities. */
  readonly ca?: string
  readonly bus?: string
  /** Without a WebSocket, reports go over the bus. */
  readonly busReports?: boolean
  readonly websocket?: boolean
}

/**
 * Made anew for each node: a bus is for one.
 * @param directory what paths in them count from
 * @throws Refusal, without anything that may be a password
 */
export async function waysOf(
  { ca, bus, busReports = false, websocket = true }: Ways,
  directory: string,
): Promise<Pick<ControlPlaneOptions, 'tls' | 'bus' | 'acks' | 'websocket'>> {
  return {
    websocket,
    ...(ca !== undefined && { tls: { ca: authoritiesIn(resolve(directory, ca)) } }),
    ...(bus !== undefined && { bus: await busAt(bus, directory) }),
    ...(busReports && { acks: 'bus' as const }),
  }
}

/** @throws Refusal */
export function authoritiesIn(path: string): string {
  const text = textIn(path)
  try {
    // Node takes what is none for an empty list, and then trusts nobody.
    new X509Certificate(text)
    return text
  } catch {
    throw new Refusal('unreadable', `${path} holds no certificate; want PEM`)
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
