/**
 * Ports of the loopback for servers that cannot be told to take any that is free. They are below those that systems give
 * to outgoing connections (Linux: from 32768): otherwise a connection may take one before its server does, or while the
 * server is stopped, or find nobody but itself there.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'

const first = 10_000
const last = 32_000

const given = new Set<number>()

/** All different, and from those before. Another process may still take one first, one time in many thousands. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = first + Math.floor(Math.random() * (last - first))
    if (given.has(port) || !(await isFree(port))) continue
    given.add(port)
    ports.push(port)
  }
  return ports
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port as number
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening')
    await once(server.close(), 'close')
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false
    throw error
  }
}
