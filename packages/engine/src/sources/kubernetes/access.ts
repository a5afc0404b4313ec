/**
 * Where the API of Kubernetes is and as whom it is asked: as the options say, or as a pod finds it in its cluster.
 * Files are read anew, as the kubelet replaces them.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorText } from '../../deadline.ts'
import type { Json } from '../../json.ts'
import { FollowError } from '../watching.ts'
import type { Token } from '../../credentials.ts'
import { agentFor } from '../../http-request.ts'
import { httpUrl, type Peer } from '../watching/request.ts'
import { isFields, resourceOf, type ObjectName } from './object.ts'

export interface Connection {
  /**
   * Of the API server, or of `kubectl proxy`. Default: that of the cluster in which this runs, with the pod's service
   * account. Where it is given, nothing is taken from there: `token`, `ca` and `namespace` are what they say.
   */
  readonly url?: string | URL
  /** Default: the pod's own. With `url`: `default`. */
  readonly namespace?: string
  /** A bearer token. A function is asked before each request. Default: the service account's, read before each request. */
  readonly token?: Token
  /** PEM texts of the authorities to trust. Default: the cluster's. With `url`: the system's. */
  readonly ca?: string | readonly string[]
  /** Where the service account is mounted. */
  readonly serviceAccountDir?: string
}

export interface Access {
  readonly url: URL
  readonly namespace: string
  /** Its agent is to be destroyed. */
  readonly peer: Peer
}

const mountedAt = '/var/run/secrets/kubernetes.io/serviceaccount'
const namespacePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** @throws TypeError at the call, if an option cannot be meant. What it returns throws FollowError. */
export function accessOf(options: Connection): () => Promise<Access> {
  const { namespace, token, ca, serviceAccountDir = mountedAt } = options
  if (namespace !== undefined && !namespacePattern.test(namespace)) {
    throw new TypeError(`kubernetes(): namespace is ${JSON.stringify(namespace)}; want one as Kubernetes takes it`)
  }
  const url = options.url === undefined ? undefined : httpUrl('kubernetes()', options.url)
  if (url) {
    const peer = () => ({ agent: agentFor(url, ca === undefined ? undefined : { ca }), token })
    return async () => ({ url, namespace: namespace ?? 'default', peer: peer() })
  }
  const file = (name: string) => mounted(join(serviceAccountDir, name))
  return async () => {
    const cluster = clusterUrl()
    const trusted = ca ?? (await file('ca.crt'))
    const named = namespace ?? (await file('namespace'))
    if (!namespacePattern.test(named)) {
      throw new FollowError(`${join(serviceAccountDir, 'namespace')} holds no namespace`, { transient: false })
    }
    return {
      url: cluster,
      namespace: named,
      peer: { agent: agentFor(cluster, { ca: trusted }), token: token ?? (() => file('token')) },
    }
  }
}

/**
 * Why an answer of 401 or 403 came, and what to grant to whom.
 * @param body the API's own account of it, of which only the user is shown.
 */
export function notAllowed(
  status: number,
  body: Json | undefined,
  { url, namespace, name, verb, verbs, ...object }: ObjectName & Asked,
): string | undefined {
  if (status === 401) return `${url.origin} does not know the token, or lacks one (401); want one that has not expired`
  if (status !== 403) return undefined
  const text = isFields(body) && typeof body['message'] === 'string' ? body['message'] : ''
  const who = /\bUser "([\w:.@-]{1,200})"/.exec(text)?.[1] ?? 'who asks'
  const what = `${resourceOf(object)} "${name}" in the namespace ${namespace}`
  const want = `a Role with the verbs ${verbs} on ${what}, bound to it`
  return `${url.origin} does not let ${who} ${verb} ${what} (403); want ${want}`
}

interface Asked {
  readonly url: URL
  readonly namespace: string
  readonly verb: string
  /** All that is to be granted. */
  readonly verbs: string
}

function clusterUrl(): URL {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env
  const text = `https://${host?.includes(':') ? `[${host}]` : host}:${port}`
  if (host !== undefined && host !== '' && URL.canParse(text)) return new URL(text)
  const message = 'KUBERNETES_SERVICE_HOST and _PORT name no server: this is no pod; want the option url'
  throw new FollowError(message, { transient: false })
}

async function mounted(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    const message = `${path} cannot be read (${errorText(error)}); want a pod with automountServiceAccountToken, or options`
    throw new FollowError(message, { transient: false, cause: error })
  }
}
