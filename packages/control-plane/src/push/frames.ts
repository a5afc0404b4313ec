/**
 * What goes over the wire: each release is serialised and framed once per base, and the same bytes are written to every
 * socket and every poll that wants them. Who gets which is `hub.ts`.
 */
import { diff, toPatch, type Json } from 'midflight'
import { encode, type ReleaseBody, type ReleaseInfo, type ReleaseMessage, type Runs } from 'midflight/protocol'
import type { Store } from '../store.ts'

/** One release as one message, ready to be sent. */
export interface Package {
  readonly release: ReleaseInfo
  /** The release that a node must hold to understand it; `null`: it is whole. */
  readonly base: number | null
  /** As a WebSocket frame. */
  readonly frame: Buffer
  /** The JSON text in UTF-8: the frame without its header. */
  readonly payload: Buffer
}

/** Which release, onto what. The base `null`: send it whole. */
export interface Wanted {
  readonly release: ReleaseInfo
  readonly base: Runs | null
  readonly force: boolean
  /** Two-phase: only to be made ready. */
  readonly prepare?: ReleaseMessage['prepare']
  readonly revertMs?: number | null
}

export interface Frames {
  /** If it is at hand. Costs a look into a map. */
  ready(wanted: Wanted): Package | undefined
  /** Makes it if it must. Whole where the base is not what the store holds under its number, or where that is smaller. */
  get(wanted: Wanted): Promise<Package>
  /** Bytes that are kept. */
  sizeBytes(): number
}

export interface FrameLimits {
  /** How many pairs of release and base are kept. */
  readonly keptFrames: number
  /** And at most so many bytes, but always the newest one. */
  readonly keptFrameBytes: number
}

export function createFrames(store: Store, limits: FrameLimits): Frames {
  /** Oldest use first. */
  const kept = new Map<string, Package>()
  const making = new Map<string, Promise<Package>>()
  let bytes = 0

  function ready(wanted: Wanted): Package | undefined {
    return kept.get(keyOf(wanted))
  }

  async function get(wanted: Wanted): Promise<Package> {
    const key = keyOf(wanted)
    const found = kept.get(key)
    if (found) {
      kept.delete(key)
      kept.set(key, found)
      return found
    }
    let promise = making.get(key)
    if (!promise) {
      promise = make(wanted)
        .then((made) => keep(key, made))
        .finally(() => making.delete(key))
      making.set(key, promise)
    }
    return await promise
  }

  async function make(wanted: Wanted): Promise<Package> {
    const { release, base } = wanted
    const { content, before } = await store.read((read) => ({
      content: read.content(release.config, release.number),
      before:
        base !== null &&
        base.number < release.number &&
        read.release(release.config, base.number)?.digest === base.digest
          ? read.content(release.config, base.number)
          : undefined,
    }))
    if (content === undefined) throw new Error(`${release.config} release ${release.number} has no content any more`)
    const delta = before === undefined || base === null ? undefined : deltaBody(before, content, base)
    if (delta) return packed(wanted, delta)
    // All who need it whole share one, whatever base they have.
    return base === null ? packed(wanted, { kind: 'whole', content }) : await get({ ...wanted, base: null })
  }

  function keep(key: string, made: Package): Package {
    kept.set(key, made)
    bytes += made.frame.length
    for (const [oldest, { frame }] of kept) {
      if (kept.size <= 1 || (kept.size <= limits.keptFrames && bytes <= limits.keptFrameBytes)) break
      kept.delete(oldest)
      bytes -= frame.length
    }
    return made
  }

  return { ready, get, sizeBytes: () => bytes }
}

function keyOf({ release, base, force, prepare, revertMs }: Wanted): string {
  const from = base === null ? '' : `${base.number} ${base.digest}`
  const how = prepare === undefined ? '' : `${prepare.epoch} ${prepare.voteMs}`
  return `${release.config} ${release.number} ${force ? 'force' : ''} ${from} ${how} ${revertMs ?? ''}`
}

function deltaBody(before: Json, content: Json, base: Runs): ReleaseBody | undefined {
  const patch = toPatch(before, diff(before, content))
  const bytes = JSON.stringify(patch).length
  if (!hasText(content, bytes)) return undefined
  return { kind: 'delta', base: base.number, baseDigest: base.digest, patch }
}

/** Whether the text of `value` has more than `length` characters. Looks no further than it must. */
export function hasText(value: Json, length: number): boolean {
  let left = length
  function take(part: Json): void {
    if (left < 0) return
    if (typeof part === 'string') left -= part.length + 2
    else if (typeof part !== 'object' || part === null) left -= String(part).length
    else if (Array.isArray(part)) {
      left -= 1 + Math.max(1, part.length)
      for (let i = 0; i < part.length && left >= 0; i++) take(part[i] as Json)
    } else {
      left -= 1
      for (const key in part) {
        if (left < 0) return
        left -= key.length + 4
        take((part as Record<string, Json>)[key] as Json)
      }
    }
  }
  take(value)
  return left < 0
}

function packed({ release, force, prepare, revertMs = null }: Wanted, body: ReleaseBody): Package {
  const message: ReleaseMessage = {
    type: 'release',
    release,
    body,
    ...(force ? { force: true as const } : {}),
    ...(prepare === undefined ? {} : { prepare }),
    ...(revertMs === null ? {} : { revertMs }),
  }
  const text = encode(message)
  const frame = textFrame(text)
  const base = body.kind === 'delta' ? body.base : null
  return { release, base, frame, payload: frame.subarray(frame.length - Buffer.byteLength(text)) }
}

/** A text frame from server to client: final, not masked (RFC 6455, 5.2). In memory of its own, not from a pool. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.allocUnsafeSlow(header + length)
  frame[0] = 0x81
  if (header === 2) frame[1] = length
  else if (header === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeUInt32BE(0, 2)
    frame.writeUInt32BE(length, 6)
  }
  frame.write(text, header)
  return frame
}
