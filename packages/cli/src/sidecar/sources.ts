/** Where the configuration of a sidecar comes from: places, or a control plane; and how long changes are held back. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { debounced, type Source, type Trigger } from 'midflight'
import { waysOf } from '../fleet/ways.ts'
import { placeAt } from '../places/stores.ts'
import { Refusal } from '../refusal.ts'
import type { Sidecar } from './read.ts'

export interface Asked {
  readonly sources: readonly Source[]
  readonly triggers: readonly Trigger[]
}

/**
 * Made anew for each engine.
 * @param ended whoever reads then is not waited for.
 * @throws Refusal for a place that makes no sense.
 */
export async function sourcesOf(sidecar: Sidecar, ended: AbortSignal): Promise<Asked> {
  const made = sidecar.controlPlane
    ? [await plane(sidecar, sidecar.controlPlane)]
    : await Promise.all(
        (sidecar.sources ?? []).map(async (text) => (await placeAt(placed(sidecar, text), sidecar.directory)).source()),
      )
  const { wait } = sidecar
  const pace = wait && { quietMs: wait.minMs, ...(wait.maxMs !== undefined && { maxMs: wait.maxMs }) }
  const asking = made.filter(isTrigger)
  return {
    sources: made.map((source) => read(source, ended)),
    triggers: pace ? asking.map((source) => debounced(source, pace)) : asking,
  }
}

/** A path counts from the file that names it, as all others there do; what is no URL is one. */
function placed({ directory }: Sidecar, text: string): string {
  if (/^[a-z][a-z0-9+.-]*:/i.test(text) && !text.startsWith('file:')) return text
  return `file:${resolve(directory, text.replace(/^file:(\/\/(?=\/))?/, ''))}`
}

async function plane({ directory, stateDir }: Sidecar, given: NonNullable<Sidecar['controlPlane']>) {
  const { controlPlane } = await import('midflight/agent')
  const { url, config, labels, tokenFile } = given
  const ways = await waysOf(given, directory)
  const token = tokenFile === undefined ? process.env['MIDFLIGHT_TOKEN'] : () => tokenIn(resolve(directory, tokenFile))
  try {
    return controlPlane({
      url,
      config,
      name: 'midflight sidecar',
      ...ways,
      ...(labels && { labels }),
      ...(token !== undefined && { token }),
      ...(stateDir !== undefined && { stateDir: join(resolve(directory, stateDir), 'agent') }),
    })
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new Refusal('usage', `controlPlane: ${error.message.replace(/^controlPlane\(\): /, '')}`)
  }
}

export function tokenIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException
    throw new Refusal('unreadable', `the token file ${path} cannot be read (${code})`)
  }
}

function isTrigger(source: Source & Partial<Trigger>): source is Source & Trigger {
  return source.requests !== undefined
}

/** What it reads; what it asks for is apart from that. */
function read(source: Source, ended: AbortSignal): Source {
  return {
    name: source.name,
    load: (signal) => source.load(AbortSignal.any([signal, ended])),
    attached: (engine) => source.attached?.(engine),
    settled: (outcome) => source.settled?.(outcome),
    close: async () => source.close?.(),
    ...(source.resolve && { resolve: (reference, signal) => source.resolve!(reference, signal) }),
  }
}
