/**
 * A foreign node-management API as an installer, by a small protocol of JSON over HTTP (docs/targets.md). Every call has
 * an idempotency key and a deadline; trying again is `deployer.ts`. A token is read from its file for each call, so that
 * it can be changed at any time.
 */
import { readFile } from 'node:fs/promises'
import { ask, fieldOf, type Answer } from '../gates/ask.ts'
import { InstallerError, nodeStates, type Call, type Installer, type NodeState, type Wanted } from './installer.ts'

export interface HttpInstallerOptions {
  /** `http:` or `https:`; what is asked for goes below its path. */
  readonly url: string
  /** Its content, without white space around it, is sent as `Authorization: Bearer`. */
  readonly tokenFile?: string
}

const maxAnswerBytes = 16 * 1024 * 1024

/** @throws TypeError for a URL that cannot be used. */
export function httpInstaller(name: string, options: HttpInstallerOptions): Installer {
  const base = baseOf(name, options.url)
  const { tokenFile } = options

  async function headersOf(key: string | undefined): Promise<Record<string, string>> {
    return {
      ...(key !== undefined && { 'idempotency-key': key }),
      ...(tokenFile !== undefined && { authorization: `Bearer ${await tokenIn(name, tokenFile)}` }),
    }
  }

  async function request(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body: unknown,
    signal: AbortSignal,
    key?: string,
  ): Promise<Answer> {
    const headers = await headersOf(key)
    try {
      return await ask({
        url: new URL(`${base}${path}`),
        ...(method !== 'POST' && { method }),
        headers,
        type: 'application/json',
        body: body === undefined ? '' : JSON.stringify(body),
        maxAnswerBytes,
        signal,
      })
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new InstallerError(`${name} ${signal.aborted ? 'did not answer in time' : why}`, true, error)
    }
  }

  /** @param missing a 404 is as good as done: there is nothing that could be left. */
  async function tell(
    method: 'POST' | 'PUT' | 'DELETE',
    path: string,
    { key, signal }: Call,
    body?: unknown,
    missing: 'is-done' | 'is-refused' = 'is-refused',
  ): Promise<void> {
    const { status, json } = await request(method, path, body, signal, key)
    if (status >= 200 && status < 300) return
    if (status === 404 && missing === 'is-done') return
    throw refusal(name, status, json)
  }

  return {
    create: (id, wanted, call) => tell('POST', '/subscriptions', call, { id, ...wanted }),
    update: (id, wanted: Wanted, call) => tell('PUT', at(id), call, wanted),
    enable: (id, call) => tell('POST', at(id, '/enable'), call),
    disable: (id, call) => tell('POST', at(id, '/disable'), call, undefined, 'is-done'),
    inspect: (id, on, call) => tell('PUT', at(id, '/inspection'), call, { on }),
    uninstall: (id, call) => tell('POST', at(id, '/uninstall'), call, undefined, 'is-done'),
    delete: (id, call) => tell('DELETE', at(id), call, undefined, 'is-done'),
    async status(id, signal) {
      const { status, json } = await request('GET', at(id), undefined, signal)
      if (status === 404) return null
      if (status !== 200) throw refusal(name, status, json)
      const [enabled, inspected, digest] = ['enabled', 'inspected', 'digest'].map((field) => fieldOf(json, field))
      const nodes = fieldOf(json, 'nodes')
      const isWell = typeof enabled === 'boolean' && typeof inspected === 'boolean'
      if (!isWell || !(typeof digest === 'string' || digest === null) || !Array.isArray(nodes)) {
        throw new InstallerError(`${name} answers no status; want {enabled, inspected, digest, nodes}`, true)
      }
      const states = nodes.map((node) => nodeIn(name, node))
      if (new Set(states.map(({ node }) => node)).size < states.length) {
        throw new InstallerError(`${name} answers a status that has a node twice; want each once`, true)
      }
      return { enabled, inspected, digest, nodes: states }
    },
  }
}

function at(id: string, rest = ''): string {
  return `/subscriptions/${encodeURIComponent(id)}${rest}`
}

function baseOf(name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.username !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new TypeError(`installer ${name}: url is no http: or https: address without user, query and fragment`)
  }
  return url.href.replace(/\/$/, '')
}

async function tokenIn(name: string, path: string): Promise<string> {
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    // Somebody may be about to put it there.
    const { code } = error as NodeJS.ErrnoException
    throw new InstallerError(`${name}: the token file cannot be read (${code})`, true, error)
  }
  if (/^[\x21-\x7e]{1,8192}$/.test(text)) return text
  throw new InstallerError(`${name}: the token file holds no token of 1 to 8192 visible ASCII characters`, true)
}

/** What may be over soon is tried again: too early, too often, busy, an error of the server, a token that has expired. */
function refusal(name: string, status: number, json: unknown): InstallerError {
  const isTransient = status >= 500 || [401, 408, 409, 425, 429].includes(status)
  const detail = fieldOf(json, 'detail')
  const why = typeof detail === 'string' && detail !== '' ? `: ${detail.slice(0, 300)}` : ''
  return new InstallerError(`${name} answers ${status}${why}`, isTransient)
}

function nodeIn(name: string, value: unknown): NodeState {
  const [node, state, detail] = ['node', 'state', 'detail'].map((field) => fieldOf(value, field))
  if (typeof node !== 'string' || !(nodeStates as readonly unknown[]).includes(state)) {
    throw new InstallerError(`${name} answers a node that is none; want {node, state: ${nodeStates.join(' | ')}}`, true)
  }
  const why = typeof detail === 'string' && detail !== '' ? { detail: detail.slice(0, 300) } : {}
  return { node, state: state as NodeState['state'], ...why }
}
