/** Lines of JSON as they come. */
import { Buffer } from 'node:buffer'
import { FollowError } from '../watching.ts'

/** Of one object, and whatever else is written on it: the API takes objects of about 1.5 MiB. */
export const mostBytes = 16 * 1024 * 1024

/** @throws FollowError if a line is too long. */
export async function* jsonLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      const line = Buffer.concat([...pieces, chunk.subarray(from, end)])
      pieces = []
      sizeBytes = 0
      from = end + 1
      if (line.length > 0) yield line
    }
    pieces.push(chunk.subarray(from))
    sizeBytes += chunk.length - from
    if (sizeBytes > mostBytes) throw new FollowError(`a line of the answer is longer than ${mostBytes} bytes`)
  }
  // The answer's end is a line's end: one that was cut off throws before.
  if (sizeBytes > 0) yield Buffer.concat(pieces)
}
