/** Opening and closing what an HTTP server listens on: a TCP port, or a unix socket that only its owner may use. */
import { chmod, lstat, mkdtemp, rename, rm, rmdir, unlink } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, type AddressInfo, type ListenOptions, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { bindAddress, hostPort, listenError } from '../access.ts'

/** @throws Error that names the address, or says why it may not be bound. */
export async function listenTcp(
  server: Server,
  host: string,
  port: number,
  token: string | undefined,
): Promise<number> {
  const address = await bindAddress('admin HTTP', host, port, token)
  await listening(server, { host: address, port }, hostPort(host, port))
  return (server.address() as AddressInfo).port
}

/** Linux takes 107, other systems 103. */
const maxPathBytes = 103

/**
 * Listens on a unix socket with mode 0600. A socket file that nobody answers on is replaced; anything else there is
 * an error. Resolves with what takes the file away again.
 */
export async function listenUnix(server: Server, path: string): Promise<() => Promise<void>> {
  await refuseIfTaken(path)
  const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(join(dirname(path), '.mf-XXXXXX', 's')))
  if (longest > maxPathBytes) {
    throw new RangeError(
      `admin HTTP: ${path} is too long for a unix socket; want a path some ${longest - maxPathBytes} bytes shorter`,
    )
  }
  // Bound in a private directory, made private itself, then renamed: at no moment can others connect, and what was
  // left behind at `path` is replaced in one step.
  const directory = await mkdtemp(join(dirname(path), '.mf-')).catch((error: unknown) => {
    throw listenError('admin HTTP', path, error)
  })
  const draft = join(directory, 's')
  try {
    await listening(server, { path: draft }, path)
    await chmod(draft, 0o600)
    await rename(draft, path)
  } finally {
    await rm(draft, { force: true })
    await rmdir(directory)
  }
  const own = await lstat(path)
  return async () => {
    const now = await lstat(path).catch(absent)
    // Another process may have put its own socket there since.
    if (now?.ino === own.ino && now.dev === own.dev) await unlink(path)
  }
}

async function refuseIfTaken(path: string): Promise<void> {
  const found = await lstat(path).catch(absent)
  if (found === undefined) return
  if (!found.isSocket())
    throw new Error(`admin HTTP: ${path} is there already and is not a socket; remove it or name another`)
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy()
      resolve(undefined)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return
  throw listenError('admin HTTP', path, Object.assign(new Error(code), { code: code ?? 'EADDRINUSE' }))
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined
  throw error
}

/** The connections of each server: Node does not count one that never said anything as idle. */
const connections = new WeakMap<Server, Set<Socket>>()

async function listening(server: Server, options: ListenOptions, shownAddress: string): Promise<void> {
  const open = new Set<Socket>()
  connections.set(server, open)
  server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => reject(listenError('admin HTTP', shownAddress, error))
    server.once('error', onError)
    server.listen(options, () => {
      server.off('error', onError)
      // From here on errors are about single connections, such as no file descriptors left: the door stays open.
      server.on('error', (error) =>
        process.emitWarning(`admin HTTP on ${shownAddress}: ${error.message}`, 'MidflightWarning'),
      )
      resolve()
    })
  })
}

/** Takes no more, ends idle connections, waits for running requests, and cuts those that are still there at the end. */
export async function closeServer(server: Server, deadlineMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  for (const socket of connections.get(server) ?? []) if (socket.bytesRead === 0) socket.destroy()
  const cut = setTimeout(() => server.closeAllConnections(), deadlineMs)
  await closed
  clearTimeout(cut)
}
