/** Writes files: beside, then in their place, so that who reads sees the old one or the new one. Keys are paths. */
import { createHash, randomUUID } from 'node:crypto'
import { readFile, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { replaceFile } from '../whole-file.ts'
import { calling, unlisted, type Call } from './calling.ts'
import { WriteError, type Expected, type Writer } from './writer.ts'

const limitMs = 30_000
const noList = 'one file is one document'
const noCompare = 'a file system cannot replace a file only where it is as expected'

/** @param cwd paths that are not absolute are below it. A new file has mode 0600, others keep theirs. */
export function fileWriter(options: { readonly cwd?: string } = {}): Writer {
  const cwd = resolve(options.cwd ?? '.')
  const name = `file:${cwd}`
  const call = <T>(key: string, signal: AbortSignal, work: (path: string, call: Call) => Promise<T>) =>
    calling(name, limitMs, signal, async (current) => {
      try {
        return await work(resolve(cwd, key), current)
      } catch (error) {
        throw explained(name, key, error)
      }
    })
  return {
    name,
    lacks: { compare: noCompare, list: noList, revisions: noCompare },
    read: (key, signal) =>
      call(key, signal, async (path) => {
        const value = await readFile(path).catch(unlessMissing)
        return value && { value, revision: createHash('sha256').update(value).digest('hex') }
      }),
    list: unlisted(name, noList),
    write: (key, value, expected, signal) =>
      call(key, signal, async (path, { sent }) => {
        blindly(name, expected)
        const mode = (await stat(path).catch(unlessMissing))?.mode ?? 0o600
        sent()
        // Its own name: two who write at once must not write into one file.
        const beside = join(dirname(path), `.${basename(path)}.${randomUUID()}.new`)
        await replaceFile(path, beside, mode & 0o777, (file) => file.writeFile(value))
        return { kind: 'written', revision: createHash('sha256').update(value).digest('hex') }
      }),
    remove: (key, expected, signal) =>
      call(key, signal, async (path, { sent }) => {
        blindly(name, expected)
        if ((await stat(path).catch(unlessMissing)) === undefined) return { kind: 'absent' }
        sent()
        await rm(path, { force: true })
        return { kind: 'removed' }
      }),
    async close() {},
  }
}

function blindly(name: string, expected: Expected): void {
  if (expected !== 'any') throw new WriteError('refused', `${name}: ${noCompare}`)
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
  return undefined
}

function explained(name: string, key: string, error: unknown): unknown {
  if (error instanceof WriteError) return error
  const { code = String(error) } = error as NodeJS.ErrnoException
  const isDenied = ['EACCES', 'EPERM', 'EROFS'].includes(code)
  const what =
    code === 'ENOENT' ? 'its folder is not there' : code === 'EISDIR' ? 'is a folder' : `cannot be used (${code})`
  return new WriteError(isDenied ? 'denied' : 'refused', `${name}: ${key} ${what}`, { cause: error })
}
