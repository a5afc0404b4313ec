/**
 * The journal's file: JSON lines, appended in order, turned over when it is full. It survives a crash in the middle of
 * a line, and a disk that is full for a while. Not synced to the disk at each event: after a power cut the newest may
 * be missing. What events mean, and who else gets them, is `journal.ts`.
 */
import { constants } from 'node:fs'
import { mkdir, open, rename, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorText } from './deadline.ts'
import type { Event } from './event.ts'
import { eventText } from './event-text.ts'

export interface JournalFile {
  /** Queues the event. If the disk does not keep up, the oldest that wait are dropped, and a warning counts them. */
  write(event: Event): void
  /** Resolves when the queue is written, or after `timeoutMs`. Nothing is written after that. */
  close(timeoutMs: number): Promise<void>
}

interface FileOptions {
  readonly maxFileBytes: number
  /** How many of the newest events are read back. */
  readonly limit: number
  readonly onWarning: (message: string) => void
}

/** A disk that hangs may keep so many bytes waiting. */
const maxQueuedBytes = 4 * 2 ** 20
/** An event that is larger is written shortened. */
const maxLineBytes = 2 ** 18
/** So much of the end of the file is read back; more only if it holds no whole event. */
const tailBytes = 2 ** 20

/** Never rejects: what is wrong with the file becomes a warning, and is tried again with each event. */
export async function openJournalFile(
  path: string,
  options: FileOptions,
): Promise<{ readonly file: JournalFile; readonly events: readonly Event[]; readonly lastId: number }> {
  let events: readonly Event[] = []
  let lastId = 0
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const torn = await cutTornLine(path)
    if (torn > 0) options.onWarning(`${path} ended in the middle of a line, after a crash: ${torn} bytes were cut off`)
    events = await readTail(path)
    // Right after a turn-over the new file has no event yet.
    if (events.length === 0) events = await readTail(`${path}.1`)
    lastId = events.reduce((max, event) => Math.max(max, event.id), 0)
  } catch (error) {
    options.onWarning(`${path} cannot be read, events are numbered from 1: ${errorText(error)}`)
  }
  return { file: new LineQueue(path, options), events: events.slice(-options.limit), lastId }
}

class LineQueue implements JournalFile {
  readonly #path: string
  readonly #maxFileBytes: number
  readonly #onWarning: (message: string) => void
  #queue: Buffer[] = []
  #queuedBytes = 0
  #dropped = 0
  #handle: FileHandle | undefined
  #size = 0
  #inode = 0
  /** The last write failed, and that has been said. */
  #failing = false
  #closed = false
  #writing: Promise<void> | undefined

  constructor(path: string, options: FileOptions) {
    this.#path = path
    this.#maxFileBytes = options.maxFileBytes
    this.#onWarning = options.onWarning
  }

  write(event: Event): void {
    if (this.#closed) return
    const line = Buffer.from(`${eventText(event, maxLineBytes)}\n`)
    this.#queue.push(line)
    this.#queuedBytes += line.length
    while (this.#queuedBytes > maxQueuedBytes && this.#queue.length > 1) {
      this.#queuedBytes -= this.#queue.shift()!.length
      this.#dropped++
    }
    this.#startWriting()
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return
    this.#startWriting()
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)))
    // A write may end in a warning, which is written too.
    const written = (async () => {
      while (this.#writing) await this.#writing
    })()
    await Promise.race([written, timeout])
    clearTimeout(timer)
    this.#closed = true
    const letGo = (): Promise<void> =>
      this.#letGo().catch((error: unknown) => this.#onWarning(`${this.#path} cannot be closed: ${errorText(error)}`))
    // A write that hangs still has the file; it is closed when that returns.
    if (this.#writing) void this.#writing.then(letGo)
    else await letGo()
  }

  #startWriting(): void {
    if (this.#writing || this.#queue.length === 0) return
    this.#writing = this.#writeAll()
  }

  async #writeAll(): Promise<void> {
    // Lets a burst gather, so that it is one write.
    await Promise.resolve()
    await this.#writeQueue().finally(() => {
      this.#writing = undefined
      // What came between the last look at the queue and now. After a failure, the next event tries again.
      if (!this.#failing && !this.#closed) this.#startWriting()
    })
  }

  async #writeQueue(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed) {
      const lines = this.#queue
      const dropped = this.#dropped
      this.#queue = []
      this.#queuedBytes = 0
      this.#dropped = 0
      let done = 0
      try {
        for (let batch = this.#batch(lines, 0); done < lines.length; batch = this.#batch(lines, done)) {
          await this.#writeBatch(Buffer.concat(lines.slice(done, batch)))
          done = batch
        }
      } catch (error) {
        this.#giveBack(lines.slice(done), dropped)
        if (!this.#failing) {
          this.#failing = true
          this.#onWarning(`${this.#path} cannot be written, events are kept in memory: ${errorText(error)}`)
        }
        return
      }
      if (this.#failing || dropped > 0) {
        this.#failing = false
        this.#onWarning(`${this.#path} is written again${dropped > 0 ? `; ${dropped} events are missing from it` : ''}`)
      }
    }
  }

  #giveBack(lines: readonly Buffer[], dropped: number): void {
    this.#queue = [...lines, ...this.#queue]
    this.#queuedBytes = this.#queue.reduce((sum, line) => sum + line.length, 0)
    this.#dropped += dropped
  }

  /** Where the lines from `start` that fit into the file end: at least one, since a new file takes any line. */
  #batch(lines: readonly Buffer[], start: number): number {
    let bytes = this.#size
    let end = start
    while (end < lines.length && (end === start || bytes + lines[end]!.length <= this.#maxFileBytes)) {
      bytes += lines[end]!.length
      end++
    }
    return end
  }

  async #writeBatch(bytes: Buffer): Promise<void> {
    let handle = await this.#open()
    if (this.#size > 0 && this.#size + bytes.length > this.#maxFileBytes) {
      await this.#letGo()
      await rename(this.#path, `${this.#path}.1`)
      handle = await this.#open()
    }
    try {
      for (let written = 0; written < bytes.length;) {
        written += (await handle.write(bytes, written)).bytesWritten
      }
      this.#size += bytes.length
    } catch (error) {
      // A disk that is full takes half a line. What follows must begin on a line of its own.
      // Where that fails too, the torn line is cut when the file is opened again, which is next.
      await handle.truncate(this.#size).catch(() => {})
      await this.#letGo()
      throw error
    }
  }

  async #open(): Promise<FileHandle> {
    if (this.#handle) {
      // Someone may have moved the file away (logrotate) or removed it: then a new one is begun.
      const there = await stat(this.#path).catch(() => undefined)
      if (there?.ino === this.#inode) return this.#handle
      await this.#letGo()
    }
    await cutTornLine(this.#path)
    const { O_APPEND, O_CREAT, O_RDWR, O_NONBLOCK } = constants
    const handle = await open(this.#path, O_APPEND | O_CREAT | O_RDWR | O_NONBLOCK, 0o600)
    try {
      await handle.chmod(0o600)
      const found = await handle.stat()
      this.#size = found.size
      this.#inode = found.ino
    } catch (error) {
      await handle.close()
      throw error
    }
    this.#handle = handle
    return handle
  }

  async #letGo(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }
}

/** Cuts the file after its last newline. Returns how many bytes that took; 0 where there is no file. */
async function cutTornLine(path: string): Promise<number> {
  const size = await sizeOf(path)
  if (size === 0) return 0
  const handle = await open(path, 'r+')
  try {
    const whole = await endOfLastLine(handle, size)
    if (whole < size) await handle.truncate(whole)
    return size - whole
  } finally {
    await handle.close()
  }
}

async function endOfLastLine(handle: FileHandle, size: number): Promise<number> {
  const chunk = Buffer.alloc(Math.min(size, 2 ** 16))
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - chunk.length)
    const { bytesRead } = await handle.read(chunk, 0, end - start, start)
    const newline = chunk.subarray(0, bytesRead).lastIndexOf(10)
    if (newline !== -1) return start + newline + 1
    end = start
  }
  return 0
}

/** The whole events at the end of the file, oldest first. A line that is not an event, after a disk fault, is passed over. */
async function readTail(path: string): Promise<Event[]> {
  const size = await sizeOf(path)
  if (size === 0) return []
  const handle = await open(path, 'r')
  try {
    for (let length = Math.min(size, tailBytes); ; length = Math.min(size, length * 4)) {
      const bytes = Buffer.alloc(length)
      await handle.read(bytes, 0, length, size - length)
      const lines = bytes.toString('utf8').split('\n')
      // The first may be the end of a line.
      if (length < size) lines.shift()
      const events = lines.map(eventOf).filter((event) => event !== undefined)
      if (events.length > 0 || length === size) return events
    }
  } finally {
    await handle.close()
  }
}

function eventOf(line: string): Event | undefined {
  if (line === '') return undefined
  try {
    const event = JSON.parse(line) as Event | null
    return typeof event?.id === 'number' && typeof event.kind === 'string' ? Object.freeze(event) : undefined
  } catch {
    // Not an event: said so by being absent.
    return undefined
  }
}

/** @throws Error if it is there and is not a regular file: a pipe would block, a device has no end. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return 0
  if (!found.isFile()) throw new Error(`${path} is not a regular file`)
  return found.size
}
