/** A ConfigMap or Secret: its name, and what it holds, as entries. Asking for it is `list-watch.ts`. */
import { Buffer } from 'node:buffer'
import type { Json, JsonObject } from '../../json.ts'
import type { News } from '../watching.ts'

export type Fields = JsonObject

/** The name of the object. */
export type KubernetesObject = { readonly configMap: string } | { readonly secret: string }

export interface ObjectName {
  readonly kind: 'ConfigMap' | 'Secret'
  readonly name: string
}

const namePattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/

/** @throws TypeError at the call, if it cannot be meant. */
export function namedObject(what: string, options: KubernetesObject): ObjectName {
  const { configMap, secret } = options as { configMap?: string; secret?: string }
  const name = configMap ?? secret
  if (name === undefined || (configMap !== undefined && secret !== undefined)) {
    throw new TypeError(`${what}: want either a configMap or a secret`)
  }
  if (!namePattern.test(name)) {
    throw new TypeError(`${what}: the name is ${JSON.stringify(name)}; want one as Kubernetes takes it`)
  }
  return { kind: configMap === undefined ? 'Secret' : 'ConfigMap', name }
}

export const dataKeys = 'letters, digits, "-", "_" and ".", at most 253'

export function isDataKey(key: string): boolean {
  return /^[-._a-zA-Z0-9]{1,253}$/.test(key) && key !== '.' && !key.startsWith('..')
}

/** As paths of the API name the kind. */
export function resourceOf({ kind }: Pick<ObjectName, 'kind'>): 'configmaps' | 'secrets' {
  return kind === 'Secret' ? 'secrets' : 'configmaps'
}

export interface Read {
  readonly entries: ReadonlyMap<string, Uint8Array>
  readonly uid: Json | undefined
  readonly version: string
}

/** @returns what cannot be used as news of that kind */
export function entriesOf(
  object: Fields,
  { kind, key }: { readonly kind: 'ConfigMap' | 'Secret'; readonly key: string | undefined },
): Read | Extract<News, { kind: 'unusable' }> {
  const { metadata } = object
  // Empty maps are left out, or null.
  const data = object['data'] ?? {}
  const binaryData = object['binaryData'] ?? {}
  const version = versionOf(object)
  if (version === undefined || !isFields(metadata) || !isFields(data) || !isFields(binaryData)) {
    return { kind: 'unusable', key: key ?? '', code: 'unreadable', message: `is no ${kind} of the API's first version` }
  }
  const isMeant = (one: string) => key === undefined || one === key
  const binary = Object.keys(binaryData).find(isMeant)
  if (binary !== undefined) {
    const message = 'is in binaryData, which holds what is not UTF-8; want text, in data'
    return { kind: 'unusable', key: binary, code: 'encoding', message }
  }
  const entries = new Map<string, Uint8Array>()
  for (const [one, value] of Object.entries(data)) {
    if (!isMeant(one)) continue
    if (typeof value !== 'string') {
      return { kind: 'unusable', key: one, code: 'unreadable', message: 'is no text in the answer of the API' }
    }
    entries.set(one, Buffer.from(value, kind === 'Secret' ? 'base64' : 'utf8'))
  }
  return { entries, uid: metadata['uid'], version }
}

export function isFields(value: Json | undefined): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `metadata.resourceVersion` */
export function versionOf(object: Json | undefined): string | undefined {
  const metadata = isFields(object) ? object['metadata'] : undefined
  const version = isFields(metadata) ? metadata['resourceVersion'] : undefined
  return typeof version === 'string' && /^[\w.-]{1,100}$/.test(version) ? version : undefined
}

/** Versions of one resource are decimal numbers that count up; of others nothing is known. */
export function newer(version: string, before: string): boolean {
  return /^\d+$/.test(version) && /^\d+$/.test(before) && BigInt(version) > BigInt(before)
}
