/**
 * Writes namespaces of Apollo by the Open API of its portal: the items that differ, and one release of them all. Apollo
 * writes nothing on a condition, so what somebody else edits at the same moment is noticed only when it was released.
 * What items say is `../sources/apollo/namespace.ts`; how one request is made is `../sources/watching/request.ts`.
 */
import { Buffer } from 'node:buffer'
import type { TlsOptions, Token } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import { contentOf, fieldsOf, itemsOf, namespaceOf, textsIn } from '../sources/apollo/namespace.ts'
import { FollowError } from '../sources/watching.ts'
import { ask, bearerOf, httpUrl, jsonIn, type Answer, type Peer } from '../sources/watching/request.ts'
import { calling, refused, textOf, Turns, unlisted, wholeOf, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

export interface ApolloWriterOptions {
  /** Of the portal, such as `http://portal.example:8070`: not of a config service. */
  readonly url: string | URL
  /** As the portal calls it: `DEV`, `PRO`. */
  readonly env: string
  readonly appId: string
  /** Default `default`. */
  readonly cluster?: string
  /** A user of the portal, in whose name it is edited and released. */
  readonly operator: string
  /** Of a third-party application, or of a user (`apollo_pat_…`), that may modify and release the namespaces. */
  readonly token: Token
  readonly tls?: TlsOptions
  /** For each request, milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

const noCompare = 'Apollo has no compare-and-set: what somebody else edits at the same moment is not noticed in time'
const noList = 'namespaces are documents of their own: there is none below another'
const maxBytes = 64 * 1024 * 1024
/** For all items of a namespace: each request has a limit of its own. */
const wholeMs = 600_000
/** Names in an error. */
const shownKeys = 5

type Items = ReadonlyMap<string, string>

interface Release {
  readonly items: Items
  readonly revision: string
}

/** What was edited, released or not; comments are kept. */
type Drafts = ReadonlyMap<string, { readonly value: string; readonly comment: string | undefined }>

interface Edits {
  readonly wanted: Items
  readonly before: Drafts
  /** What is to be edited. */
  readonly changes: readonly string[]
  /** How many items are edited already, and not released. */
  readonly ready: number
}

/**
 * Keys are namespaces, which are there already: `application`, `app.json`. One of properties has an object as its value,
 * of which each value becomes an item (`port` in `server` is `server.port`); items that it has not are removed. A
 * revision is the id of a release. What somebody has edited and not released is refused, and stays.
 * @throws TypeError at the call, if an option cannot be meant.
 */
export function apolloWriter(options: ApolloWriterOptions): Writer {
  const { env, appId, cluster = 'default', operator, token, timeoutMs = 10_000 } = options
  const base = httpUrl('apolloWriter()', options.url)
  for (const [what, value] of Object.entries({ env, appId, cluster, operator, token })) {
    if (typeof value === 'function' || (typeof value === 'string' && value !== '')) continue
    throw new TypeError(`apolloWriter(): ${what} is not there, or empty`)
  }
  for (const [what, value] of Object.entries({ env, appId, cluster })) {
    if (isStep(value)) continue
    throw new TypeError(`apolloWriter(): ${what} is ${JSON.stringify(value)}, which a URL takes for another place`)
  }
  const name = `apollo:${env}/${appId}/${cluster}`
  const peer: Peer = { agent: agentFor(base, options.tls) }
  /** A release holds whatever is edited then. */
  const turns = new Turns()
  /** What this writer has edited and could not release, by namespace: it does not stand in its own way. */
  const unreleased = new Map<string, Map<string, string | undefined>>()

  async function request({ signal }: Call, path: readonly string[], method = 'GET', sent?: object): Promise<Answer> {
    const url = new URL(base)
    const steps = ['openapi', 'v1', 'envs', env, 'apps', appId, 'clusters', cluster, 'namespaces', ...path]
    url.pathname = `${base.pathname.replace(/\/$/, '')}/${steps.map(encodeURIComponent).join('/')}`
    if (method === 'DELETE') url.searchParams.set('operator', operator)
    const text = (await bearerOf(token)) ?? ''
    const authorization = text.startsWith('apollo_pat_') ? `Bearer ${text}` : text
    const headers = { authorization, 'content-type': 'application/json;charset=UTF-8' }
    const body = sent && { body: JSON.stringify(sent) }
    const asked = { url, method, headers, signal, limitMs: timeoutMs, secret: text, ...body }
    return wholeOf(await ask(peer, asked, maxBytes), maxBytes)
  }

  const failed = (answer: Answer): Error => {
    const { message } = fieldsOf(jsonIn(answer))
    return refused(name, answer, typeof message === 'string' ? message.slice(0, 200) : '')
  }

  const wrong = ({ url }: Answer, what: string): FollowError => {
    const at = `${url.origin}${url.pathname}`
    return new FollowError(`${at} answers with ${what}; want the Open API of Apollo's portal`, { transient: false })
  }

  const releaseIn = (answer: Answer): Release => {
    const { id, dataChangeCreatedTime, configurations } = fieldsOf(jsonIn(answer))
    const items = textsIn(configurations)
    if (!items) throw wrong(answer, 'what is no release')
    // Older portals tell no id.
    return { items, revision: String(id ?? dataChangeCreatedTime) }
  }

  /** Undefined: nothing was ever released. */
  async function released(call: Call, namespace: string): Promise<Release | undefined> {
    const answer = await request(call, [namespace, 'releases', 'latest'])
    const isNone = answer.status === 200 && ['', 'null'].includes(answer.body.toString('utf8', 0, 10).trim())
    if (isNone || answer.status === 404) return undefined
    if (answer.status !== 200) throw failed(answer)
    return releaseIn(answer)
  }

  async function drafts(call: Call, namespace: string): Promise<Drafts> {
    const answer = await request(call, [namespace])
    if (answer.status === 404) {
      throw new WriteError(
        'refused',
        `${name}: there is no namespace ${namespace}; want one that was made in the portal`,
      )
    }
    if (answer.status !== 200) throw failed(answer)
    const { items } = fieldsOf(jsonIn(answer))
    if (!Array.isArray(items)) throw wrong(answer, 'what is no namespace')
    const edited = new Map<string, { value: string; comment: string | undefined }>()
    for (const item of items) {
      const { key, value, comment } = fieldsOf(item)
      // Empty lines and comments have no key.
      if (typeof key !== 'string' || key === '' || typeof value !== 'string') continue
      edited.set(key, { value, comment: typeof comment === 'string' ? comment : undefined })
    }
    return edited
  }

  async function edit(call: Call, namespace: string, key: string, value: string | undefined, before: Drafts) {
    const there = before.get(key)
    const path = [namespace, 'items', ...(there ? [key] : [])]
    const item = {
      key,
      value,
      comment: there?.comment,
      dataChangeCreatedBy: operator,
      dataChangeLastModifiedBy: operator,
    }
    const answer =
      value === undefined
        ? await request(call, path, 'DELETE')
        : await request(call, path, there ? 'PUT' : 'POST', item)
    if (answer.status < 200 || answer.status > 299) throw failed(answer)
    // Such as a page that asks for a login. Edits are answered with nothing, or with the item.
    if (answer.body.length > 0 && jsonIn(answer) === undefined) throw wrong(answer, 'what is no edit')
  }

  async function release(call: Call, namespace: string): Promise<Release> {
    call.sent()
    const releaseTitle = `midflight ${new Date().toISOString()}`
    const answer = await request(call, [namespace, 'releases'], 'POST', { releaseTitle, releasedBy: operator })
    if (answer.status !== 200) throw failed(answer)
    return releaseIn(answer)
  }

  /** All of it is released at once. */
  async function editAndRelease(call: Call, namespace: string, { wanted, before, changes, ready }: Edits) {
    let edited = ready
    const all = ready + changes.length
    const leave = (isUnderWay: boolean) => call.leaves(draftsText(edited, all, isUnderWay))
    leave(false)
    const mine = unreleased.get(namespace) ?? new Map<string, string | undefined>()
    unreleased.set(namespace, mine)
    try {
      for (const key of changes) {
        // Also an edit whose answer does not come may be there.
        mine.set(key, wanted.get(key))
        leave(true)
        await edit(call, namespace, key, wanted.get(key), before)
        edited++
      }
      leave(false)
      const made = await release(call, namespace)
      unreleased.delete(namespace)
      call.leaves('')
      return made
    } catch (error) {
      const isAnswered = error instanceof WriteError || (error instanceof FollowError && !error.transient)
      if (isAnswered) leave(false)
      throw error
    }
  }

  /** @returns the revision of the release: it holds all of `wanted`, and nothing else. */
  async function bring(call: Call, namespace: string, wanted: Items): Promise<string> {
    const [before, live] = await Promise.all([drafts(call, namespace), released(call, namespace)])
    const texts = new Map([...before].map(([key, { value }]) => [key, value]))
    const changes = differing(texts, wanted)
    const mine = unreleased.get(namespace)
    const isMine = (key: string) => mine?.has(key) === true && mine.get(key) === texts.get(key)
    // By its name alone it would be asked for; Apollo has no other way to it.
    const unreachable = changes.filter((key) => !isStep(key) || /[/\\]/.test(key))
    if (unreachable.length > 0) {
      const what = `${name}: ${namespace} holds items whose names no URL can hold (${listed(unreachable)})`
      throw new WriteError('refused', `${what}; take them out in the portal. Nothing was written`)
    }
    const foreign = changes.filter((key) => texts.get(key) !== live?.items.get(key) && !isMine(key))
    if (foreign.length > 0) {
      const what = `${name}: ${namespace} holds edits that are not released (${listed(foreign)})`
      throw new WriteError('refused', `${what}; release them or take them back in the portal. Nothing was written`)
    }
    const unlike = differing(live?.items ?? new Map<string, string>(), wanted)
    const ready = unlike.filter((key) => texts.get(key) === wanted.get(key)).length
    const { items, revision } = await editAndRelease(call, namespace, { wanted, before, changes, ready })
    const others = differing(items, wanted)
    if (others.length === 0) return revision
    const what = `${name}: release ${revision} of ${namespace} holds what somebody else edited meanwhile`
    throw new WriteError('unknown', `${what} (${listed(others)}); look at it, and write again`)
  }

  const change = <T>(key: string, expected: Expected, signal: AbortSignal, work: (call: Call) => Promise<T>) => {
    if (expected !== 'any') return Promise.reject(new WriteError('refused', `${name}: ${noCompare}`))
    return turns.take(() => calling(name, wholeMs, signal, work))
  }

  const namespaceIn = (key: string): string => {
    const namespace = namespaceOf(key)
    if (isStep(namespace)) return namespace
    throw new WriteError('refused', `${name}: ${JSON.stringify(key)} is no namespace`)
  }

  const read = async (call: Call, namespace: string): Promise<Stored | undefined> => {
    const live = await released(call, namespace)
    const content = live && (await contentOf(namespace, live.items))
    return live && content !== undefined ? { value: Buffer.from(content), revision: live.revision } : undefined
  }

  return {
    name,
    lacks: {
      compare: noCompare,
      list: noList,
      bytes: 'items are texts',
    },
    read: (key, signal) => calling(name, timeoutMs * 2, signal, async (call) => read(call, namespaceIn(key))),
    list: unlisted(name, noList),
    write: (key, value, expected, signal) =>
      change(key, expected, signal, async (call) => {
        const namespace = namespaceIn(key)
        const wanted = itemsOf(namespace, textOf(name, namespace, value))
        if (typeof wanted === 'string') throw new WriteError('refused', `${name}: ${namespace} ${wanted}`)
        return { kind: 'written', revision: await bring(call, namespace, wanted) }
      }),
    /** Its items; the namespace stays. */
    remove: (key, expected, signal) =>
      change(key, expected, signal, async (call) => {
        const namespace = namespaceIn(key)
        if (!(await read(call, namespace))) return { kind: 'absent' }
        await bring(call, namespace, new Map())
        return { kind: 'removed' }
      }),
    async close() {
      peer.agent.destroy()
    },
  }
}

/** Nothing of it is live; what was edited stays for the next release, of whoever. */
function draftsText(edited: number, all: number, isUnderWay: boolean): string {
  if (edited === 0 && !isUnderWay) return ''
  const items = edited === 0 ? 'items may be edited' : `${edited} of ${all} items ${edited === 1 ? 'is' : 'are'} edited`
  const next = isUnderWay && edited > 0 ? ', and one more may be' : ''
  return `${items}, as drafts that the next release takes along${next}: write again, or take them back in the portal`
}

/** Whether it stays as it is within the path of a URL. */
function isStep(text: string): boolean {
  return text !== '' && !/^\.{1,2}$/.test(text)
}

function differing(some: Items, others: Items): string[] {
  return [...new Set([...some.keys(), ...others.keys()])].filter((key) => some.get(key) !== others.get(key))
}

function listed(keys: readonly string[]): string {
  const more = keys.length > shownKeys ? ` and ${keys.length - shownKeys} more` : ''
  return `${keys.slice(0, shownKeys).join(', ')}${more}`
}
