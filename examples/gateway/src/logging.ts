/**
 * The log. A new logger is built, and its file opened, before anything changes, so a destination that cannot be opened
 * takes the whole reload back. The old one is flushed and closed once everyone has the new configuration.
 */
import { once } from 'node:events'
import { open as openFile } from 'node:fs'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { componentsFor, type Component } from 'midflight'
import { destination as open, pino, type Logger } from 'pino'
import { schema, type Config } from './config.ts'

type Destination = ReturnType<typeof open>
type Level = Exclude<Config['log']['level'], 'silent'>

interface Built {
  readonly logger: Logger
  close(): Promise<void>
}

export interface Log {
  readonly component: Component
  /** Written by whichever logger is live now: one that a request kept could be closed before the request ends. */
  write(level: Level, message: string, fields?: Readonly<Record<string, unknown>>): void
}

/** @param directory where relative destinations count from. */
export function logTo(directory: string): Log {
  const { value } = componentsFor(schema)
  let live: Logger | undefined
  const component = value({
    name: 'log',
    path: 'log',
    prepare: (next): Promise<Built> => build(next, directory),
    apply: (_next, built) => void (live = built.logger),
    discard(built) {
      if (live === built.logger) live = undefined // the gateway closes
      return built.close()
    },
  })
  return {
    component,
    write(level, message, fields = {}) {
      if (live) live[level](fields, message)
      else if (level === 'error' || level === 'warn') process.stderr.write(`gateway: ${message}\n`)
    },
  }
}

async function build({ level, format, destination }: Config['log'], directory: string): Promise<Built> {
  const stream = await opened(destination, directory)
  const lines = format === 'json' ? stream : { write: (line: string) => void stream.write(textOf(line)) }
  return { logger: pino({ level, base: null }, lines), close: () => closed(stream, destination) }
}

async function opened(destination: string, directory: string): Promise<Destination> {
  if (destination === 'stdout') return open({ dest: 1, sync: true })
  if (destination === 'stderr') return open({ dest: 2, sync: true })
  const file = resolve(directory, destination)
  // Not opened by pino: a stream whose file could not be opened would throw once more when the process exits.
  const stream = open({ dest: await promisify(openFile)(file, 'a'), sync: false })
  stream.on('error', (error: Error) => process.stderr.write(`gateway: cannot write ${file}: ${error.message}\n`))
  return stream
}

async function closed(stream: Destination, destination: string): Promise<void> {
  if (destination === 'stdout' || destination === 'stderr') return stream.flushSync()
  const gone = once(stream, 'close')
  stream.end()
  await gone
}

/** pino's JSON line as one that people read: `11:32:07.120 INFO GET /api/users status=200 ms=1.4` */
function textOf(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const rest = Object.entries(fields).map(([key, field]) => ` ${key}=${String(field)}`)
  const name = (pino.levels.labels[Number(level)] ?? 'log').toUpperCase()
  return `${new Date(Number(time)).toISOString().slice(11, 23)} ${name} ${String(msg)}${rest.join('')}\n`
}
