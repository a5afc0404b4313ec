/**
 * What configmap-reload does, by its flags: when something in a volume changes, a program is told by HTTP. Nothing is
 * written and nothing can be put back; that takes a sidecar.yaml.
 */
import { createHash } from 'node:crypto'
import { watch } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  debounced,
  jsonSchema,
  SourceError,
  start,
  type Component,
  type Json,
  type ReloadRequest,
  type Source,
  type Trigger,
} from 'midflight'
import { onSignal } from 'midflight/triggers/signal'
import { systemdNotify } from 'midflight/triggers/systemd'
import { pause } from '../pause.ts'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'
import { endOf, over, show } from './run.ts'

export interface VolumeFlags {
  readonly volumeDir?: readonly string[]
  readonly webhookUrl?: readonly string[]
  readonly webhookMethod: string
  readonly webhookStatusCode: number
  readonly webhookRetries: number
  readonly json?: true
}

/** When it was last tried to tell somebody who could not be told. */
interface Debt {
  sinceMs: number | undefined
}

const askMs = 10_000
/** Those who could not be told are told again, although nothing has changed since. */
const againMs = 20_000
const pollMs = 2_000
const quietMs = 100

export async function watchVolumes(terminal: Terminal, flags: VolumeFlags): Promise<void> {
  const { volumeDir = [], webhookUrl = [], webhookRetries } = flags
  if (volumeDir.length === 0 || webhookUrl.length === 0) {
    const missing = volumeDir.length === 0 ? '--volume-dir' : '--webhook-url'
    throw new Refusal('usage', `${missing} is not given; want --volume-dir and --webhook-url, or a sidecar.yaml`)
  }
  const bad = webhookUrl.findIndex((url) => !URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
  if (bad >= 0) throw new Refusal('usage', `--webhook-url number ${bad + 1} is no URL; want http:// or https://`)
  for (const directory of volumeDir) {
    const found = await stat(directory).catch(({ code, message }: NodeJS.ErrnoException) => {
      throw new Refusal(
        'unreadable',
        `--volume-dir ${directory} cannot be looked at: ${code ?? message}; want a directory`,
      )
    })
    if (!found.isDirectory()) throw new Refusal('unreadable', `--volume-dir ${directory} is no directory`)
  }
  const ended = endOf(terminal)
  const debt: Debt = { sinceMs: undefined }
  const source = volumes(volumeDir, debt)
  const engine = await start({
    schema: jsonSchema<Json>(true),
    sources: [source],
    triggers: [debounced(source.changes, { quietMs }), onSignal('SIGHUP')],
    components: [webhooks(webhookUrl, flags, debt)],
    endpoints: [systemdNotify()],
    deadlines: { commitMs: (webhookRetries + 1) * (askMs + 5_000) * webhookUrl.length },
    logger: false,
  })
  terminal.lastly(() => engine.close())
  show(terminal, engine, flags)
  await over(ended, undefined)
  await engine.close()
}

/** The digests of all files, by directory and name. */
function volumes(directories: readonly string[], debt: Debt): Source & { readonly changes: Trigger } {
  const name = `volumes ${directories.join(', ')}`
  return {
    name,
    async load() {
      const all = await Promise.all(
        directories.map(async (directory) => [directory, await digests(directory)] as const),
      )
      return { config: Object.fromEntries(all) }
    },
    changes: { name, requests: (signal, warn) => requests(directories, debt, signal, warn) },
  }
}

async function digests(directory: string): Promise<Json> {
  try {
    const entries = await readdir(directory, { withFileTypes: true })
    // `..data` and the like are how a kubelet swaps a volume as one: what leads there is read through it.
    const names = entries.map(({ name: entry }) => entry).filter((entry) => !entry.startsWith('..'))
    const found = await Promise.all(names.sort().map(async (entry) => [entry, await digestOf(join(directory, entry))]))
    return Object.fromEntries(found) as Json
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // In the middle of a swap.
    throw new SourceError(
      [{ code: 'unreadable', path: [], message: `${directory} cannot be read: ${code ?? message}` }],
      {
        transient: true,
        cause: error,
      },
    )
  }
}

async function digestOf(path: string): Promise<Json> {
  if ((await stat(path)).isDirectory()) return digests(path)
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

/** At each sign of a change, and now and then without one: what is the same is no change. */
async function* requests(
  directories: readonly string[],
  debt: Debt,
  signal: AbortSignal,
  warn?: (message: string) => void,
): AsyncGenerator<ReloadRequest> {
  let wake = () => {}
  const watchers = directories.flatMap((directory) => {
    try {
      const watcher = watch(directory, () => wake())
      watcher.on('error', ({ message }) => warn?.(`${directory} is looked at every ${pollMs} ms: ${message}`))
      return [watcher]
    } catch (error) {
      warn?.(`${directory} is looked at every ${pollMs} ms: ${(error as Error).message}`)
      return []
    }
  })
  try {
    while (!signal.aborted) {
      const stop = new AbortController()
      const woken = new Promise<void>((resolve) => (wake = resolve))
      await Promise.race([
        woken,
        sleep(pollMs, undefined, { signal: AbortSignal.any([signal, stop.signal]) }).catch(() => {}),
      ])
      stop.abort()
      if (signal.aborted) return
      const isOwed = debt.sinceMs !== undefined && performance.now() - debt.sinceMs > againMs
      yield { trigger: 'volume', ...(isOwed && { force: true }) }
    }
  } finally {
    for (const watcher of watchers) watcher.close()
  }
}

function webhooks(urls: readonly string[], flags: VolumeFlags, debt: Debt): Component {
  return {
    name: 'webhooks',
    after: [],
    paths: [''],
    slice: ([digestsNow]) => digestsNow,
    hot: 'full',
    async prepare({ before }) {
      return {
        async commit() {
          // The program has read what is there at the start by itself.
          if (before === undefined) return
          debt.sinceMs = performance.now()
          for (const url of urls) await told(url, flags)
          debt.sinceMs = undefined
        },
        rollback() {},
        dispose() {},
      }
    },
  }
}

async function told(url: string, { webhookMethod, webhookStatusCode, webhookRetries }: VolumeFlags): Promise<void> {
  let last = ''
  for (let tried = 0; tried <= webhookRetries; tried++) {
    if (tried > 0) await pause((0.5 + Math.random()) * Math.min(5_000, 250 * 2 ** tried), undefined)
    try {
      const answer = await fetch(url, { method: webhookMethod, redirect: 'manual', signal: AbortSignal.timeout(askMs) })
      await answer.body?.cancel()
      if (answer.status === webhookStatusCode) return
      last = `was answered with ${answer.status}; want ${webhookStatusCode}`
    } catch (error) {
      // What fetch says itself is that it failed; why is what it names as the cause.
      const { cause, name } = error as Error & { cause?: NodeJS.ErrnoException }
      last = `was not answered: ${cause?.code ?? cause?.message ?? name}`
    }
  }
  // What follows in a URL may be a token.
  const { origin, pathname } = new URL(url)
  throw new Error(`${webhookMethod} ${origin}${pathname} ${last}`)
}
