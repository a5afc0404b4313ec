/**
 * A store that answers as Amazon's public documentation of S3 says (GetObject, HeadObject, ListObjectsV2, error
 * responses, delete markers): what the tests of `s3()` talk to. Path style, one bucket, kept in memory. It works out
 * the signature of each request by itself, from the documentation of Signature Version 4; `aws4fetch` is not used.
 */
import { Buffer } from 'node:buffer'
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { WebServer } from './source-http-rig.ts'

export interface Signed {
  readonly method: string
  /** As sent: path and query. */
  readonly target: string
  readonly headers: Readonly<Record<string, string | undefined>>
}

export interface Keys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

const mostSkewMs = 15 * 60_000

export class S3Peer {
  readonly web: WebServer
  readonly bucket = 'shop'
  readonly region = 'eu-central-1'
  keys: Keys = { accessKeyId: 'AKIAPEER', secretAccessKey: 'peer/secret+key' }
  /** Removed objects leave a delete marker. */
  isVersioned = true
  pageSize = 1_000
  /** Where its clock stands, beside the time. */
  skewMs = 0
  /** Called before an object is given. */
  beforeGet: (key: string) => void = () => {}
  readonly objects = new Map<string, Buffer>()
  readonly #markers = new Set<string>()

  private constructor(web: WebServer) {
    this.web = web
    web.answering = (request, response) => this.answer(request, response)
  }

  static async listen(): Promise<S3Peer> {
    return new S3Peer(await WebServer.listen())
  }

  put(key: string, value: Uint8Array | string): void {
    this.objects.set(key, Buffer.from(value as string))
    this.#markers.delete(key)
  }

  remove(key: string): void {
    if (this.objects.delete(key) && this.isVersioned) this.#markers.add(key)
  }

  /** Nothing is left, and nothing tells of a removal. */
  lose(): void {
    this.objects.clear()
    this.#markers.clear()
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const signed = request as unknown as { method: string; headers: Record<string, string | undefined> }
    const target = request.url ?? ''
    const code = refusalOf({ ...signed, headers: signed.headers, target }, this.keys, this.region, this.#now())
    if (code !== undefined) {
      fail(response, code === 'ExpiredToken' || code === 'InvalidToken' ? 400 : 403, code)
      return
    }
    const { pathname, searchParams } = new URL(target, 'http://peer')
    const [, bucket, ...steps] = pathname.split('/')
    const key = decodeURIComponent(steps.join('/'))
    if (bucket !== this.bucket) fail(response, 404, 'NoSuchBucket')
    else if (key === '') this.#list(searchParams, response)
    else if (request.method === 'PUT' || request.method === 'DELETE') this.#change(key, request, response)
    else this.#get(key, request, response)
  }

  #now(): number {
    return Date.now() + this.skewMs
  }

  #get(key: string, request: IncomingMessage, response: ServerResponse): void {
    this.beforeGet(key)
    const bytes = this.objects.get(key)
    if (!bytes) {
      if (this.#markers.has(key)) response.setHeader('x-amz-delete-marker', 'true')
      fail(response, 404, 'NoSuchKey', request.method === 'HEAD')
      return
    }
    const etag = etagOf(bytes)
    if (request.headers['if-none-match'] === etag) response.writeHead(304, { etag }).end()
    else {
      const headers = { etag, 'content-type': 'binary/octet-stream', 'content-length': bytes.length }
      response.writeHead(200, headers).end(request.method === 'HEAD' ? undefined : bytes)
    }
  }

  /** A condition is looked at when all has come. */
  #change(key: string, request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      const before = this.objects.get(key)
      const { 'if-match': match, 'if-none-match': noneMatch, 'x-amz-content-sha256': digest } = request.headers
      if (digest !== createHash('sha256').update(body).digest('hex'))
        return fail(response, 400, 'XAmzContentSHA256Mismatch')
      if (match !== undefined && !before) return fail(response, 404, 'NoSuchKey')
      const isExpected = match === undefined || match === etagOf(before as Buffer)
      if (!isExpected || (noneMatch === '*' && before)) return fail(response, 412, 'PreconditionFailed')
      if (request.method === 'DELETE') {
        this.remove(key)
        response.writeHead(204).end()
        return
      }
      this.put(key, body)
      response.writeHead(200, { etag: etagOf(body) }).end()
    })
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const prefix = query.get('prefix') ?? ''
    const isEncoded = query.get('encoding-type') === 'url'
    const after = query.get('continuation-token')
    const token = (key: string) => `token ${Buffer.from(key).toString('base64')}/+=`
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort()
    const from = after === null ? 0 : keys.findIndex((key) => token(key) === after) + 1
    const page = keys.slice(from, from + this.pageSize)
    const isTruncated = from + page.length < keys.length
    // A space as a plus, as S3 does it.
    const shown = (key: string) =>
      xmlText(isEncoded ? encodeURIComponent(key).replaceAll('%2F', '/').replaceAll('%20', '+') : key)
    const contents = page.map((key) => {
      const bytes = this.objects.get(key) as Buffer
      const etag = xmlText(etagOf(bytes))
      return `<Contents><Key>${shown(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>${etag}</ETag><Size>${bytes.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`
    })
    const last = page.at(-1)
    const next = isTruncated ? `<NextContinuationToken>${token(last ?? '')}</NextContinuationToken>` : ''
    const head = `<Name>${this.bucket}</Name><Prefix>${shown(prefix)}</Prefix><MaxKeys>1000</MaxKeys><KeyCount>${page.length}</KeyCount>`
    const how = `${isEncoded ? '<EncodingType>url</EncodingType>' : ''}<IsTruncated>${isTruncated}</IsTruncated>`
    const body = `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${head}${how}${next}${contents.join('')}</ListBucketResult>`
    response
      .writeHead(200, { 'content-type': 'application/xml' })
      .end(`<?xml version="1.0" encoding="UTF-8"?>\n${body}`)
  }
}

export function fail(response: ServerResponse, status: number, code: string, isHead = false): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>m</Message><AWSAccessKeyId>AKIASHOWN</AWSAccessKeyId><RequestId>1</RequestId></Error>`
  response.writeHead(status, { 'content-type': 'application/xml' }).end(isHead ? undefined : body)
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`
}

function xmlText(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[c]};`)
}

/** @returns the code with which S3 refuses the request, if it does. `now` in milliseconds. */
export function refusalOf(request: Signed, keys: Keys, region: string, now: number): string | undefined {
  const { headers } = request
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/, ]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/.exec(
      headers['authorization'] ?? '',
    )
  if (!parts) return 'AccessDenied'
  const [, id = '', day = '', scope = '', names = '', signature = ''] = parts
  if (id !== keys.accessKeyId) return 'InvalidAccessKeyId'
  if (headers['x-amz-security-token'] !== keys.sessionToken) return 'InvalidToken'
  if (scope !== region) return 'AuthorizationHeaderMalformed'
  const stamp = headers['x-amz-date'] ?? ''
  const at = Date.parse(stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (Number.isNaN(at) || !stamp.startsWith(day)) return 'AccessDenied'
  if (Math.abs(at - now) > mostSkewMs) return 'RequestTimeTooSkewed'
  const signed = names.split(';')
  const must = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))]
  if (must.some((name) => !signed.includes(name))) return 'AccessDenied'
  const expected = signatureOf(request, keys.secretAccessKey, signed, { stamp, day, region })
  return timingSafeEqual(Buffer.from(signature), Buffer.from(expected)) ? undefined : 'SignatureDoesNotMatch'
}

function signatureOf(
  { method, target, headers }: Signed,
  secret: string,
  signed: readonly string[],
  { stamp, day, region }: { stamp: string; day: string; region: string },
): string {
  const [path = '', query = ''] = target.split('?', 2)
  const canonicalQuery = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => pair.split('=', 2))
    .map(([name = '', value = '']) => [uriEncode(decodeURIComponent(name)), uriEncode(decodeURIComponent(value))])
    .sort(([a = '', b = ''], [c = '', d = '']) => (a < c || (a === c && b < d) ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
  const canonical = [
    method,
    path
      .split('/')
      .map((step) => uriEncode(decodeURIComponent(step)))
      .join('/'),
    canonicalQuery,
    ...signed.map((name) => `${name}:${(headers[name] ?? '').trim().replace(/ +/g, ' ')}`),
    '',
    signed.join(';'),
    headers['x-amz-content-sha256'],
  ].join('\n')
  const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()
  const scope = `${day}/${region}/s3/aws4_request`
  const toSign = ['AWS4-HMAC-SHA256', stamp, scope, createHash('sha256').update(canonical).digest('hex')].join('\n')
  const key = [day, region, 's3', 'aws4_request'].reduce(hmac, Buffer.from(`AWS4${secret}`))
  return hmac(key, toSign).toString('hex')
}

/** Every byte but the unreserved characters, in upper case. */
function uriEncode(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => String.fromCharCode(byte))
    .map((c) => (/[A-Za-z0-9._~-]/.test(c) ? c : `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`))
    .join('')
}
