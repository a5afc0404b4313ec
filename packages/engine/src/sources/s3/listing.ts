/**
 * What is below a prefix of a bucket, by ListObjectsV2, page after page. An answer that is not wholly such a list is
 * refused, so that nothing is taken for removed because of a page that someone else put there.
 */
import { errorText } from '../../deadline.ts'
import { FollowError, type News } from '../watching.ts'
import { asked, refused, type Bucket } from './bucket.ts'
import { parseXml, textIn, type Element } from './xml.ts'

export interface Listed {
  readonly etag: string
  readonly sizeBytes: number
}

/** A thousand keys of 1,024 bytes each, encoded, with all that stands around them, are less. */
const mostPageBytes = 8 * 1024 * 1024
const mostPages = 1_000

/** The objects below `prefix` by key, without folders; or why they are not to be read. */
export async function list(
  bucket: Bucket,
  prefix: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Listed> | Extract<News, { kind: 'unusable' }>> {
  const objects = new Map<string, Listed>()
  const tooLarge = (key: string, message: string) => ({ kind: 'unusable', key, code: 'limit', message }) as const
  let token: string | undefined
  let sizeBytes = 0
  for (let page = 0; page < mostPages; page++) {
    const query = { 'encoding-type': 'url', 'list-type': '2', prefix }
    const question = { query: token === undefined ? query : { 'continuation-token': token, ...query }, signal }
    const answer = await asked(bucket, question, mostPageBytes)
    if (answer.status !== 200) throw refused(answer)
    const { found, next } = pageOf(answer.body, prefix, `${answer.url.origin}${answer.url.pathname}`)
    for (const [key, listed] of found) {
      // What browsers of buckets write for a folder.
      if (listed.sizeBytes === 0 && key.endsWith('/')) continue
      objects.set(key, listed)
      sizeBytes += listed.sizeBytes
      if (listed.sizeBytes > maxBytes) return tooLarge(key, `is ${listed.sizeBytes} bytes; want at most ${maxBytes}`)
      if (sizeBytes > maxBytes) {
        return tooLarge(key, `and the keys before it are more than ${maxBytes} bytes together; want less`)
      }
    }
    if (next === undefined) return objects
    if (next === token)
      throw new FollowError(`the list below ${prefix} has the same token for the next page as for this one`)
    token = next
  }
  return tooLarge(prefix, `has more than ${mostPages} pages of keys below it; want less`)
}

function pageOf(body: Buffer, prefix: string, where: string) {
  try {
    if (body.length > mostPageBytes) throw new Error(`it is more than ${mostPageBytes} bytes`)
    const root = parseXml(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body))
    if (root.name !== 'ListBucketResult') throw new Error(`its element is ${root.name}`)
    const isEncoded = textIn(root, 'EncodingType') === 'url'
    const found = root.children.filter(({ name }) => name === 'Contents').map((one) => objectOf(one, isEncoded))
    const stray = found.find(([key]) => !key.startsWith(prefix))
    if (stray) throw new Error(`it has the key ${JSON.stringify(stray[0])}, which is not below the prefix`)
    return { found, next: nextOf(root) }
  } catch (error) {
    throw new FollowError(`${where} answers with no list of objects: ${errorText(error)}`, {
      transient: false,
      cause: error,
    })
  }
}

/** @returns the token of the next page, if there is one */
function nextOf(root: Element): string | undefined {
  const isTruncated = textIn(root, 'IsTruncated')
  if (isTruncated === 'false') return undefined
  const token = textIn(root, 'NextContinuationToken')
  if (isTruncated === 'true' && token) return token
  throw new Error('it does not say whether it goes on, or where')
}

function objectOf(element: Element, isEncoded: boolean): [key: string, listed: Listed] {
  const [told, etag, size] = ['Key', 'ETag', 'Size'].map((name) => textIn(element, name))
  // A plus that is meant is %2B there.
  const key = told !== undefined && isEncoded ? decodeURIComponent(told.replaceAll('+', ' ')) : told
  if (!key || !etag || !size || !/^\d{1,15}$/.test(size)) throw new Error('an object lacks its key, ETag or size')
  return [key, { etag: bareEtag(etag), sizeBytes: Number(size) }]
}

/** Servers differ in whether they write the quotes, in lists and in heads. */
export function bareEtag(etag: string): string {
  return etag.replace(/^(?:W\/)?"(.*)"$/, '$1')
}
