/** What a ConfigMap or Secret holds, as entries. Asking for it is `list-watch.ts`. */
import { Buffer } from 'node:buffer'
import type { Json, JsonObject } from '../../json.ts'
import type { News } from '../watching.ts'

export type Fields = JsonObject

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
