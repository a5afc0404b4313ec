/** Where a running process is asked, and with which token: from options and environment to one checked address. */
import { readFileSync } from 'node:fs'
import process from 'node:process'
import type { Command } from 'commander'
import { Refusal } from '../refusal.ts'

export interface AdminOptions {
  readonly url?: string
  readonly socket?: string
  readonly token?: string
  readonly tokenFile?: string
  readonly timeout?: number
}

export interface Address {
  /** For people. */
  readonly name: string
  readonly at: { readonly kind: 'url'; readonly base: URL } | { readonly kind: 'socket'; readonly path: string }
  readonly token: string | undefined
  /** PEM: whose certificates are trusted instead of the system's. */
  readonly ca?: string
  /** Milliseconds for an answer. */
  readonly timeoutMs: number
  /** What to look at when nothing answers; without it, the admin endpoint of a process. */
  readonly missing?: string
}

const maxTimeoutS = 86_400

export function withAdminOptions(command: Command, defaultTimeoutS: number): Command {
  return command
    .option('--url <url>', 'admin endpoint of the process, http://127.0.0.1:9901 (MIDFLIGHT_URL)')
    .option('--socket <path>', 'unix socket of the admin endpoint')
    .option('--token <token>', 'its token; others on this machine can see it here, so rather MIDFLIGHT_TOKEN')
    .option('--token-file <path>', 'file that holds the token')
    .option('--timeout <seconds>', `how long to wait for an answer (default: ${defaultTimeoutS})`, seconds)
}

export function seconds(text: string): number {
  const number = /^\d{1,5}(\.\d{1,3})?$/.test(text) ? Number(text) : NaN
  if (number > 0 && number <= maxTimeoutS) return number
  throw new Refusal(
    'usage',
    `--timeout is ${JSON.stringify(text)}; want seconds, more than 0 and at most ${maxTimeoutS}`,
  )
}

/** Whether the user said where, by option or environment. */
export function isAddressed(options: AdminOptions): boolean {
  return options.url !== undefined || options.socket !== undefined || Boolean(process.env['MIDFLIGHT_URL'])
}

/** @throws Refusal if it is not said where, or said twice, or makes no sense. */
export function addressOf(options: AdminOptions, defaultTimeoutS: number): Address {
  if (options.url !== undefined && options.socket !== undefined) {
    throw new Refusal('usage', 'both --url and --socket are given; want one of them')
  }
  const timeoutMs = (options.timeout ?? defaultTimeoutS) * 1000
  const token = tokenOf(options)
  if (options.socket !== undefined) {
    if (options.socket === '') throw new Refusal('usage', '--socket is empty; want the path of a unix socket')
    return { name: options.socket, at: { kind: 'socket', path: options.socket }, token, timeoutMs }
  }
  const fromEnv = process.env['MIDFLIGHT_URL']
  const text = options.url ?? (fromEnv === '' ? undefined : fromEnv)
  if (text === undefined) {
    throw new Refusal(
      'usage',
      'which process? want --url, --socket or MIDFLIGHT_URL',
      'a gateway with endpoints: [adminHttp({ port: 9901 })] is at --url http://127.0.0.1:9901',
    )
  }
  const base = urlOf(text, options.url === undefined ? 'MIDFLIGHT_URL' : '--url')
  return { name: base.href.replace(/\/$/, ''), at: { kind: 'url', base }, token, timeoutMs }
}

/** @throws Refusal for what is no address of a server. */
export function urlOf(text: string, from: string, like = 'http://127.0.0.1:9901'): URL {
  const wanted = `want one like ${like}`
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text.replace(/^:/, '127.0.0.1:')}`
  const port = /^[^/]*\/\/[^/?#]*:(\d+)(?=[/?#]|$)/.exec(whole)?.[1]
  if (port !== undefined && (Number(port) > 65535 || Number(port) === 0)) {
    throw new Refusal('usage', `${from} has port ${port}; want a port from 1 to 65535`)
  }
  if (!URL.canParse(whole)) throw new Refusal('usage', `${from} is ${JSON.stringify(text)}; ${wanted}`)
  const url = new URL(whole)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new Refusal('usage', `${from} has the scheme ${url.protocol}//; ${wanted}`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new Refusal(
      'usage',
      `${from} holds a user name or password; want none`,
      'a token is given by MIDFLIGHT_TOKEN or --token-file',
    )
  }
  if (url.search !== '' || url.hash !== '') throw new Refusal('usage', `${from} has a query or fragment; ${wanted}`)
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/** The token of options or environment. @throws Refusal */
export function tokenOf(options: Pick<AdminOptions, 'token' | 'tokenFile'>): string | undefined {
  if (options.token !== undefined && options.tokenFile !== undefined) {
    throw new Refusal('usage', 'both --token and --token-file are given; want one of them')
  }
  const fromEnv = process.env['MIDFLIGHT_TOKEN']
  if (options.tokenFile !== undefined) return checkedToken(tokenIn(options.tokenFile), '--token-file')
  if (options.token !== undefined) return checkedToken(options.token, '--token')
  return fromEnv === undefined || fromEnv === '' ? undefined : checkedToken(fromEnv, 'MIDFLIGHT_TOKEN')
}

function tokenIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const what = code === 'ENOENT' ? 'is not there' : `cannot be read (${code ?? String(error)})`
    throw new Refusal('unreadable', `--token-file ${path} ${what}`)
  }
}

/** The token itself is never shown, not even a bad one. */
export function checkedToken(token: string, from: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new Refusal(
    'usage',
    `${from} holds ${token === '' ? 'nothing' : 'what is no token'}; want visible ASCII without spaces`,
  )
}
