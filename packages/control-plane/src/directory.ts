/** The data directory of a control plane: made if it is not there, and for its owner only. */
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** @returns why it cannot be used: others may look into it. @throws Error of the file system if it cannot be made. */
export async function prepareDirectory(path: string): Promise<string | undefined> {
  await made(path)
  const mode = (await stat(path)).mode & 0o777
  if ((mode & 0o077) === 0) return undefined
  return `${path} has the mode 0${mode.toString(8)}; want 0700, as it holds the signing key (chmod 700)`
}

/** Not by `recursive`: where nothing can be made though the parent is there, as in /proc, Node tries for ever. */
async function made(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return
    if (code !== 'ENOENT' || (await isThere(dirname(path)))) throw error
    await made(dirname(path))
    await mkdir(path, { mode: 0o700 })
  }
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}
