/**
 * ZooKeeper's protocol in bytes: frames that begin with their length, and the types of its records (`zookeeper.jute`)
 * in them. Pure. What is asked and answered is `connection.ts` and `session.ts`.
 */
import { Buffer } from 'node:buffer'

/** What came is not the protocol. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** An `int`, a `long`, a `boolean`, a `ustring`, a `buffer`, and a buffer that is none. */
export type Field = number | bigint | boolean | string | Uint8Array | undefined

/** Of what a znode is told with, what is used here. */
export interface Stat {
  /** The number of the change that made it. */
  readonly czxid: bigint
  /** That of the last change of its value. */
  readonly mzxid: bigint
  /** When it was made, by the server's clock. */
  readonly ctimeMs: bigint
  readonly version: number
  readonly dataLength: number
  readonly numChildren: number
}

/** The fields of a record one after the other, with its length before it. */
export function frame(...fields: readonly Field[]): Buffer {
  const parts = fields.map(encoded)
  const length = Buffer.allocUnsafe(4)
  length.writeInt32BE(parts.reduce((sum, part) => sum + part.length, 0))
  return Buffer.concat([length, ...parts])
}

function encoded(field: Field): Uint8Array {
  switch (typeof field) {
    case 'number': {
      const bytes = Buffer.allocUnsafe(4)
      bytes.writeInt32BE(field)
      return bytes
    }
    case 'bigint': {
      const bytes = Buffer.allocUnsafe(8)
      bytes.writeBigInt64BE(field)
      return bytes
    }
    case 'boolean':
      return Buffer.of(Number(field))
    case 'string':
      return withLength(Buffer.from(field))
    default:
      return field ? withLength(field) : encoded(-1)
  }
}

function withLength(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([encoded(bytes.length), bytes])
}

/** Parts a stream of bytes into frames. Each byte is copied a few times at most, however small the pieces that come. */
export class Frames {
  /** The longest to be taken. */
  mostBytes: number
  #held: Buffer = Buffer.alloc(0)
  /** Of `#held`, from its beginning. */
  #sizeBytes = 0

  constructor(mostBytes: number) {
    this.mostBytes = mostBytes
  }

  add(chunk: Buffer): void {
    const sizeBytes = this.#sizeBytes + chunk.length
    if (this.#sizeBytes === 0) this.#held = chunk
    else {
      if (sizeBytes > this.#held.length) {
        const larger = Buffer.allocUnsafeSlow(2 * sizeBytes)
        this.#held.copy(larger, 0, 0, this.#sizeBytes)
        this.#held = larger
      }
      chunk.copy(this.#held, this.#sizeBytes)
    }
    this.#sizeBytes = sizeBytes
  }

  /** The next one that is here whole. @throws WireError for a length that none can have, before anything of it is kept. */
  next(): Body | undefined {
    if (this.#sizeBytes < 4) return undefined
    const length = this.#held.readInt32BE(0)
    if (length < 0 || length > this.mostBytes) {
      throw new WireError(`an answer is said to have ${length} bytes; want 0 to ${this.mostBytes}`)
    }
    const end = 4 + length
    if (this.#sizeBytes < end) return undefined
    const body = new Body(this.#held.subarray(4, end))
    this.#held = this.#held.subarray(end)
    this.#sizeBytes -= end
    return body
  }
}

/** What came in one frame, read from its beginning on. @throws WireError where it ends too early. */
export class Body {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  int(): number {
    return this.#next(4).readInt32BE(0)
  }

  long(): bigint {
    return this.#next(8).readBigInt64BE(0)
  }

  /** A part of what came, which holds all of it: to be copied by whoever keeps it. */
  bytes(): Uint8Array | undefined {
    const length = this.int()
    if (length < -1) throw new WireError(`a field is said to have ${length} bytes`)
    return length === -1 ? undefined : this.#next(length)
  }

  text(): string {
    const bytes = this.bytes() ?? Buffer.alloc(0)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  }

  texts(): string[] {
    const count = this.int()
    const texts: string[] = []
    for (let i = 0; i < count; i++) texts.push(this.text())
    return texts
  }

  stat(): Stat {
    const [czxid, mzxid] = [this.long(), this.long()]
    const ctimeMs = this.long()
    this.#next(8) // mtime
    const version = this.int()
    this.#next(16) // cversion, aversion, ephemeralOwner
    const [dataLength, numChildren] = [this.int(), this.int()]
    this.#next(8) // pzxid
    return { czxid, mzxid, ctimeMs, version, dataLength, numChildren }
  }

  #next(length: number): Buffer {
    const from = this.#at
    this.#at += length
    if (this.#at > this.#bytes.length) {
      throw new WireError(`an answer of ${this.#bytes.length} bytes ends before the ${this.#at} that it should have`)
    }
    return this.#bytes.subarray(from, this.#at)
  }
}
