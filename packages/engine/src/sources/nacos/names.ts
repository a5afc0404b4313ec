/** Where a server of Nacos is, and what it takes as a data id, a group and the id of a namespace. */
import { httpUrl } from '../watching/request.ts'

/** @throws TypeError at the call, if it cannot be meant. */
export function nacosUrl(what: string, text: string | URL): URL {
  const url = httpUrl(what, text)
  if (url.pathname === '/') url.pathname = '/nacos'
  return url
}

export const nacosNames = 'letters, digits and . : - _, at most 256'

export function isNacosName(value: unknown): boolean {
  return typeof value === 'string' && /^[\w.:-]{1,256}$/.test(value)
}
