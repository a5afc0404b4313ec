/**
 * A node of the fleet: `<url> <stateDir> <log file> <name> <zone>`. A real engine on a real control plane, with one
 * component that takes some milliseconds, and that contents can be made for: to be refused, to fail late, to make this
 * node sick, to kill it. All that it does stands in its own log before it is done, so that a SIGKILL takes nothing away.
 */
import { openSync, writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { jsonSchema, start, type Component } from 'midflight'
import { controlPlane } from 'midflight/agent'
import type { Content, LogLine, Mood } from './evidence.ts'

const [url = '', stateDir = '', logPath = '', name = '', zone = ''] = process.argv.slice(2)
const log = openSync(logPath, 'a')
type Line = LogLine extends infer L ? (L extends LogLine ? Omit<L, 'wallMs' | 'monoMs'> : never) : never
function note(line: Line): void {
  writeSync(log, `${JSON.stringify({ ...line, wallMs: Date.now(), monoMs: Math.round(performance.now()) })}\n`)
}

let inUse: Content | undefined
const moodOf = (content: Content | undefined): Mood => content?.moods[name] ?? 'good'

const service: Component<Content> = {
  name: 'service',
  after: [],
  paths: [''],
  hot: 'full',
  slice: ([whole]) => whole as unknown as Content,
  validate({ after }) {
    if (moodOf(after) !== 'refused') return []
    note({ kind: 'refused', id: after.id })
    return [{ code: 'component', path: ['id'], message: `${name} does not take ${after.id}` }]
  },
  async prepare({ after }) {
    await sleep(5 + Math.random() * 20)
    if (moodOf(after) === 'unprepared') {
      note({ kind: 'refused', id: after.id })
      throw new Error(`${name} cannot prepare ${after.id}`)
    }
    note({ kind: 'prepared', id: after.id })
    const before = inUse
    return {
      commit() {
        if (moodOf(after) === 'fails-late') {
          note({ kind: 'failed-late', id: after.id })
          throw new Error(`${name} fails with ${after.id}`)
        }
        note({ kind: 'commit', id: after.id })
        inUse = after
        if (moodOf(after) === 'dies') setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20)
      },
      rollback() {
        if (inUse !== after) return
        note({ kind: 'rolled-back', id: after.id })
        inUse = before
      },
      dispose() {},
    }
  },
}

note({ kind: 'life', pid: process.pid })
const source = controlPlane({
  url,
  config: 'fleet/real',
  stateDir,
  labels: { name, zone },
  name: 'real-fleet',
  poisonMs: 1_000,
  probe: {
    check: async () => {
      if (moodOf(inUse) === 'sick') throw new Error(`${name} is sick of ${inUse?.id}`)
    },
    everyMs: 1_000,
  },
})
const parent = process.ppid
let last = ''
function look(): void {
  // The test is gone, and nobody is left to end this.
  if (process.ppid !== parent) process.exit()
  const { uid, runs, status, seen, prepared, health } = source.status()
  const said = { uid: uid ?? '', runs, status, seen, prepared: prepared ?? null, health: health ?? null }
  const text = JSON.stringify(said)
  if (text === last || uid === undefined) return
  last = text
  note({ kind: 'status', ...said })
}
const schema = jsonSchema<Content>({ type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] })
const logger = { info() {}, warn: (text: string) => note({ kind: 'warning', text }), error() {} }
setInterval(look, 40)
try {
  await start({ schema, sources: [source], components: [service], stateDir, logger, retries: { limit: 0 } } as never)
  look()
  // Otherwise that is done when a process ends, which these do not live to see; the next starts in a fraction of the time.
  flushCompileCache()
} catch (error) {
  note({ kind: 'warning', text: `could not start: ${String(error)}` })
  process.exit(1)
}
