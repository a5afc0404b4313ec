/** One check of a probe: a function, an HTTP answer or a command. When it is asked, and for how long, is `probe.ts`. */
import type * as ChildProcess from 'node:child_process'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'

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
  const start = url.protocol === 'https:' ? httpsRequest : httpRequest
  return (signal) =>
    new Promise((resolve, reject) => {
      let body = ''
      let enough = false
      // A connection of its own: one that is kept says nothing about whether others would be accepted.
      const request = start(url, { agent: false, signal, headers: { 'user-agent': 'midflight' } })
      const failed = ({ code }: NodeJS.ErrnoException): void => {
        if (enough) return
        // Only the code: the rest may quote what went over the wire.
        reject(new Error(`no answer: ${code ?? 'the connection was closed'}`))
      }
      request.on('error', failed)
      request.on('response', (response) => {
        const status = response.statusCode ?? 0
        response.setEncoding('utf8')
        response.on('data', (text: string) => {
          body += text
          if (body.length <= maxAnswerBytes) return
          // The status has said all there is to know.
          enough = true
          request.destroy()
        })
        response.on('error', failed)
        response.on('close', () => {
          if (!enough && !response.complete) return failed(new Error('cut off'))
          const good = expect === undefined ? status >= 200 && status < 300 : status === expect
          if (good) return resolve('')
          const said = body.trim().split('\n', 1)[0]
          reject(new Error(`answered ${status}; want ${expect ?? '2xx'}${said === '' ? '' : `: ${said}`}`))
        })
      })
      request.end()
    })
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

/** Of all that a command writes so much is kept: its end. */
const keptBytes = 4096
/** After a command has ended: what escaped from its group may hold its output open for ever. */
const outputEndsMs = 200
const passedOn = ['PATH', 'HOME', 'LANG', 'TZ']

function ran([file, ...args]: readonly [string, ...string[]]): Ask {
  return (signal) =>
    new Promise((resolve, reject) => {
      const env = Object.fromEntries(passedOn.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
      // Detached is a session and a process group of its own, so that whatever it starts can be killed with it.
      const child = childProcess().spawn(file, args, { detached: true, env, stdio: ['ignore', 'pipe', 'pipe'] })
      let tail: Buffer = Buffer.alloc(0)
      const keep = (chunk: Buffer): void => {
        tail = Buffer.concat([tail, chunk.subarray(-keptBytes)]).subarray(-keptBytes)
      }
      child.stdout.on('data', keep)
      child.stderr.on('data', keep)
      const kill = (): void => killGroup(child.pid)
      // In another session, it would not even notice that this process ends.
      process.once('exit', kill)
      signal.addEventListener('abort', kill)
      if (signal.aborted) kill()
      let drained: NodeJS.Timeout | undefined
      const letGo = (): void => {
        process.off('exit', kill)
        signal.removeEventListener('abort', kill)
      }
      child.on('exit', () => {
        kill()
        letGo()
        drained = setTimeout(() => {
          child.stdout.destroy()
          child.stderr.destroy()
        }, outputEndsMs)
      })
      const end = (why: string | undefined): void => {
        clearTimeout(drained)
        letGo()
        const said = lastLine(tail)
        if (why === undefined) resolve(said)
        else reject(new Error(said === '' ? why : `${why}: ${said}`))
      }
      child.on('error', (error: NodeJS.ErrnoException) => end(`cannot be run: ${error.code ?? error.message}`))
      child.on('close', (code, by) => {
        end(code === 0 ? undefined : code === null ? `was killed by ${by}` : `exited with ${code}`)
      })
    })
}

// Not imported: most agents have no command to run.
const childProcess = (): typeof ChildProcess => process.getBuiltinModule('node:child_process')

/** Not later than when its leader was seen to end: soon after that, the number may be another's. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // ESRCH: nobody is left. EPERM: on macOS the same of those who have ended, and of those who became another user.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
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
