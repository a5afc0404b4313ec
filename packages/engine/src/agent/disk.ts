/**
 * What a node keeps on disk: its uid, and the release in use with its content, so that it starts without the control
 * plane and never goes back (I5, I7). Files of mode 0600 in a directory of mode 0700, for one process at a time.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { digest } from '../digest.ts'
import { isObject, type Json } from '../json.ts'
import { lastGoodIn } from '../last-good.ts'
import { mismatchText } from '../protocol/shape.ts'
import { releaseInfo, type ReleaseInfo } from '../protocol/release.ts'
import { freezeDeep } from '../snapshot.ts'
import { lockDirectory, LockedError, type Lock } from './lock.ts'
import type { Held } from './node-state.ts'
import { notesIn, type Notes } from './notes.ts'
import type { Ballot } from './vote.ts'

export interface Kept {
  readonly held: Held | undefined
  /** What was in use before it. */
  readonly before: Held | undefined
  readonly savedAt: Date | undefined
  readonly auditHead: string | undefined
  readonly ballot: Ballot | undefined
  readonly notes: Notes
  /** What was there and cannot be used. */
  readonly damaged: readonly string[]
}

export interface Disk {
  /** From now on it is this process's. @throws LockedError while it is another's. */
  claim(): Promise<void>
  /** Made at the first call, the same from then on, also after a restart, unless what is there is `damaged`. */
  uid(): Promise<{ readonly uid: string; readonly damaged?: string }>
  load(): Promise<Kept>
  /** Durable when it resolves. */
  save(held: Held, auditHead: string | undefined): Promise<void>
  /** Durable when it resolves. `undefined`: nothing is prepared. */
  keep(ballot: Ballot | undefined): Promise<void>
  /** Durable when it resolves. */
  note(notes: Notes): Promise<void>
  /** Another process may have it. */
  release(): Promise<void>
}

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function diskIn(stateDir: string, config: string): Disk {
  const directory = join(stateDir, 'agent', folderFor(config))
  const slots = lastGoodIn(directory)
  const ballots = lastGoodIn(join(directory, 'prepared'))
  const notes = lastGoodIn(join(directory, 'notes'))
  let lock: Lock | undefined
  return {
    async claim() {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      lock ??= await lockDirectory(directory).catch((error: unknown) => {
        if (!(error instanceof LockedError)) throw error
        throw new LockedError(
          `${directory} is in use by ${error.message}: end that one, or give each process a stateDir of its own`,
        )
      })
    },
    async uid() {
      const path = join(directory, 'uid')
      const found = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return ''
        throw error
      })
      if (uuid.test(found.trim())) return { uid: found.trim() }
      const made = randomUUID()
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await writeWhole(path, `${made}\n`)
      if (found === '') return { uid: made }
      return { uid: made, damaged: `${path} held no uid, so this node is a new one` }
    },
    async load() {
      const [all, kept, noted] = await Promise.all([slots.load(), ballots.load(), notes.load()])
      const damaged = [...all.damaged, ...kept.damaged, ...noted.damaged]
      const newest = all.found && read(all.found.config, config)
      if (newest?.problem !== undefined) damaged.push(`${directory}: ${newest.problem}`)
      const prepared = kept.found && read(kept.found.config, config)
      const epoch = isObject(kept.found?.config) ? kept.found.config['epoch'] : undefined
      if (prepared?.problem !== undefined) damaged.push(`${directory}/prepared: ${prepared.problem}`)
      return {
        held: newest?.held,
        before: all.before && read(all.before.config, config).held,
        savedAt: newest?.held && all.found?.savedAt,
        auditHead: newest?.auditHead,
        ballot: prepared?.held && typeof epoch === 'number' ? { held: prepared.held, epoch } : undefined,
        notes: notesIn(noted.found?.config, noted.damaged.length === 0),
        damaged,
      }
    },
    async save({ release, content }, auditHead) {
      await slots.save({ release: plain(release), content, ...(auditHead !== undefined && { auditHead }) }, [])
    },
    async keep(ballot) {
      if (ballot) {
        const { held, epoch } = ballot
        return await ballots.save({ release: plain(held.release), content: held.content, epoch }, [])
      }
      await rm(join(directory, 'prepared'), { recursive: true, force: true })
    },
    async note(all) {
      // Without what is not set.
      await notes.save(JSON.parse(JSON.stringify(all)) as Json, [])
    },
    async release() {
      await lock?.release()
      lock = undefined
    },
  }
}

function folderFor(config: string): string {
  const name = config.replaceAll('/', '+')
  // File names end at 255 bytes.
  return name.length <= 200 ? name : createHash('sha256').update(config).digest('hex')
}

async function writeWhole(path: string, text: string) {
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}

function plain(release: ReleaseInfo): Json {
  const { signature, ...fields } = release
  return { ...fields, ...(signature && { signature: { ...signature } }) }
}

function read(kept: Json, config: string): { held?: Held; auditHead?: string; problem?: string } {
  if (!isObject(kept) || kept.content === undefined) return { problem: 'holds no release' }
  const wrong = releaseInfo.mismatch(kept.release, ['release'])
  if (wrong) return { problem: mismatchText(wrong) }
  const release = kept.release as unknown as ReleaseInfo
  if (release.config !== config) return { problem: `is of ${release.config}; want ${config}` }
  const content = freezeDeep(kept.content)
  if (digest(content) !== release.digest) return { problem: `release ${release.number} does not fit its digest` }
  return { held: { release, content }, ...(typeof kept.auditHead === 'string' && { auditHead: kept.auditHead }) }
}
