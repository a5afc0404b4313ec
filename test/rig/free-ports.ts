/** Ports of the loopback for servers that cannot be told to take any that is free. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'

/**
 * All different, as each is held until the last is found. They may be taken by others before they are used; then the
 * server does not start, and says so.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port as number
}
