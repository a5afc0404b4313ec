/**
 * Writes data keys of a ConfigMap or Secret of Kubernetes, by patches that name the version of the object that was
 * looked at. Where the API is and who asks is `../sources/kubernetes/access.ts`; how one request is made is
 * `../sources/watching/request.ts`.
 */
import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { backoffMs, pause } from '../deadline.ts'
import type { KubernetesConnection, KubernetesObject } from '../sources/kubernetes.ts'
import { accessOf, notAllowed, type Access } from '../sources/kubernetes/access.ts'
import { mostBytes } from '../sources/kubernetes/lines.ts'
import {
  dataKeys,
  isDataKey,
  isFields,
  namedObject,
  resourceOf,
  versionOf,
  type Fields,
} from '../sources/kubernetes/object.ts'
import { FollowError } from '../sources/watching.ts'
import { ask, jsonIn, type Answer } from '../sources/watching/request.ts'
import { calling, isAsExpected, Kept, refused, textOf, Turns, wholeOf, wordsOf, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

export { dataKeys, isDataKey }

/** It needs the verbs `get`, `patch` and, where the object is not there yet, `create`. */
export type KubernetesWriterOptions = KubernetesObject & KubernetesConnection & { readonly timeoutMs?: number }

/** Of all values of an object together, as Kubernetes has it. */
const mostDataBytes = 1024 * 1024
/** How often the object is looked at again after somebody has changed it in between. */
const tries = 30

interface Change {
  readonly key: string
  /** Undefined: it is to be removed. */
  readonly value: Uint8Array | undefined
  readonly expected: Expected
}

/**
 * Keys are data keys. A revision is a digest of the value: what happens to other keys of the object is no conflict.
 * The object is made where it is not there; one that is immutable is refused.
 * @throws TypeError at the call, if an option cannot be meant.
 */
export function kubernetesWriter(options: KubernetesWriterOptions): Writer {
  const { timeoutMs = 10_000 } = options
  const object = namedObject('kubernetesWriter()', options)
  const isSecret = object.kind === 'Secret'
  const name = `kubernetes:${object.kind.toLowerCase()}/${object.name}`
  const kept = new Kept(accessOf(options), ({ peer }) => peer.agent.destroy())
  /** Each change goes by the version that the one before has made. */
  const turns = new Turns()

  const call = <T>(signal: AbortSignal, work: (access: Access, call: Call) => Promise<T>): Promise<T> =>
    calling(name, timeoutMs, signal, async (made) => work(await kept.get(), made))

  const check = (key: string): void => {
    if (isDataKey(key)) return
    throw new WriteError('refused', `${name}: ${JSON.stringify(key)} is no data key; want ${dataKeys}`)
  }

  async function request(
    { url: base, namespace, peer }: Access,
    { signal }: Call,
    { verb, body }: { readonly verb: keyof typeof methods; readonly body?: Fields },
  ): Promise<Answer> {
    const url = new URL(base)
    const one = verb === 'create' ? '' : `/${object.name}`
    url.pathname = `${base.pathname.replace(/\/$/, '')}/api/v1/namespaces/${namespace}/${resourceOf(object)}${one}`
    if (body) url.searchParams.set('fieldManager', 'midflight')
    const type = verb === 'patch' ? 'application/merge-patch+json' : 'application/json'
    const headers = { accept: 'application/json', ...(body && { 'content-type': type }) }
    const sent = body && { body: JSON.stringify(body) }
    const asked = { url, method: methods[verb], headers, signal, limitMs: timeoutMs, ...sent }
    const answer = wholeOf(await ask(peer, asked, mostBytes), mostBytes)
    const told = messageIn(answer)
    if (answer.status === 403 && told !== '' && !told.includes('User "')) {
      const what = `${name}: the cluster's own rules forbid it (403)`
      throw new WriteError('refused', isSecret ? what : `${what}: ${wordsOf(answer, told)}`)
    }
    const wanted = { ...object, url, namespace, verb, verbs: 'get, patch and create' }
    const why = notAllowed(answer.status, jsonIn(answer), wanted)
    if (why !== undefined) throw new FollowError(why, { transient: false })
    return answer
  }

  /** As it is now: without a version to go by, the API asks its store. */
  async function read(access: Access, current: Call): Promise<Fields | undefined> {
    const answer = await request(access, current, { verb: 'get' })
    const told = jsonIn(answer)
    if (answer.status === 404 && isFields(told) && told['reason'] === 'NotFound') return undefined
    if (answer.status !== 200 && answer.status !== 404) throw failed(answer)
    if (answer.status === 200 && isFields(told) && versionOf(told) !== undefined) return told
    throw noObject(answer)
  }

  /** A page that asks for a login, say, and has nothing to do with what was asked. */
  const noObject = ({ url: { origin, pathname } }: Answer): FollowError => {
    const what = `${origin}${pathname} answers with no ${object.kind}; want the URL of a Kubernetes API`
    return new FollowError(what, { transient: false })
  }

  async function change(access: Access, current: Call, { key, value, expected }: Change) {
    for (let attempt = 0; attempt < tries; attempt++) {
      const there = await read(access, current)
      const values = there ? valuesOf(there, isSecret) : new Map<string, Uint8Array>()
      const found = values.get(key)
      if (!isAsExpected(there && found && storedIn(there, found), expected)) return { kind: 'conflict' } as const
      if (!found && !value) return { kind: 'absent' } as const
      if (there?.['immutable'] === true) {
        const want = 'make another under another name, or delete it and write again'
        throw new WriteError('refused', `${name} is immutable, so Kubernetes changes nothing in it; ${want}`)
      }
      if (value) refuseTooLarge(new Map([...values, [key, value]]))
      current.sent()
      const answer = await request(access, current, there ? patchOf(there, key, value) : creationOf(key, value))
      if (answer.status === 200 || answer.status === 201) {
        const told = jsonIn(answer)
        if (!isFields(told) || versionOf(told) === undefined) throw noObject(answer)
        return { kind: 'done', revision: storedIn(told, value ?? Buffer.alloc(0)).revision } as const
      }
      // The object is another than the one that was looked at, or has been made meanwhile, or removed.
      if (answer.status !== 409 && !(there && answer.status === 404)) throw failed(answer)
      await pause(backoffMs(attempt, 5, 200), current.signal)
    }
    const what = `${name} was changed by others each of ${tries} times between a look and a write; nothing was written`
    throw new WriteError('unreachable', what)
  }

  const patchOf = (there: Fields, key: string, value: Uint8Array | undefined) => {
    const { binaryData } = there
    const isBinary = isFields(binaryData) && Object.hasOwn(binaryData, key)
    const body = {
      metadata: { resourceVersion: versionOf(there) ?? '' },
      data: { [key]: value ? dataText(key, value) : null },
      ...(isBinary && { binaryData: { [key]: null } }),
    }
    return { verb: 'patch', body } as const
  }

  const creationOf = (key: string, value: Uint8Array | undefined) => {
    const data = value ? { [key]: dataText(key, value) } : {}
    const body = { apiVersion: 'v1', kind: object.kind, metadata: { name: object.name }, data }
    return { verb: 'create', body } as const
  }

  const dataText = (key: string, value: Uint8Array): string =>
    isSecret ? Buffer.from(value).toString('base64') : textOf(name, key, value)

  const refuseTooLarge = (values: ReadonlyMap<string, Uint8Array>): void => {
    let sizeBytes = 0
    for (const value of values.values()) sizeBytes += value.length
    if (sizeBytes <= mostDataBytes) return
    const what = `${name} would hold ${sizeBytes} bytes`
    throw new WriteError('refused', `${what}; Kubernetes takes at most ${mostDataBytes} in one object`)
  }

  /** What the API says of a Secret may hold some of it. */
  const failed = (answer: Answer): Error => refused(name, answer, isSecret ? '' : messageIn(answer))

  const inTurn = (signal: AbortSignal, changed: Change) =>
    call(signal, (access, current) => turns.take(() => change(access, current, changed)))

  return {
    name,
    lacks: {
      revisions: 'data keys have no versions of their own: a value that came back is taken for the same',
      ...(!isSecret && { bytes: 'a ConfigMap holds text; what is in binaryData no source reads' }),
    },
    read: async (key, signal) => {
      check(key)
      const there = await call(signal, read)
      const value = there && valuesOf(there, isSecret).get(key)
      return value && storedIn(there, value)
    },
    async *list(prefix, signal) {
      const there = await call(signal, read)
      if (!there) return
      for (const [key, value] of valuesOf(there, isSecret)) {
        if (key.startsWith(prefix)) yield { key, ...storedIn(there, value) }
      }
    },
    write: async (key, value, expected, signal) => {
      check(key)
      const done = await inTurn(signal, { key, value, expected })
      return done.kind === 'done' ? { kind: 'written', revision: done.revision } : { kind: 'conflict' }
    },
    remove: async (key, expected, signal) => {
      check(key)
      const { kind } = await inTurn(signal, { key, value: undefined, expected })
      return { kind: kind === 'done' ? 'removed' : kind }
    },
    close: () => kept.close(),
  }
}

function messageIn(answer: Answer): string {
  const told = jsonIn(answer)
  return isFields(told) && typeof told['message'] === 'string' ? told['message'].slice(0, 300) : ''
}

/** By what permissions call them. */
const methods = { get: 'GET', patch: 'PATCH', create: 'POST' } as const

/** Bytes that are no text are in `binaryData`. Keys are in one of the two. */
function valuesOf(object: Fields, isSecret: boolean): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>()
  for (const field of ['data', 'binaryData'] as const) {
    const entries = object[field]
    const encoding = isSecret || field === 'binaryData' ? 'base64' : 'utf8'
    for (const [key, value] of Object.entries(isFields(entries) ? entries : {})) {
      if (typeof value === 'string') values.set(key, Buffer.from(value, encoding))
    }
  }
  return values
}

/** With the object's uid, so that revisions, which are shown, tell nobody what a Secret may hold. */
function storedIn(object: Fields, value: Uint8Array): Stored {
  const { metadata } = object
  const uid = isFields(metadata) ? String(metadata['uid']) : ''
  return { value, revision: createHash('sha256').update(`${uid}/`).update(value).digest('hex').slice(0, 32) }
}
