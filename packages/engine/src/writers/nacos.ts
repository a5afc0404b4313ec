/**
 * Writes to data ids of Nacos (its open API, version 1), only where the MD5 sum of what is there is as expected. Logging
 * in is `../sources/nacos/login.ts`; how one request is made is `../sources/watching/request.ts`.
 */
import { createHash } from 'node:crypto'
import { agentFor } from '../http-request.ts'
import type { NacosOptions } from '../sources/nacos.ts'
import { Login } from '../sources/nacos/login.ts'
import { isNacosName, nacosNames, nacosUrl } from '../sources/nacos/names.ts'
import { FollowError } from '../sources/watching.ts'
import { jsonIn, type Answer, type Peer } from '../sources/watching/request.ts'
import { calling, isAsExpected, refused, saidIn, textOf, unlisted, wholeOf, type Call } from './calling.ts'
import { WriteError, type Stored, type Writer } from './writer.ts'

export type { NacosCredentials } from '../sources/nacos/login.ts'

/** The user needs `r` and `w` on the namespace, group and data ids. */
export type NacosWriterOptions = Pick<
  NacosOptions,
  'url' | 'group' | 'tenant' | 'tls' | 'timeoutMs' | 'username' | 'password' | 'accessToken'
>

const noList = 'a data id holds a whole document: there is none below another'
const maxBytes = 16 * 1024 * 1024
/** The sum of nothing that could be there: Nacos then writes only what is new. */
const noSum = '0'.repeat(32)
/** Of Nacos's own answer, with a status of 500 or 409, where the sum is another. */
const lostRace = /cas publish fail/i
/** Before, it took the sum and compared with something else, or did not compare at all. */
const firstToCompare = [2, 4] as const

/** What would be lost if it were not sent again with a value: as it is sent, and as it is told. */
const kept = { type: 'type', desc: 'desc', appName: 'appName', config_tags: 'configTags', schema: 'schema' } as const

interface Found extends Stored {
  readonly about: Readonly<Record<string, string>>
}

/**
 * Keys are data ids. A revision is the MD5 sum of the content.
 * @throws TypeError at the call, if an option cannot be meant.
 */
export function nacosWriter(options: NacosWriterOptions): Writer {
  const { group = 'DEFAULT_GROUP', tenant = '', timeoutMs = 15_000 } = options
  const url = nacosUrl('nacosWriter()', options.url)
  for (const [what, value] of Object.entries({ group, ...(tenant !== '' && { tenant }) })) {
    if (isNacosName(value)) continue
    throw new TypeError(`nacosWriter(): ${what} is ${JSON.stringify(value)}; want ${nacosNames}`)
  }
  const name = `nacos:${url.host}`
  const peer: Peer = { agent: agentFor(url, options.tls) }
  const login = new Login(peer, url, options, timeoutMs)
  let compares: Promise<boolean> | undefined

  const call = <T>(key: string, signal: AbortSignal, work: (call: Call) => Promise<T>): Promise<T> => {
    if (isNacosName(key)) return calling(name, timeoutMs, signal, work)
    const what = `${JSON.stringify(key)} is no data id; want ${nacosNames}`
    return Promise.reject(new WriteError('refused', `${name}: ${what}`))
  }
  const place = (key: string) => ({ dataId: key, group, ...(tenant !== '' && { tenant }) })
  const at = (path: string, query: Readonly<Record<string, string>> = {}): URL => {
    const asked = new URL(url)
    asked.pathname += path
    asked.search = new URLSearchParams(query).toString()
    return asked
  }

  /** From the database, not from the file that each server writes of it a little later. */
  async function read(key: string, { signal }: Call): Promise<Found | undefined> {
    const asked = { url: at('/v1/cs/configs', { ...place(key), show: 'all' }), signal, limitMs: timeoutMs }
    const answer = wholeOf(await login.ask(asked, maxBytes * 2), maxBytes * 2)
    if (answer.status === 200 && answer.body.length === 0) return undefined
    if (answer.status === 404 && saidIn(answer).includes('config data not exist')) return undefined
    if (answer.status !== 200) throw failed(answer)
    const found = Object(jsonIn(answer)) as Readonly<Record<string, unknown>>
    const { content } = found
    if (found['dataId'] !== key || typeof content !== 'string') {
      const where = `${answer.url.origin}${answer.url.pathname}`
      throw new FollowError(`${where} answers with no configuration; want Nacos with version 1 of its open API`, {
        transient: false,
      })
    }
    const about = Object.entries(kept).flatMap(([field, told]) => {
      const value = found[told]
      return typeof value === 'string' && value !== '' ? [[field, value] as const] : []
    })
    return { value: Buffer.from(content), revision: sumOf(content), about: Object.fromEntries(about) }
  }

  /** Asked once. A server that does not say (404, 410) is newer than those that do not compare. */
  async function refuseBlind({ signal }: Call): Promise<void> {
    compares ??= login
      .ask({ url: at('/v1/console/server/state'), signal, limitMs: timeoutMs }, 64 * 1024)
      .then((answer) => {
        if (answer.status === 404 || answer.status === 410) return true
        if (answer.status !== 200) throw failed(answer)
        const { version } = Object(jsonIn(answer)) as { readonly version?: unknown }
        return isNewEnough(version)
      })
    const isAsked = compares
    try {
      if (await isAsked) return
    } catch (error) {
      if (compares === isAsked) compares = undefined
      throw error
    }
    const from = firstToCompare.join('.')
    throw new WriteError(
      'refused',
      `${name} is older than Nacos ${from}, which compares with what is there before it writes; it can be written by force`,
    )
  }

  async function publish(call: Call, form: Readonly<Record<string, string>>, casMd5?: string): Promise<Answer> {
    const { signal } = call
    const sum = casMd5 !== undefined && { casMd5 }
    // The server takes the sum from a header; some read the form.
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8', ...sum }
    const body = new URLSearchParams({ ...form, ...sum }).toString()
    call.sent()
    const asked = { url: at('/v1/cs/configs'), method: 'POST', headers, body, signal, limitMs: timeoutMs }
    return login.ask(asked, 64 * 1024)
  }

  /** @throws what becomes a WriteError */
  const failed = (answer: Answer): Error => {
    if (answer.status === 404) {
      const where = `${answer.url.origin}${answer.url.pathname}`
      return new WriteError('refused', `${name}: ${where} answers 404; want Nacos with version 1 of its open API`)
    }
    return refused(name, answer, saidIn(answer))
  }

  return {
    name,
    lacks: {
      list: noList,
      revisions: 'Nacos compares MD5 sums: a content that came back has the same',
      bytes: 'a content is text',
      empty: 'Nacos takes no empty content',
    },
    read: (key, signal) =>
      call(key, signal, async (current) => {
        const found = await read(key, current)
        return found && { value: found.value, revision: found.revision }
      }),
    list: unlisted(name, noList),
    write: (key, value, expected, signal) =>
      call(key, signal, async (current) => {
        const content = textOf(name, key, value)
        if (expected !== 'any') await refuseBlind(current)
        const found = await read(key, current)
        // Nacos writes what is not there whatever sum is expected of it.
        if (!isAsExpected(found, expected)) return { kind: 'conflict' }
        const type = /\.ya?ml$/i.test(key) ? 'yaml' : 'json'
        const form = { ...place(key), type, ...found?.about, content }
        const sum = expected === 'any' ? undefined : expected === 'absent' ? noSum : expected.revision
        const answer = await publish(current, form, sum)
        if (sum !== undefined && answer.status >= 400 && lostRace.test(saidIn(answer))) return { kind: 'conflict' }
        if (answer.status !== 200) throw failed(answer)
        if (!isTrue(answer)) throw new WriteError('refused', `${name}: does not take ${key}`)
        return { kind: 'written', revision: sumOf(content) }
      }),
    /** Nacos has no condition for it: what is there is looked at right before. */
    remove: (key, expected, signal) =>
      call(key, signal, async (current) => {
        const found = await read(key, current)
        if (!isAsExpected(found, expected)) return { kind: 'conflict' }
        if (!found) return { kind: 'absent' }
        current.sent()
        const asked = { url: at('/v1/cs/configs', place(key)), method: 'DELETE', signal: current.signal }
        const answer = await login.ask({ ...asked, limitMs: timeoutMs }, 64 * 1024)
        if (answer.status !== 200) throw failed(answer)
        if (!isTrue(answer)) throw new WriteError('refused', `${name}: does not remove ${key}`)
        return { kind: 'removed' }
      }),
    async close() {
      peer.agent.destroy()
    },
  }
}

function sumOf(content: string): string {
  return createHash('md5').update(content).digest('hex')
}

/** As Nacos says that it has done it. */
function isTrue({ body }: Answer): boolean {
  return body.toString('utf8', 0, 20).trim() === 'true'
}

function isNewEnough(version: unknown): boolean {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(String(version)) ?? []
  const [from, after] = firstToCompare
  return Number(major) > from || (Number(major) === from && Number(minor) >= after)
}
