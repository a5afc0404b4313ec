/**
 * Configuration in Nacos: one data id, followed by long polls that compare MD5 sums (its open API, version 1). How one
 * request is made is `watching/request.ts`; trying again and comparing is `watching.ts`; logging in is `nacos/login.ts`.
 */
import { createHash } from 'node:crypto'
import { pause } from '../deadline.ts'
import type { IssueCode } from '../issue.ts'
import { inRange } from '../range.ts'
import { Login, type NacosCredentials } from './nacos/login.ts'
import { isNacosName, nacosNames, nacosUrl } from './nacos/names.ts'
import { FollowError, watching, type News, type WatchingOptions, type WatchingSource } from './watching.ts'
import { Pace } from './watching/pace.ts'
import type { TlsOptions } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import { refusal, type Answer, type Peer } from './watching/request.ts'

export type { NacosCredentials } from './nacos/login.ts'
export type { TlsOptions, Token } from '../credentials.ts'

export interface NacosOptions extends WatchingOptions, NacosCredentials {
  /** Of a server, such as `http://nacos.example:8848`; with another path than `/nacos` where it has one. */
  readonly url: string | URL
  /** Its end says how the content is read, as in `app.yaml`, unless `format` does. */
  readonly dataId: string
  /** Default `DEFAULT_GROUP`. */
  readonly group?: string
  /** The id of a namespace. Default: the public one. */
  readonly tenant?: string
  readonly tls?: TlsOptions
  /** How long a long poll is held, milliseconds, 1,000 to 600,000, default 30,000. Nacos holds at least 10,000. */
  readonly waitMs?: number
  /** How long an answer may take beyond that, milliseconds, default 15,000. */
  readonly timeoutMs?: number
  /** While it changes all the time: how often it is read, milliseconds, 10 to 600,000, default 1,000. */
  readonly paceMs?: number
}

/** Long polls that may follow each other at once. */
const burst = 3
const [betweenConfigs, betweenFields] = ['\u0001', '\u0002']

/**
 * Reads and follows one data id.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function nacos(options: NacosOptions): WatchingSource {
  const { dataId, group = 'DEFAULT_GROUP', tenant = '', waitMs = 30_000, timeoutMs = 15_000, paceMs = 1_000 } = options
  const url = nacosUrl('nacos()', options.url)
  for (const [name, value] of Object.entries({ dataId, group, ...(tenant !== '' && { tenant }) })) {
    if (isNacosName(value)) continue
    throw new TypeError(`nacos(): ${name} is ${JSON.stringify(value)}; want ${nacosNames}`)
  }
  inRange('nacos()', 'waitMs', waitMs, 1_000, 600_000)
  inRange('nacos()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  inRange('nacos()', 'paceMs', paceMs, 10, 600_000)
  const peer: Peer = { agent: agentFor(url, options.tls) }
  const login = new Login(peer, url, options, timeoutMs)
  const maxBytes = options.maxBytes ?? 16 * 1024 * 1024
  const settings: Settings = { url, dataId, group, tenant, waitMs, timeoutMs, paceMs, maxBytes }
  const name = `nacos:${tenant === '' ? '' : `${tenant}/`}${group}/${dataId}`
  return watching(name, { key: dataId }, options, {
    follow: (signal) => follow(login, settings, signal),
    server: url.origin,
    async close() {
      peer.agent.destroy()
    },
  })
}

interface Settings {
  readonly url: URL
  readonly dataId: string
  readonly group: string
  readonly tenant: string
  readonly waitMs: number
  readonly timeoutMs: number
  readonly paceMs: number
  readonly maxBytes: number
}

async function* follow(login: Login, settings: Settings, signal: AbortSignal): AsyncGenerator<News> {
  const pace = new Pace(burst, settings.paceMs)
  let md5 = ''
  for (let isChanged = true; !signal.aborted;) {
    if (isChanged) {
      const answer = await content(login, settings, signal)
      md5 = md5Of(answer, settings.maxBytes)
      yield newsOf(answer, settings)
    } else yield { kind: 'same' }
    await pause(pace.nextMs(), signal)
    if (signal.aborted) return
    isChanged = await hasChanged(login, settings, md5, signal)
  }
}

function content(login: Login, settings: Settings, signal: AbortSignal): Promise<Answer> {
  const { url: base, dataId, group, tenant, timeoutMs, maxBytes } = settings
  const url = new URL(base)
  url.pathname += '/v1/cs/configs'
  for (const [name, value] of Object.entries({ dataId, group, ...(tenant !== '' && { tenant }) })) {
    url.searchParams.set(name, value)
  }
  return login.ask({ url, signal, limitMs: timeoutMs }, maxBytes)
}

/** Of what was read, not what a header says: if the two differ, it is to be read again. */
function md5Of({ status, headers, body }: Answer, maxBytes: number): string {
  if (status !== 200) return ''
  if (body.length <= maxBytes) return createHash('md5').update(body).digest('hex')
  const told = headers['content-md5']
  return typeof told === 'string' ? told : ''
}

function newsOf(answer: Answer, { dataId, maxBytes }: Settings): News {
  const { status, headers, body, url } = answer
  const unusable = (code: IssueCode, message: string): News => ({ kind: 'unusable', key: dataId, code, message })
  // Not there, whoever removed it, or not loaded yet by this server.
  if (status === 404 && body.toString().includes('config data not exist')) return { kind: 'whole', entries: new Map() }
  if (status === 404) {
    const what = `${url.origin}${url.pathname} answers 404 and says nothing of a configuration`
    throw new FollowError(`${what}; want Nacos with version 1 of its open API`, { transient: false })
  }
  // It is being written.
  if (status === 409) throw new FollowError(`${url.origin}${url.pathname} answers 409`)
  if (status !== 200) throw refusal(answer)
  if (body.length > maxBytes) {
    return unusable('limit', `is ${headers['content-length'] ?? 'more'} bytes; want at most ${maxBytes}`)
  }
  if (/^text\/html\b/i.test(headers['content-type'] ?? ''))
    return unusable('unreadable', 'is a page; want a configuration')
  return { kind: 'whole', entries: new Map([[dataId, body]]) }
}

/** Asks by a long poll whether it is another than the one of `md5`. */
async function hasChanged(login: Login, settings: Settings, md5: string, signal: AbortSignal): Promise<boolean> {
  const { url: base, dataId, group, tenant, waitMs, timeoutMs } = settings
  const url = new URL(base)
  url.pathname += '/v1/cs/configs/listener'
  const fields = [dataId, group, md5, ...(tenant === '' ? [] : [tenant])].join(betweenFields)
  const headers = {
    'long-pulling-timeout': String(waitMs),
    'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
  }
  const body = `Listening-Configs=${encodeURIComponent(fields + betweenConfigs)}`
  const limitMs = waitMs + timeoutMs
  const answer = await login.ask({ url, method: 'POST', headers, body, signal, limitMs }, 64 * 1024)
  if (answer.status !== 200) throw refusal(answer)
  const changed = answer.body.toString().trim()
  if (changed === '') return false
  const [changedId, changedGroup] = decoded(changed).split(betweenFields)
  if (changedId === dataId && changedGroup?.split(betweenConfigs, 1)[0] === group) return true
  const where = `${url.origin}${url.pathname}`
  throw new FollowError(`${where} answers with what does not name ${dataId}; want a server of Nacos`, {
    transient: false,
  })
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // which names nothing
  }
}
