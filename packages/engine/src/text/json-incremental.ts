import type { Buffer } from 'node:buffer'
import type { JsonText } from './json.ts'

export function parseChanged(_before: JsonText, _bytes: Buffer, _maxDepth: number): JsonText | undefined {
  return undefined
}
