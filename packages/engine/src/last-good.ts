/**
 * The last good configuration on disk, for the start at which the sources have none (I7). Two slots, written in turn:
 * a crash or a flipped bit can spoil one, never both. Each slot is written beside its place, synced, and renamed.
 *
 * A slot is the configuration as JSON, a newline, and one line that says how long it is, its SHA-256, a sequence
 * number and when it was saved. Values that came from a secret reference are stored as the reference.
 * When to write and when to read is decided in `reload.ts` and `engine.ts`.
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isArray, isObject, type Json, type JsonObject } from './json.ts'
import type { SecretValue } from './source.ts'
import { replaceFile } from './whole-file.ts'

export interface LastGood {
  readonly config: Json
  /** Where `config` holds a reference instead of the secret. */
  readonly secrets: readonly SecretValue[]
  readonly savedAt: Date
}

export interface LastGoodStore {
  /** Durable when it resolves. Rejects if it could not be written; the slot before it is then still whole. */
  save(config: Json, secrets: readonly SecretValue[]): Promise<void>
  /** The newest whole one, and the one before it; `damaged` says what was wrong with a newer one that had to be passed over. */
  load(): Promise<{ readonly found?: LastGood; readonly before?: LastGood; readonly damaged: readonly string[] }>
}

interface Trailer {
  readonly midflight: 'last-good/1'
  readonly sequence: number
  readonly savedAt: string
  readonly sizeBytes: number
  readonly sha256: string
  readonly secrets: readonly SecretValue[]
}

const slots = ['last-good.a.json', 'last-good.b.json'] as const

export function lastGoodIn(directory: string): LastGoodStore {
  let next: { sequence: number; slot: number } | undefined

  const readAll = async () => {
    const read = await Promise.all(slots.map((name) => readSlot(join(directory, name))))
    const newest = read.reduce((best, slot, i) => (sequenceOf(slot) > sequenceOf(read[best]) ? i : best), 0)
    next ??= { sequence: sequenceOf(read[newest]) + 1, slot: sequenceOf(read[newest]) === 0 ? 0 : 1 - newest }
    return { read, newest }
  }

  return {
    async save(config, secrets) {
      // Each time: it may have been removed since.
      await mkdir(directory, { recursive: true, mode: 0o700 })
      if (!next) await readAll()
      const { sequence, slot } = next as { sequence: number; slot: number }
      await writeSlot(directory, slots[slot] as string, referenced(config, secrets), sequence, secrets)
      next = { sequence: sequence + 1, slot: 1 - slot }
    },
    async load() {
      const { read, newest } = await readAll()
      const found = read[newest]
      const before = read[1 - newest]
      return {
        damaged: read.flatMap((slot) => (slot && 'damaged' in slot ? [slot.damaged] : [])),
        ...(found && 'config' in found && { found }),
        ...(before && 'config' in before && { before }),
      }
    },
  }
}

type Slot = (LastGood & { readonly sequence: number }) | { readonly damaged: string } | undefined

function sequenceOf(slot: Slot): number {
  return slot && 'sequence' in slot ? slot.sequence : 0
}

async function readSlot(path: string): Promise<Slot> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return { damaged: `${path} cannot be read: ${(error as Error).message}` }
  }
  const end = bytes.lastIndexOf(0x0a)
  try {
    const trailer = JSON.parse(bytes.toString('utf8', end + 1)) as Trailer
    if (trailer.midflight !== 'last-good/1') return { damaged: `${path} is not of a kind that this version knows` }
    const body = bytes.subarray(0, Math.max(0, end))
    if (body.length !== trailer.sizeBytes || createHash('sha256').update(body).digest('hex') !== trailer.sha256) {
      return { damaged: `${path} is damaged: its checksum does not fit its content` }
    }
    const config = JSON.parse(body.toString('utf8')) as Json
    return { config, secrets: trailer.secrets, savedAt: new Date(trailer.savedAt), sequence: trailer.sequence }
  } catch {
    return { damaged: `${path} is damaged: it ends before its checksum` }
  }
}

async function writeSlot(
  directory: string,
  name: string,
  config: Json,
  sequence: number,
  secrets: readonly SecretValue[],
) {
  const path = join(directory, name)
  await replaceFile(path, `${path}.new`, 0o600, async (file) => {
    const hash = createHash('sha256')
    let sizeBytes = 0
    for await (const chunk of chunks(config)) {
      const bytes = Buffer.from(chunk)
      hash.update(bytes)
      sizeBytes += bytes.length
      await file.writeFile(bytes)
    }
    const trailer: Trailer = {
      midflight: 'last-good/1',
      sequence,
      savedAt: new Date().toISOString(),
      sizeBytes,
      sha256: hash.digest('hex'),
      secrets,
    }
    await file.writeFile(`\n${JSON.stringify(trailer)}`)
  })
}

/** How many entries of a large collection are written between two turns of the event loop. */
const entriesPerTurn = 512

/** JSON text in pieces, so that a large configuration does not hold up the event loop while it is written. */
async function* chunks(value: Json): AsyncGenerator<string> {
  if (!isArray(value) && !isObject(value)) {
    yield JSON.stringify(value)
    return
  }
  const list = isArray(value)
  yield list ? '[' : '{'
  let text = ''
  let count = 0
  for (const [key, entry] of list ? value.entries() : Object.entries(value)) {
    text += `${count === 0 ? '' : ','}${list ? '' : `${JSON.stringify(key)}:`}`
    count++
    if (isLarge(entry)) {
      yield text
      text = ''
      yield* chunks(entry)
    } else text += JSON.stringify(entry)
    if (count % entriesPerTurn === 0) {
      yield text
      text = ''
      await nextTurn()
    }
  }
  yield `${text}${list ? ']' : '}'}`
}

function isLarge(value: Json): value is readonly Json[] | JsonObject {
  if (isArray(value)) return value.length > entriesPerTurn
  return isObject(value) && (Object.keys(value).length > entriesPerTurn || Object.values(value).some(isLarge))
}

function referenced(config: Json, secrets: readonly SecretValue[]): Json {
  return secrets.reduce<Json>((tree, { path, reference }) => replaceAt(tree, path, reference), config)
}

/** `tree` with the value at `path` replaced, if there is one; the rest is shared. */
export function replaceAt(tree: Json, path: SecretValue['path'], value: Json): Json {
  const [step, ...rest] = path
  if (step === undefined) return value
  if (isArray(tree)) return tree.map((entry, i) => (i === Number(step) ? replaceAt(entry, rest, value) : entry))
  if (!isObject(tree) || !Object.hasOwn(tree, step)) return tree
  return { ...tree, [step]: replaceAt(tree[step] as Json, rest, value) }
}
