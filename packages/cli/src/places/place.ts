/**
 * A place outside of the control plane that a command reads from or writes to, as users type it. Which source and which
 * writer belong to a kind of place is `stores.ts`, one entry each; what is done with them is left to the commands.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Source, Trigger, Writer } from 'midflight'
import { Refusal } from '../refusal.ts'

/** `document`: one key holds all of it. `keys`: the keys below `prefix` do, each a value. */
export type Layout =
  | { readonly kind: 'document'; readonly key: string }
  | {
      readonly kind: 'keys'
      readonly prefix: string
      readonly separator: string
      /** A key is one step, as there is no tree, with such a name. */
      readonly names?: { readonly want: string; fit(name: string): boolean }
    }

export interface Place {
  /** For people: without what a URL says of passwords. */
  readonly name: string
  readonly layout: Layout
  /** What it holds is shown to nobody. */
  readonly isSecret?: boolean
  /** Reads it, and where it can, says when it changed. */
  source(): Source & Partial<Trigger>
  /** @throws Refusal where this kind is only read, with the reason. */
  writer(): Writer
}

/** What a URL says of a store: `etcd://user@host:2379/app/?token-file=…`. */
export class PlaceUrl {
  readonly #url: URL
  readonly #hosts: readonly string[]
  readonly #known = new Set<string>()
  readonly #directory: string

  /** @param directory what the files that it names count from, by default that of the process. @throws Refusal, without the text: it may hold a password. */
  constructor(text: string, directory = '') {
    this.#directory = directory
    const [, head = '', hosts = '', rest = ''] = /^([a-z0-9+.-]+:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/is.exec(text) ?? []
    const [first = '', ...others] = hosts.split(',')
    if (!URL.canParse(head + first + rest)) {
      throw new Refusal('usage', 'a place is no URL; want one like etcd://host:2379/app/')
    }
    this.#url = new URL(head + first + rest)
    this.#hosts = [this.#url.host, ...others]
    const meant = whatIsNotMeant(rest, this.#url)
    if (meant !== undefined) throw new Refusal('usage', `a place ${meant}`)
    // By HTTP it would be taken for the usual one, where somebody else may listen.
    if (this.#hosts.some((host) => /:0+$/.test(host))) throw this.refusal('has the port 0; want 1 to 65535')
  }

  get scheme(): string {
    return this.#url.protocol.slice(0, -1)
  }

  /** For people. */
  get name(): string {
    return `${this.scheme}://${this.#hosts.join(',')}${decodeURI(this.#url.pathname)}`
  }

  get hasHost(): boolean {
    return this.#hosts[0] !== ''
  }

  /** Where it is no host with a port, but a name. */
  get host(): string {
    if (this.#url.hostname === '') throw this.refusal('has no host')
    return this.#url.hostname
  }

  /** `host:port`, several with commas in between. */
  hosts(usualPort: number): readonly string[] {
    if (this.#hosts.includes('')) throw this.refusal('has no host')
    return this.#hosts.map((host) => (/:\d+$/.test(host) ? host : `${host}:${usualPort}`))
  }

  /** Without the slash after the host: `//` begins a key that begins with a slash. */
  get path(): string {
    return decodeURIComponent(this.#url.pathname.replace(/^\//, ''))
  }

  get user(): string | undefined {
    return decodeURIComponent(this.#url.username) || this.option('user')
  }

  /** Of the URL, of a file that it names, or of the environment. */
  secret(option: 'password' | 'token', variable: string): string | undefined {
    const path = this.option(`${option}-file`)
    if (path !== undefined) return this.#fileIn(path).replace(/\r?\n$/, '')
    const inUrl = option === 'password' ? decodeURIComponent(this.#url.password) : ''
    return inUrl || process.env[variable] || undefined
  }

  /** PEM files: `ca`, `cert`, `key`; `tls` alone trusts whom the system does. */
  get tls(): { ca?: string; cert?: string; key?: string } | undefined {
    const files = (['ca', 'cert', 'key'] as const).flatMap((name) => {
      const path = this.option(name)
      return path === undefined ? [] : [[name, this.#fileIn(path)] as const]
    })
    return this.option('tls') === undefined && files.length === 0 ? undefined : Object.fromEntries(files)
  }

  /** @throws Refusal for what would not be sent, where somebody counts on it. */
  refuse(part: 'user' | 'password', want: string): void {
    const given = part === 'user' ? this.#url.username + this.#url.password : this.#url.password
    if (given !== '') throw this.refusal(`is given a ${part}, which is not sent; want ${want}`)
  }

  option(name: string): string | undefined {
    this.#known.add(name)
    return this.#url.searchParams.get(name) ?? undefined
  }

  /** @throws Refusal for an option that nobody asked for. */
  check(): void {
    const unknown = [...this.#url.searchParams.keys()].find((name) => !this.#known.has(name))
    if (unknown === undefined) return
    throw this.refusal(`has the option ${unknown}; want ${[...this.#known].join(', ')}`)
  }

  refusal(what: string): Refusal {
    return new Refusal('usage', `${this.name} ${what}`)
  }

  #fileIn(path: string): string {
    try {
      return readFileSync(resolve(this.#directory, path), 'utf8')
    } catch (error) {
      const { code = String(error) } = error as NodeJS.ErrnoException
      throw new Refusal('unreadable', `${path} cannot be read (${code})`)
    }
  }
}

/** What would be taken for another key than was typed. @returns why, without what was typed: it may hold a password. */
function whatIsNotMeant(path: string, url: URL): string | undefined {
  if (path.includes('#')) return 'holds a #, which begins what no server is told; want %23 in a key'
  if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path.replace(/\?.*$/s, ''))) {
    return 'has a step . or .., which a URL takes for another place; want the key itself'
  }
  try {
    for (const part of [url.pathname, url.username, url.password]) decodeURIComponent(part)
  } catch {
    return 'holds a % that begins no character of UTF-8; want %25 for the sign itself'
  }
  return undefined
}

/** A name that ends in the separator, or none, stands for what is below it. */
export function layoutOf(name: string, separator: string): Layout {
  if (name === '' || name.endsWith(separator)) return { kind: 'keys', prefix: name, separator }
  return { kind: 'document', key: name }
}
