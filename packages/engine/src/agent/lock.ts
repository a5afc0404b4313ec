/**
 * One process to a directory: whoever listens on the unix socket `lock.<n>` in it. The kernel closes the socket with
 * the process, however that ends, and knows it by the file, not by a process id: so a container in which every process
 * is 1 neither locks itself out after a crash nor shares its directory with another. Not across machines: there it is
 * the control plane that sees two of one uid.
 *
 * A dead socket is not taken over but followed by the next number, as two could take over the same one.
 */
import { randomUUID } from 'node:crypto'
import { link, open, readdir, unlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { pause } from '../deadline.ts'

export interface Lock {
  release(): Promise<void>
}

/** Another process holds it, as far as can be said: `process 4711`. */
export class LockedError extends Error {
  override readonly name = 'LockedError'
}

const lockName = /^lock\.(\d{1,15})$/
/** Of processes that begin at the same moment each may see the other and give way. */
const tries = 5
const greetingMs = 1_000
/** What fits into the address of a unix socket on every system. */
const maxPathBytes = 100

/** @throws LockedError, or what the file system says, such as that it has no sockets. */
export async function lockDirectory(directory: string): Promise<Lock> {
  const folder = await open(directory, 'r')
  // The address of a socket is short, and the path may be long.
  const short = Buffer.byteLength(directory) + 48 <= maxPathBytes ? directory : `/proc/self/fd/${folder.fd}`
  const mine = `lock-${randomUUID().slice(0, 8)}`
  let server: Server | undefined
  try {
    server = await listen(join(short, mine))
    const number = await take(directory, short, mine)
    const held = server
    return {
      async release() {
        await unlink(join(directory, `lock.${number}`)).catch(() => {}) // gone already, or read-only: it is dead from now on
        held.close()
      },
    }
  } catch (error) {
    server?.close()
    throw error
  } finally {
    await unlink(join(directory, mine)).catch(() => {}) // never made, or closed
    await folder.close()
  }
}

async function take(directory: string, short: string, mine: string): Promise<number> {
  for (let tried = 1; ; tried++) {
    const before = await numbers(directory)
    for (const number of before) {
      const holder = await holderOf(join(short, `lock.${number}`))
      if (holder !== undefined) throw new LockedError(holder)
    }
    const number = Math.max(0, ...before) + 1
    if (await linked(join(directory, mine), join(directory, `lock.${number}`))) {
      const others = (await numbers(directory)).filter((other) => other !== number)
      if (others.every((other) => before.includes(other))) {
        for (const dead of others) await unlink(join(directory, `lock.${dead}`)).catch(() => {}) // it is dead either way
        return number
      }
      await unlink(join(directory, `lock.${number}`))
    }
    if (tried === tries) throw new LockedError('another process that begins')
    await pause(Math.random() * 50)
  }
}

async function numbers(directory: string): Promise<number[]> {
  const names = await readdir(directory)
  return names.flatMap((name) => Number(lockName.exec(name)?.[1]) || [])
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function listen(path: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {}) // whoever asked has gone
    socket.end(`process ${process.pid} on ${hostname()}`)
    socket.unref()
  })
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    // Not shared among the workers of a cluster; and it holds no process.
    server.listen({ path, exclusive: true }, () => resolve(server.unref()))
  })
}

/** Who listens, or `undefined` for nobody. One that is stopped, or busy, listens all the same. */
function holderOf(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let greeting = ''
    const socket = connect(path)
    const end = (holder: string | undefined) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(holder)
    }
    const unknown = 'another process'
    const timer = setTimeout(() => end(greeting || unknown), greetingMs)
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => (greeting += text))
    socket.on('end', () => end(greeting || unknown))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      end(code === 'ECONNREFUSED' || code === 'ENOENT' ? undefined : greeting || unknown)
    })
  })
}
