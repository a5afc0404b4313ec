/**
 * Looks at a write-ahead log before SQLite does. SQLite takes what comes before the first frame that does not fit and
 * drops the rest without a word: right for a write that a crash cut short, wrong for a flipped bit, which would drop
 * what was acknowledged. The two can be told apart: a crash spoils the last transaction only, because each is on disk
 * before the next is begun.
 *
 * Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 */
import { damaged } from './errors.ts'

const headerBytes = 32
const frameHeaderBytes = 24

type Sums = readonly [number, number]

/** @throws StoreError `damaged` if transactions stand behind a frame that does not fit. */
export function checkWal(log: Buffer, path: string): void {
  const magic = log.length >= headerBytes ? log.readUInt32BE(0) : 0
  if (magic >>> 1 !== 0x377f0682 >>> 1) throw damaged(path, 'does not begin as a write-ahead log does')
  const littleEndian = (magic & 1) === 0
  let sums = checksum([0, 0], log.subarray(0, 24), littleEndian)
  if (!same(sums, sumsAt(log, 24))) throw damaged(path, 'has a first block that is not what was written')
  const frameBytes = frameHeaderBytes + log.readUInt32BE(8)
  const salts = log.subarray(16, 24)
  /** The first frame that does not fit, and the first end of a transaction from there on. */
  let torn: number | undefined
  let ended: number | undefined
  for (let at = headerBytes; at + frameBytes <= log.length; at += frameBytes) {
    const frame = log.subarray(at, at + frameBytes)
    const written = sumsAt(frame, 16)
    const ours = frame.subarray(8, 16).equals(salts)
    sums = checksum(checksum(sums, frame.subarray(0, 8), littleEndian), frame.subarray(frameHeaderBytes), littleEndian)
    const fits = ours && same(sums, written)
    if (!fits) torn ??= at
    if (torn !== undefined && fits && ended !== undefined) {
      throw damaged(path, `is damaged at byte ${torn}: transactions that were acknowledged stand behind it`)
    }
    if (torn !== undefined && ours && frame.readUInt32BE(4) !== 0) ended ??= at
    // Each frame goes on from the sums of the one before, so that those behind a damaged one can still be told.
    if (ours) sums = written
  }
}

function sumsAt(buffer: Buffer, offset: number): Sums {
  return [buffer.readUInt32BE(offset), buffer.readUInt32BE(offset + 4)]
}

function same(a: Sums, b: Sums): boolean {
  return a[0] === b[0] && a[1] === b[1]
}

function checksum([first, second]: Sums, bytes: Buffer, littleEndian: boolean): Sums {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let i = 0; i + 8 <= bytes.length; i += 8) {
    first = (first + view.getUint32(i, littleEndian) + second) >>> 0
    second = (second + view.getUint32(i + 4, littleEndian) + first) >>> 0
  }
  return [first, second]
}
