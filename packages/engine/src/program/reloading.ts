/** How a program is told that its files have changed: a command, a signal, an HTTP request. */
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './command.ts'
import type { HttpReload, Reload } from './options.ts'
import { answerOf } from './request.ts'
import { processAt } from './processes.ts'

const maxPidBytes = 64

/** @throws Error if the program could not be told, or said no. */
export async function tell(reload: Reload, directory: string, signal: AbortSignal): Promise<void> {
  if ('command' in reload) return run('the reload', reload.command, directory, signal)
  if ('http' in reload) return request(reload.http, directory, signal)
  const pid = await processIn(reload.pidFile, reload.process)
  process.kill(pid, reload.signal)
}

async function request(options: HttpReload, directory: string, signal: AbortSignal): Promise<void> {
  const { url, method = 'POST', file, contentType } = options
  const what = `the reload (${method} ${shownUrl(url)})`
  // What is in place now: also on the way back.
  const body = file === undefined ? {} : { body: await readFile(join(directory, file)) }
  const type = contentType === undefined ? {} : { contentType }
  const { status, body: said } = await answerOf(what, { url, method, ...body, ...type }, signal)
  if (status >= 200 && status < 300) return
  throw new Error(`${what} was answered with ${status}${said === '' ? '' : `:\n${said}`}`)
}

/** @throws Error if the file names no process, or one of another name. */
export async function processIn(pidFile: string, name: string | undefined): Promise<number> {
  const text = await startOf(pidFile).catch(({ code, message }: NodeJS.ErrnoException) => {
    throw new Error(`the program does not seem to run: ${pidFile} cannot be read: ${code ?? message}`)
  })
  const pid = /^\s*(\d{1,10})\s*$/.exec(text)?.[1]
  if (pid === undefined || Number(pid) <= 1 || Number(pid) === process.pid) {
    throw new Error(`${pidFile} names no process that could be meant; want its number`)
  }
  // A number that is left in the file may be another's by now, whom a SIGHUP would end.
  const found = await processAt(Number(pid))
  if (!found) throw new Error(`the program does not run: there is no process ${pid}, which ${pidFile} names`)
  if (name !== undefined && found.name !== name) {
    throw new Error(`process ${pid}, which ${pidFile} names, is ${found.name}; want ${name}`)
  }
  return Number(pid)
}

/** Another writes it: a pipe in its place would hold a thread of ours for ever, and a file may be of any size. */
async function startOf(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile()) throw new Error('it is no regular file')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxPidBytes), 0, maxPidBytes, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

/** What follows in a URL may be a token. */
function shownUrl(url: string): string {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}
