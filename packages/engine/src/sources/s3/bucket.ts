/**
 * A bucket as it is spoken to: where its objects are, signed requests (AWS Signature Version 4, by `aws4fetch`), and
 * what its refusals mean. None of it shows a credential. What is asked for, and when, is left to `../s3.ts`.
 */
import { createHash } from 'node:crypto'
import { errorText } from '../../deadline.ts'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'
import { ask, httpUrl, refusal, type Answer, type Peer } from '../watching/request.ts'
import { parseXml, textIn } from './xml.ts'

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of credentials that end. */
  readonly sessionToken?: string | undefined
}

export interface S3Place {
  readonly bucket: string
  /** Default: `AWS_REGION`, else `AWS_DEFAULT_REGION`; with an `endpoint` else `us-east-1`. */
  readonly region?: string
  /** Of another server than Amazon's, such as `https://minio.example:9000`. */
  readonly endpoint?: string | URL
  /** The bucket as a part of the path, not of the host. Default: with an `endpoint`, or where its name has a dot. */
  readonly pathStyle?: boolean
  /**
   * A function is asked before each request. Default: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
   * `AWS_SESSION_TOKEN`, as they are then.
   */
  readonly credentials?: S3Credentials | (() => S3Credentials | Promise<S3Credentials>)
}

export interface Bucket {
  readonly peer: Peer
  /** Keys follow its path. */
  readonly base: URL
  readonly region: string
  readonly credentials: S3Place['credentials']
  readonly timeoutMs: number
  /** Keys that were derived for signing, one per day and secret; most of a signature is deriving them. */
  readonly derived: Map<string, ArrayBuffer>
}

export interface Question {
  /** Without one it is asked of the bucket. */
  readonly key?: string
  readonly method?: 'GET' | 'HEAD' | 'PUT' | 'DELETE'
  /** Of a PUT. */
  readonly body?: Uint8Array
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** Of no bytes: only a PUT has a body. */
const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** Credentials that change leave theirs behind. */
const mostDerived = 8

/** @throws TypeError if that is no place */
export function locationOf({ bucket, region, endpoint, pathStyle }: S3Place): { base: URL; region: string } {
  if (!/^[A-Za-z0-9][\w.-]{1,253}[A-Za-z0-9]$/.test(bucket)) {
    throw new TypeError(`s3(): the bucket is ${JSON.stringify(bucket)}; want a name as S3 takes it`)
  }
  const { AWS_REGION, AWS_DEFAULT_REGION } = process.env
  const usual = region ?? AWS_REGION ?? AWS_DEFAULT_REGION ?? (endpoint === undefined ? '' : 'us-east-1')
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/i.test(usual)) {
    throw new TypeError(`s3(): the region is ${JSON.stringify(usual)}; want one such as eu-central-1, or AWS_REGION`)
  }
  const base = httpUrl('s3(): endpoint', endpoint ?? `https://s3.${usual}.amazonaws.com`)
  if (base.search !== '' || base.hash !== '') throw new TypeError('s3(): the endpoint has a query; want none')
  const path = base.pathname.replace(/\/+$/, '')
  const isPath = pathStyle ?? (endpoint !== undefined || bucket.includes('.'))
  if (!isPath) base.hostname = `${bucket}.${base.hostname}`
  base.pathname = isPath ? `${path}/${bucket}/` : `${path}/`
  return { base, region: usual }
}

/** What makes a key one that a URL cannot say, if anything. */
export function unspeakable(key: string): string | undefined {
  if (!key.isWellFormed()) return 'is no Unicode'
  return key.split('/').some((step) => step === '.' || step === '..') ? 'has a step . or ..' : undefined
}

/** One signed request. @throws FollowError if there is no answer, or there are no credentials */
export async function asked(bucket: Bucket, question: Question, maxBytes: number): Promise<Answer> {
  const { key = '', method = 'GET', query = {}, body, signal } = question
  const url = new URL(bucket.base)
  url.pathname += encoded(key).replaceAll('%2F', '/')
  url.search = Object.entries(query)
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .join('&')
  const { AwsV4Signer } = await library()
  if (bucket.derived.size > mostDerived) bucket.derived.clear()
  const signer = new AwsV4Signer({
    ...(await credentialsOf(bucket)),
    method,
    url: url.href,
    headers: { ...question.headers, 'x-amz-content-sha256': body ? sha256(body) : emptySha256 },
    service: 's3',
    region: bucket.region,
    cache: bucket.derived,
  })
  const headers = Object.fromEntries((await signer.sign()).headers)
  const limitMs = bucket.timeoutMs
  return ask(bucket.peer, { url, method, headers, ...(body && { body }), signal, limitMs }, maxBytes)
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** As the signature wants it: whatever is not unreserved in RFC 3986. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

async function credentialsOf({ credentials }: Bucket): Promise<S3Credentials> {
  const lasting = (message: string) => new FollowError(message, { transient: false })
  if (credentials === undefined) {
    const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env
    if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) {
      throw lasting('there are no credentials: want AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the option')
    }
    return given({
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      ...(AWS_SESSION_TOKEN && { sessionToken: AWS_SESSION_TOKEN }),
    })
  }
  if (typeof credentials !== 'function') return given(credentials)
  try {
    return given(await credentials())
  } catch (error) {
    if (error instanceof FollowError) throw error
    throw new FollowError(`the function that gives the credentials failed: ${errorText(error)}`, { cause: error })
  }
}

/** @throws FollowError, which does not show them, if they cannot be sent */
function given(credentials: S3Credentials): S3Credentials {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials
  const isText = (value: unknown, max: number) =>
    typeof value === 'string' && value.length <= max && /^[\x21-\x7e]+$/.test(value)
  const isGiven =
    isText(accessKeyId, 256) &&
    isText(secretAccessKey, 1024) &&
    (sessionToken === undefined || isText(sessionToken, 16_384))
  if (isGiven) return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) }
  throw new FollowError(
    'the credentials lack accessKeyId or secretAccessKey, or hold other than visible ASCII characters',
    { transient: false },
  )
}

/** What an answer that was not hoped for means. Of its body only the code is shown, and what it says of the region. */
export function refused(answer: Answer): FollowError {
  const { url, status } = answer
  const code = codeOf(answer)
  const usual = refusal(answer)
  const why = code === undefined ? undefined : (reasonOf(code, answer) ?? `answers ${status} (${code})`)
  const { transient, retryAfterMs } = usual
  if (why !== undefined) return new FollowError(`${url.origin}${url.pathname} ${why}`, { transient, retryAfterMs })
  if (status !== 401 && status !== 403) return usual
  return new FollowError(`${url.origin}${url.pathname} refuses the credentials (${status})`, { transient: false })
}

/** The code of an error as S3 tells it, whatever the status. */
export function codeOf({ body, headers }: Pick<Answer, 'body' | 'headers'>): string | undefined {
  const told = errorIn(body, 'Code') ?? headers['x-amz-error-code']
  return typeof told === 'string' && /^[\w.-]{1,64}$/.test(told) ? told : undefined
}

function errorIn(body: Buffer, name: string): string | undefined {
  if (body.length > 65_536) return undefined
  try {
    const root = parseXml(body.toString())
    return root.name === 'Error' ? textIn(root, name) : undefined
  } catch {
    return undefined // someone else's page, which is told by its status
  }
}

function reasonOf(code: string, { status, headers, body }: Answer): string | undefined {
  const told = headers['x-amz-bucket-region'] ?? errorIn(body, 'Region')
  const region = typeof told === 'string' && /^[a-z0-9-]{1,63}$/i.test(told) ? told : 'another one'
  const there = Date.parse(headers.date ?? '')
  switch (code) {
    case 'AccessDenied':
      return `refuses access (${status} AccessDenied); want s3:GetObject and s3:ListBucket, without which a key that is not there is refused like this too`
    case 'SignatureDoesNotMatch':
      return `refuses the signature (${status} SignatureDoesNotMatch); want the secret access key that belongs to the access key id`
    case 'InvalidAccessKeyId':
      return `does not know the access key id (${status} InvalidAccessKeyId)`
    case 'ExpiredToken':
    case 'InvalidToken':
      return `refuses the session token (${status} ${code}); want one that has not ended`
    case 'RequestTimeTooSkewed': {
      const clock = Number.isNaN(there) ? '' : `: there it is ${new Date(there).toISOString()}`
      return `refuses the time of the request (${status} RequestTimeTooSkewed)${clock}, here ${new Date().toISOString()}; want clocks that are right`
    }
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
      return `is another region's (${status} ${code}); want the region ${region}`
    default:
      return undefined
  }
}

function library() {
  const message = 'reading S3 needs the package aws4fetch: npm install aws4fetch'
  return optional(
    () => import('aws4fetch'),
    (cause) => new FollowError(message, { transient: false, cause }),
  )
}
