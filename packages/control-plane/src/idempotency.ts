/**
 * Idempotency keys: a request whose answer was lost is sent again under the same key, and gets the answer of the first
 * time (I4). What a key stood for is written in the same transaction as the releases, so it is there exactly if they are.
 */
import { digest, type Json } from 'midflight'
import type { Domain } from './domain.ts'
import { IdempotencyError, RefusedError, type Published, type PublishResult } from './release.ts'
import type { IdempotencyRecord, StoreRead, StoreTx } from './store.ts'

export interface Key {
  /** As the client gave it. */
  readonly given: string
  /** As it is stored. */
  readonly key: string
  /** Digest of the request. */
  readonly request: string
}

/** @throws RefusedError `invalid` */
export function keyOf(caller: string, given: string, request: Json): Key {
  if (!/^[\x21-\x7e]{1,255}$/.test(given)) {
    throw new RefusedError('invalid', 'has an idempotency key that is not 1 to 255 visible ASCII characters')
  }
  try {
    return { given, key: stored(caller, given), request: digest(request) }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new RefusedError('invalid', `is no JSON data: ${error.message}`)
  }
}

/** Each caller has keys of their own. */
function stored(caller: string, given: string): string {
  return `${given} ${caller}`
}

/** What the key was answered before. @throws IdempotencyError if it stood for another request. */
export function answerOf(read: StoreRead, key: Key | undefined): PublishResult | undefined {
  const record = key && read.idempotency(key.key)
  if (key === undefined || record === undefined) return undefined
  if (record.request !== key.request) throw new IdempotencyError(key.given)
  return answerIn(read, record)
}

/**
 * What came of the request with this key, if that is durable; `undefined`: nothing, as it was refused or never came.
 * @throws StoreError while nothing can be told for sure.
 */
export async function answerTo(domain: Domain, caller: string, given: string): Promise<PublishResult | undefined> {
  // Not a mere read: after the disk has failed, what is read may not be there at the next start.
  return await domain.store.transaction((read) => {
    const record = read.idempotency(stored(caller, given))
    return record && answerIn(read, record)
  })
}

function answerIn(read: StoreRead, record: IdempotencyRecord): PublishResult {
  const answer = record.response as unknown as readonly { config: string; number: number; created: boolean }[]
  const published = answer.map(({ config, number, created }): Published => {
    const release = read.release(config, number)
    if (release === undefined) throw new Error(`${config} ${number}, once answered, is not there`)
    return { config, release, created }
  })
  return { published, replayed: true }
}

export function remember(tx: StoreTx, { key, request }: Key, published: readonly Published[], at: Date): void {
  const response = published.map(({ config, release: { number }, created }) => ({ config, number, created }))
  tx.putIdempotency({ key, request, response, createdAt: at.toISOString() })
}
