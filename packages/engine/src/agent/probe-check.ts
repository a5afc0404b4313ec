/** One check of a probe: a function, an HTTP answer or a command. When it is asked, and for how long, is `probe.ts`. */
import { endOf } from '../command.ts'
import { bodyOf, headOf } from '../http-request.ts'

export type Check =
  | ((signal: AbortSignal) => void | Promise<void>)
  | { readonly http: string | URL; readonly expect?: number }
  | { readonly command: readonly string[] }

/**
 * Resolves with a detail, or nothing, for a yes; rejects with why for a no. When the signal aborts it rejects once
 * nothing of it is left, as far as that lies with it.
 */
type Ask = (signal: AbortSignal) => Promise<string>

/** @throws TypeError for a check that can never be a yes. */
export function checkOf(check: Check): Ask {
  if (typeof check === 'function') return called(check)
  return 'http' in check ? got(urlOf(check.http), statusOf(check.expect)) : ran(commandOf(check.command))
}

function called(check: (signal: AbortSignal) => unknown): Ask {
  return async (signal) => {
    const answer = await check(signal)
    // `() => server.listening` fits the type, and must not be a yes whatever it says.
    if (answer === false) throw new Error('the check said false')
    return ''
  }
}

const maxAnswerBytes = 2 ** 16

function got(url: URL, expect: number | undefined): Ask {
  return async (signal) => {
    let status: number
    let body: Buffer
    try {
      const headers = { 'user-agent': 'midflight' }
      const response = await headOf({ url, method: 'GET', headers, agent: false, signal })
      status = response.statusCode ?? 0
      body = await bodyOf(response, maxAnswerBytes)
    } catch (error) {
      // Only the code: the rest may quote what went over the wire.
      throw new Error(`no answer: ${(error as NodeJS.ErrnoException).code ?? 'the connection was closed'}`)
    }
    const good = expect === undefined ? status >= 200 && status < 300 : status === expect
    if (good) return ''
    const said = body.toString().trim().split('\n', 1)[0]
    throw new Error(`answered ${status}; want ${expect ?? '2xx'}${said === '' ? '' : `: ${said}`}`)
  }
}

function urlOf(text: string | URL): URL {
  const url = URL.canParse(String(text)) ? new URL(text) : undefined
  if (url !== undefined && /^https?:$/.test(url.protocol)) return url
  throw new TypeError('probe: check.http is not a URL; want http:// or https://')
}

function statusOf(expect: number | undefined): number | undefined {
  if (expect === undefined || (Number.isInteger(expect) && expect >= 200 && expect <= 599)) return expect
  throw new TypeError(`probe: check.expect is ${expect}; want a status from 200 to 599`)
}

const keptBytes = 4096

function ran(command: readonly [string, ...string[]]): Ask {
  return async (signal) => {
    const { exit, said } = await endOf(command, { keptBytes, signal })
    const last = lastLine(said)
    if (exit === 0) return last
    const how = typeof exit === 'number' ? `exited with ${exit}` : exit
    throw new Error(last === '' ? how : `${how}: ${last}`)
  }
}

function lastLine(output: Buffer): string {
  return output
    .toString()
    .trimEnd()
    .split(/[\r\n]/)
    .at(-1)!
    .trim()
}

function commandOf(command: readonly string[]): readonly [string, ...string[]] {
  const [file, ...args] = command
  const isText = (one: unknown): boolean => typeof one === 'string' && !one.includes('\0')
  if (file === undefined || file === '' || !command.every(isText)) {
    throw new TypeError('probe: check.command is not a command; want a list of texts such as ["nginx", "-t"]')
  }
  return [file, ...args]
}
