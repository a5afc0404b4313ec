/**
 * How a backup is asked of a control plane that runs: its store lets no other process in, so it makes the copy itself. A
 * unix socket in the data directory, which only its owner can enter.
 */
import { once } from 'node:events'
import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join, resolve } from 'node:path'
import type { Store } from '@midflight/control-plane'
import { Refusal } from '../refusal.ts'

type Answer = { readonly ok: true } | { readonly ok: false; readonly message: string }

const maxPathLength = 4096

function doorIn(directory: string): string {
  return join(resolve(directory), 'backup.sock')
}

/** @param note told if there will be no backups while it runs. */
export async function openBackupDoor(
  directory: string,
  store: Store,
  note: (line: string) => void,
): Promise<{ close(): Promise<void> }> {
  const path = doorIn(directory)
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    answer(socket, store)
  })
  // The store is locked by this process: a socket that is there was left behind by one that crashed.
  rmSync(path, { force: true })
  server.listen(path)
  try {
    await once(server, 'listening')
    chmodSync(path, 0o600)
  } catch (error) {
    note(`no backups while it runs: ${(error as Error).message}`)
    return { close: async () => {} }
  }
  return {
    async close() {
      server.close()
      // A backup under way is finished by the store, which waits for it when it closes.
      for (const socket of sockets) socket.destroy()
      rmSync(path, { force: true })
    },
  }
}

function answer(socket: Socket, store: Store): void {
  let asked = ''
  const onData = (text: string) => {
    asked += text
    const end = asked.indexOf('\n')
    if (end < 0) return asked.length > maxPathLength ? void socket.destroy() : undefined
    socket.off('data', onData)
    const reply = (said: Answer) => socket.end(`${JSON.stringify(said)}\n`)
    store.backup(asked.slice(0, end)).then(
      () => reply({ ok: true }),
      (error: unknown) => reply({ ok: false, message: error instanceof Error ? error.message : String(error) }),
    )
  }
  socket.setEncoding('utf8').on('data', onData)
}

/** @returns whether a control plane runs there, and has made the backup. @throws Refusal if it could not. */
export async function askBackup(directory: string, path: string): Promise<boolean> {
  const socket = connect(doorIn(directory))
  try {
    await once(socket, 'connect')
  } catch {
    // Nobody listens: the store is not in use, or says itself by whom.
    return false
  }
  socket.write(`${resolve(path)}\n`)
  let text = ''
  try {
    for await (const chunk of socket.setEncoding('utf8')) text += chunk as string
  } catch {
    // As if it had ended: there is no answer.
  }
  if (text === '') throw new Refusal('unreachable', 'the control plane ended before the backup was made')
  const said = JSON.parse(text) as Answer
  if (!said.ok) throw new Refusal('refused', said.message)
  return true
}
