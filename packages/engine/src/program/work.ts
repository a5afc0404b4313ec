/**
 * The files of one program on disk: staged beside their places, swapped in, restored, and settled after a crash. All
 * that is ours lies in one directory, `.midflight-NAME`, closed to everyone else: what the check sees is what is
 * renamed into place.
 *
 *   new/        staged files, in the tree as it is going to be
 *   old/<name>  hard links to the files that are replaced
 *   swap.json   there from before the first rename until the new is known to be good: it is what decides after a crash.
 *               With it the old files come back, without it what is in place stays.
 *
 * When to do what is `program.ts`.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { lstat, mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { lockDirectory, LockedError, type Lock } from '../agent/lock.ts'
import {
  each,
  fileAt,
  holds,
  inSlices,
  isAsWanted,
  isUntouched,
  linked,
  looksSame,
  sync,
  unlinkIn,
  write,
  type Rendered,
} from './disk.ts'
import { assertSafe } from './place.ts'
import { isPathBelow, type ProgramSettings } from './settings.ts'

/** A file that differs from what is in its place. */
export interface Staged {
  readonly path: string
  /** What it replaces: `null` where there was nothing. */
  readonly old: { readonly ino: number; readonly backup: string } | null
}

interface Swap {
  readonly midflight: 'swap/1'
  /** None: the old files are back, and the program has yet to be told. */
  readonly files: readonly Staged[]
}

/** What the files of a change were and are going to be, as long as it lasts. */
interface InWork {
  readonly file: Rendered
  /** In its place. */
  readonly was: fs.Stats | undefined
  /** Staged. */
  readonly made: fs.Stats
}

/** A file that was in its place and right already. */
interface Right {
  readonly file: Rendered
  readonly was: fs.Stats
}

/** Paths in the directory, and those of the links that are made. */
interface Mirrored {
  /** Not to be mirrored: they are staged, or going to be. */
  readonly made: ReadonlySet<string>
  readonly ours: ReadonlySet<string>
  readonly links: Map<string, string[]>
}

/** What is younger may be written to again without another time: file systems count in steps, some of seconds. */
const settledMs = 1_500
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants

export class Work {
  readonly #directory: string
  readonly #work: string
  /** The tree as it is going to be. */
  readonly staged: string
  readonly #old: string
  readonly #record: string
  readonly #othersMayWrite: boolean
  #lock: Lock | undefined
  #inWork: readonly InWork[] = []
  #right: readonly Right[] = []
  /** Files that were read and found right, by path: they are not read again before somebody has been there. */
  readonly #known = new Map<string, { readonly bytes: Buffer; readonly stat: fs.Stats }>()
  /** Staged, and no more than other names of files that stay: by the directory they are in. */
  #links: ReadonlyMap<string, readonly string[]> = new Map()

  constructor({ directory, name, othersMayWrite = false }: ProgramSettings) {
    this.#directory = directory
    this.#work = join(directory, `.midflight-${name}`)
    this.staged = join(this.#work, 'new')
    this.#old = join(this.#work, 'old')
    this.#record = join(this.#work, 'swap.json')
    this.#othersMayWrite = othersMayWrite
  }

  /** @throws Error if the directory is not safe, or another process looks after it. */
  async open(): Promise<void> {
    if (this.#lock && (await lstat(this.#work).catch(ignore('ENOENT')))) return
    // Somebody may have tidied it away.
    await this.#lock?.release()
    this.#lock = undefined
    assertSafe(this.#directory, this.#directory, this.#othersMayWrite)
    await mkdir(this.#work, { mode: 0o700 }).catch(ignore('EEXIST'))
    const stat = await lstat(this.#work)
    const isOurs = stat.isDirectory() && stat.uid === process.geteuid?.() && (stat.mode & 0o077) === 0
    if (!isOurs) throw new Error(`${this.#work} is not a directory of this user with mode 700; want it removed`)
    this.#lock = await lockDirectory(this.#work).catch((error: unknown) => {
      if (!(error instanceof LockedError)) throw error
      throw new Error(`${error.message} looks after ${this.#directory} under the same name; want one`, { cause: error })
    })
    // What one that was killed while it took the lock has left.
    const left = (await readdir(this.#work)).filter((name) => name.startsWith('lock-'))
    for (const name of left) await rm(join(this.#work, name), { force: true })
  }

  async close(): Promise<void> {
    if (!this.#lock) return
    await this.#lock.release()
    this.#lock = undefined
    // Left where something is owed: the next start settles that.
    await rmdir(this.#work).catch(ignore('ENOTEMPTY', 'ENOENT', 'EEXIST'))
  }

  /** What a process before left: the files that are back, or `undefined` if nothing was under way. */
  async settle(): Promise<readonly string[] | undefined> {
    const text = await readFile(this.#record, 'utf8').catch(ignore('ENOENT'))
    if (text === undefined) {
      await this.clear()
      return undefined
    }
    const { files } = this.#parsed(text)
    await this.restore(files)
    return files.map(({ path }) => path)
  }

  /** Writes what differs, beside its place. Whatever it has thrown, `clear` removes it. */
  async stage(rendered: readonly Rendered[], whole: boolean, signal: AbortSignal): Promise<readonly Staged[]> {
    const { dev } = fs.lstatSync(this.#work)
    for (const folder of new Set(rendered.map(({ path }) => dirname(this.#place(path))))) {
      assertSafe(folder, this.#directory, this.#othersMayWrite)
      if (fs.lstatSync(folder).dev === dev) continue
      throw new Error(`${folder} is on another file system than ${this.#directory}; want a program of its own for it`)
    }
    const changed: { readonly file: Rendered; readonly was: fs.Stats | undefined }[] = []
    const right: Right[] = []
    await inSlices(rendered, signal, (file) => {
      const was = fileAt(this.#place(file.path))
      if (was && this.#isRight(file, was)) right.push({ file, was })
      else changed.push({ file, was })
    })
    await this.clearStaged()
    this.#right = right
    this.#inWork = []
    if (changed.length === 0) return []
    changed.sort((a, b) => (a.file.path < b.file.path ? -1 : 1))
    for (const folder of [this.staged, this.#old]) fs.mkdirSync(folder, { mode: 0o700 })
    const paths = new Set(changed.map(({ file }) => file.path))
    const folders = new Set([...paths].flatMap(foldersOf))
    for (const folder of folders) fs.mkdirSync(join(this.staged, folder), { mode: 0o700 })
    const made = new Set([...paths, ...folders])
    const ours = new Set(rendered.map(({ path }) => path))
    const links = new Map<string, string[]>()
    this.#links = links
    if (whole) for (const folder of ['', ...folders]) await this.#mirror(folder, { made, ours, links }, signal)
    const staged: Staged[] = []
    const inWork: InWork[] = []
    this.#inWork = inWork
    // Another name each time: a record that could not be replaced must not come to mean other files.
    const change = randomBytes(8).toString('hex')
    await inSlices(changed.entries(), signal, ([i, { file, was }]) => {
      const made = write(`${this.staged}/${file.path}`, file, was)
      const backup = `${change}-${i}`
      const kept = was && this.#keep(file.path, backup, was)
      inWork.push({ file, was: kept, made })
      staged.push({ path: file.path, old: kept ? { ino: kept.ino, backup } : null })
    })
    return staged
  }

  /** What is staged, and what the record is going to count on, is on disk. The check needs not wait for that. */
  async sync(staged: readonly Staged[], signal: AbortSignal): Promise<void> {
    await each(staged, signal, ({ path }) => sync(`${this.staged}/${path}`))
    await sync(this.#old)
    await this.#writeBeside({ midflight: 'swap/1', files: staged })
  }

  /**
   * What was checked is what was staged, and that is on disk.
   * @throws Error if the check has written to it.
   */
  async confirm(signal: AbortSignal): Promise<void> {
    const rewritten: string[] = []
    await inSlices(this.#inWork, signal, ({ file: { path, bytes }, made }) => {
      const place = `${this.staged}/${path}`
      const now = fs.lstatSync(place, { throwIfNoEntry: false })
      const wanted = { mode: made.mode & 0o7777, uid: made.uid, gid: made.gid }
      if (!now?.isFile() || !isAsWanted(now, wanted) || !holds(place, now, bytes)) {
        throw new Error(`the check has changed ${path}, which it has to leave as it is; nothing was swapped`)
      }
      if (now.ino !== made.ino || now.mtimeMs !== made.mtimeMs) rewritten.push(place)
    })
    await each(rewritten, signal, sync)
  }

  /**
   * From now on a crash brings the old files back. Only what was synced is recorded.
   * @throws Error if somebody else has been there since they were looked at.
   */
  async record(): Promise<void> {
    await inSlices(this.#inWork, undefined, ({ file: { path }, was }) => {
      const now = fs.lstatSync(this.#place(path), { throwIfNoEntry: false })
      if (was && now ? now.ino === was.ino && looksSame(was, now) : was === now) return
      throw this.#changed(path)
    })
    await this.#replaceRecord()
  }

  /** Whatever it has thrown, `restore` brings the old back. */
  async swap(staged: readonly Staged[]): Promise<void> {
    await inSlices(staged, undefined, ({ path }) => fs.renameSync(`${this.staged}/${path}`, this.#place(path)))
  }

  /** The swap is on disk. Until then, and as long as the record is there, a crash brings the old back in any case. */
  async syncPlaces(staged: readonly Staged[]): Promise<void> {
    for (const folder of new Set(staged.map(({ path }) => dirname(this.#place(path))))) await sync(folder)
  }

  /** The old files are back; `swap.json` still says that the program has yet to be told. */
  async restore(staged: readonly Staged[]): Promise<void> {
    for (const { path, old } of staged.toReversed()) {
      if (old) await this.#bringBack(path, old)
      else await rm(this.#place(path), { force: true })
    }
    await this.syncPlaces(staged)
    try {
      await this.#writeBeside({ midflight: 'swap/1', files: [] })
      await this.#replaceRecord()
    } catch {
      // No room for it, say. The record from before asks for the same, which is done already; the program has to be
      // told in any case.
    }
    await this.clearStaged()
  }

  /** What is in place is good: decided with the removal of the record. Removes all that was kept. */
  async clear(): Promise<void> {
    await rm(this.#record, { force: true })
    await sync(this.#work)
    await this.clearStaged()
    await this.#remember()
  }

  async clearStaged(): Promise<void> {
    const links = this.#links
    this.#links = new Map()
    await unlinkIn(links)
    const all = [this.staged, this.#old, `${this.#record}.new`]
    await Promise.all(all.map((path) => rm(path, { recursive: true, force: true })))
  }

  #place(path: string): string {
    return `${this.#directory}/${path}`
  }

  async #bringBack(path: string, { ino, backup }: NonNullable<Staged['old']>): Promise<void> {
    const place = this.#place(path)
    try {
      await rename(join(this.#old, backup), place)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      // A process that was killed while it brought them back had come to this one.
      if ((await lstat(place).catch(ignore('ENOENT')))?.ino === ino) return
      const way = `what is in place stays if ${this.#record} is removed`
      throw new Error(`what ${place} was before is gone from ${this.#work}; ${way}`, { cause: error })
    }
  }

  async #writeBeside(swap: Swap): Promise<void> {
    await rm(`${this.#record}.new`, { force: true })
    const file = await open(`${this.#record}.new`, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      await file.writeFile(JSON.stringify(swap))
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async #replaceRecord(): Promise<void> {
    await rename(`${this.#record}.new`, this.#record)
    await sync(this.#work)
  }

  #parsed(text: string): Swap {
    try {
      const swap = JSON.parse(text) as Swap
      const fits = ({ path, old }: Staged) =>
        isPathBelow(path) && (old === null || /^[\da-f]{16}-\d+$/.test(old.backup))
      if (swap.midflight === 'swap/1' && swap.files.every(fits)) return swap
    } catch {
      // Said below: the text is not shown, nobody knows what it is.
    }
    throw new Error(
      `${this.#record} is not what this version writes; the files of ${this.#directory} have to be looked at`,
    )
  }

  #isRight(file: Rendered, was: fs.Stats): boolean {
    if (!isAsWanted(was, file)) return false
    const known = this.#known.get(file.path)
    if (known && isUntouched(known.stat, was)) return known.bytes.equals(file.bytes)
    return holds(this.#place(file.path), was, file.bytes)
  }

  /** Once our links are gone, which move the time of the last change. */
  async #remember(): Promise<void> {
    const right = this.#right
    this.#right = []
    this.#inWork = []
    this.#known.clear()
    const before = Date.now() - settledMs
    await inSlices(right, undefined, ({ file: { path, bytes }, was }) => {
      const stat = fs.lstatSync(this.#place(path), { throwIfNoEntry: false })
      const isIt = stat?.ino === was.ino && stat.dev === was.dev && looksSame(was, stat)
      if (isIt && was.mtimeMs < before) this.#known.set(path, { bytes, stat })
    })
  }

  #changed(path: string): Error {
    return new Error(`${this.#place(path)} was changed by somebody else since it was looked at; nothing was swapped`)
  }

  /** @returns what it is then: a union file system may give it another number with the link. */
  #keep(path: string, backup: string, was: fs.Stats): fs.Stats {
    const kept = join(this.#old, backup)
    try {
      fs.linkSync(this.#place(path), kept)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const why = `${this.#place(path)} cannot be kept for a way back: ${code ?? message}`
      const want =
        code === 'EXDEV'
          ? 'it is mounted by itself, want its directory mounted'
          : 'want a file of this user, on a file system with hard links'
      throw new Error(`${why}; ${want}`, { cause: error })
    }
    const now = fs.lstatSync(kept)
    if (!looksSame(was, now)) throw this.#changed(path)
    return now
  }

  /**
   * What does not change is there too, so that relative includes lead to it. Our own files by hard links, which cost the
   * file system a twentieth of a symbolic one; by that others', on which a hard link would leave its mark.
   */
  async #mirror(folder: string, { made, ours, links }: Mirrored, signal: AbortSignal) {
    const names = await readdir(join(this.#directory, folder), 'buffer')
    const inFolder: string[] = []
    links.set(join(this.staged, folder), inFolder)
    await inSlices(names, signal, (bytes) => {
      const name = bytes.toString()
      const path = folder === '' ? name : `${folder}/${name}`
      if (made.has(path) || name.startsWith('.midflight-')) return
      const [place, staged] = [this.#place(path), `${this.staged}/${path}`]
      if (ours.has(path) && linked(place, staged)) return void inFolder.push(staged)
      // Others' names need not be UTF-8.
      const as = (full: string) => Buffer.concat([Buffer.from(full.slice(0, full.length - name.length)), bytes])
      fs.symlinkSync(as(place), as(staged))
    })
  }
}

/** `a/b/c.conf` → `a`, `a/b`. */
function foldersOf(path: string): string[] {
  const folder = dirname(path)
  return folder === '.' ? [] : [...foldersOf(folder), folder]
}

function ignore(...codes: readonly string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (error.code === undefined || !codes.includes(error.code)) throw error
  }
}
