/**
 * `npm run gateway`: the gateway in the foreground on a copy of the example configuration, in front of two tiny upstreams,
 * with a list of things to try. Each reload shows up as a line, whoever asked for it.
 */
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { issueText, outcomeText, type Event, type Outcome, type ShownChange } from 'midflight'
import { demoUpstream } from './demo-upstream.ts'
import { startGateway, type Gateway } from './gateway.ts'

const example = join(import.meta.dirname, '..')
const run = process.env['GATEWAY_RUN_DIR'] ?? join(example, 'run')
const configFile = join(run, 'gateway.yaml')
const maxChanges = 5

mkdirSync(run, { recursive: true })
// Kept on the second start: it is the reader's to edit.
if (!existsSync(configFile)) copyFileSync(join(example, 'gateway.yaml'), configFile)

const upstreams = [await demoUpstream('users'), await demoUpstream('orders')] as const
const variables = { GATEWAY_PORT: '0', USERS_URL: upstreams[0].url, ORDERS_URL: upstreams[1].url }
let gateway: Gateway
try {
  gateway = await startGateway({ configFile, stateDir: join(run, 'state'), adminPort: 0, variables })
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  console.error(`The tour runs on ${shownPath(configFile)}; delete that file to start again from the example.`)
  await Promise.all(upstreams.map((upstream) => upstream.close()))
  process.exit(1)
}

console.log(tour(gateway))
gateway.engine.events.subscribe((event) => {
  const line = lineOf(event)
  if (line !== undefined) console.log(`${event.at.slice(11, 19)} ${line}`)
})

let closing = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void close())

async function close(): Promise<void> {
  if (closing) return
  closing = true
  await gateway.close()
  await Promise.all(upstreams.map((upstream) => upstream.close()))
  console.log('closed')
  process.exitCode = 0
}

function tour({ address, adminAddress }: Gateway): string {
  const edited = shownPath(configFile)
  const sed = (change: string) => `sed -i '${change}' ${edited}`
  return `
Midflight gateway
  gateway   ${address}   try /api/users, /api/orders, /_limits, /_traffic
  admin     ${adminAddress}   /status /config /events /metrics
  edit      ${edited}   saved is applied
  log       ${shownPath(join(run, 'gateway.log'))}

Try, in another terminal:
  1. curl -si ${address}/api/users | grep -i x-rate
       the limit of rule "users"
  2. ${sed('s/limit: 1000/limit: 3/')}
       the same curl now shows 3, and from the fourth request on 429; what was counted before still counts
  3. ${sed('s/limit: 3$/limit: 0/')}
       a bad edit: refused with its line and column, and the limit stays 3
  4. ${sed('s/limit: 0$/limit: 500/; s/level: info/level: debug/')}
       mended, and the log level with it: two components, one reload
  5. curl -s ${address}/_limits; curl -s ${adminAddress}/config
       the counters; the live configuration, its secret masked

The same from the command line, against the running process:
  npx midflight status --url ${adminAddress}
  npx midflight plan   --url ${adminAddress}
  npx midflight watch  --url ${adminAddress}
  kill -HUP ${process.pid}

Ctrl-C ends it. Reloads:`
}

function lineOf(event: Event): string | undefined {
  if (event.kind === 'warning') return `! ${event.message}`
  if (event.kind !== 'reload' || event.outcome.kind === 'unchanged') return undefined
  const { outcome } = event
  return [
    `${outcomeText(outcome)} (${outcome.triggers.join(', ')}, ${Math.round(outcome.durationMs)} ms)`,
    ...details(outcome),
  ].join('\n           ')
}

function details(outcome: Outcome): string[] {
  if (outcome.kind === 'rejected') return outcome.issues.map(issueText)
  if (!('plan' in outcome)) return []
  // Once each: a change that two components read is listed with both.
  const changes = [...new Set(outcome.plan.components.flatMap((component) => component.changes.map(changeText)))]
  const rest = changes.length - maxChanges
  return rest > 0 ? [...changes.slice(0, maxChanges), `and ${rest} more`] : changes
}

function changeText({ kind, path, before, after }: ShownChange): string {
  if (kind === 'changed') return `~ ${path}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`
  return `${{ added: '+', removed: '-', moved: '↕' }[kind]} ${path}`
}

function shownPath(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') ? path : short
}
