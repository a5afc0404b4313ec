/** A file that is replaced whole: a reader sees the old one or the new one, and a crash leaves one of them. */
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Durable when it resolves. Rejects if it could not be written; what was at `path` is then still there.
 * @param beside where it is written first, in the same folder.
 */
export async function replaceFile(
  path: string,
  beside: string,
  mode: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const file = await open(beside, 'w', mode)
  try {
    await write(file)
    await file.sync()
    await file.close()
    await rename(beside, path)
    const folder = await open(dirname(path), 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  } catch (error) {
    await file.close().catch(() => {}) // closed already, or never to be: the error that matters is thrown below
    await rm(beside, { force: true }).catch(() => {}) // a left-over is overwritten by the next one
    throw error
  }
}
