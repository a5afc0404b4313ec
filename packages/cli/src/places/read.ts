/** Reads what is to be brought: from a place by its source, or from a config of the control plane by its API. */
import type { Json, Source, Trigger } from 'midflight'
import { SourceError } from 'midflight'
import type { Address } from '../admin/address.ts'
import { call, configPath } from '../fleet/call.ts'
import { live } from '../fleet/live.ts'
import { Refusal } from '../refusal.ts'
import type { Content } from './content.ts'
import type { Place } from './place.ts'

export interface Reader {
  readonly name: string
  /** As new as the call. @throws Refusal */
  read(signal: AbortSignal): Promise<Content>
  /** Whenever it may have changed, the first time soon. @param warn told while it cannot be followed. */
  changes(signal: AbortSignal, warn: (message: string) => void): AsyncIterable<unknown>
  close(): Promise<void>
}

/** How long a place that is away holds up who waits for it. */
const readMs = 30_000

export function placeReader({ name, source: open }: Place): Reader {
  const source: Source & Partial<Trigger> = open()
  return {
    name,
    async read(signal) {
      try {
        const { config, pieces } = await source.load(AbortSignal.any([signal, AbortSignal.timeout(readMs)]))
        return { config, pieces: pieces && [...pieces()] }
      } catch (error) {
        if (!(error instanceof SourceError)) throw error
        throw new Refusal(error.transient ? 'unreachable' : 'unreadable', `${name}: ${error.message}`)
      }
    },
    changes(signal, warn) {
      if (source.requests) return source.requests(signal, warn)
      throw new Refusal('usage', `${name} does not say when it changes`)
    },
    async close() {
      await source.close?.()
    },
  }
}

export function configReader(address: Address, config: string): Reader {
  const path = configPath(config, '/content')
  return {
    name: config,
    async read(signal) {
      return { config: (await call<Json>(address, path, { signal })).body, pieces: undefined }
    },
    async *changes(signal, warn) {
      for await (const item of live(address, config, signal)) {
        if (item.kind === 'lost') warn(`${address.name}: ${item.reason}; trying again`)
        else yield item
      }
    },
    async close() {},
  }
}
