/** Names of keys, as SCAN tells them. */
import type { Redis } from 'ioredis'

/** All keys that begin with `prefix`, each once; one more than `most` where there are more. */
export async function keysBelow(redis: Redis, prefix: string, most: number): Promise<string[]> {
  const keys = new Set<string>()
  let cursor = '0'
  do {
    const [next, some] = await redis.scan(cursor, 'MATCH', `${escaped(prefix)}*`, 'COUNT', 1_000)
    for (const key of some) keys.add(key)
    cursor = next
  } while (cursor !== '0' && keys.size <= most)
  return [...keys]
}

/** For the patterns of SCAN and PSUBSCRIBE. */
export function escaped(text: string): string {
  return text.replace(/[*?[\]\\]/g, '\\$&')
}
