/**
 * The gateway as a node of a fleet: its configuration comes from a control plane, and a local file, if there is one,
 * goes over it on this machine. It says `gateway http://…` when it serves, and ends on SIGINT and SIGTERM; with an IPC
 * channel also when whoever started it is gone. `examples/fleet` starts three.
 */
import { readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { controlPlane } from 'midflight/agent'
import { file } from 'midflight/sources/file'
import { schema } from './config.ts'
import { startSourced, type Gateway } from './gateway.ts'

const usage = `usage: node.ts --control-plane URL --config NAME --token-file FILE --dir DIRECTORY
                [--local FILE] [--secrets DIRECTORY] [--label KEY=VALUE]…
       node.ts --schema       prints the JSON Schema of the configuration`

const { values } = parseArgs({
  options: {
    'control-plane': { type: 'string' },
    config: { type: 'string' },
    'token-file': { type: 'string' },
    dir: { type: 'string' },
    local: { type: 'string' },
    secrets: { type: 'string' },
    label: { type: 'string', multiple: true, default: [] },
    schema: { type: 'boolean' },
  },
})

if (values.schema) console.log(JSON.stringify(schema.schema))
else await serve()

async function serve(): Promise<void> {
  const { 'control-plane': url, config, 'token-file': tokenFile, dir, local, secrets } = values
  if (url === undefined || config === undefined || tokenFile === undefined || dir === undefined) {
    console.error(usage)
    process.exitCode = 2
    return
  }
  const stateDir = join(dir, 'state')
  const serving: { gateway?: Gateway } = {}
  const fleet = controlPlane({
    url,
    config,
    // Read anew for each connection, so that the token can be renewed.
    token: () => readFileSync(tokenFile, 'utf8').trim(),
    labels: Object.fromEntries(values.label.map(pairOf)),
    name: 'example-gateway',
    stateDir,
    // How it goes with the requests decides whether a rollout goes on.
    probe: { check: () => requireWell(serving.gateway), everyMs: 1000 },
    ...(secrets !== undefined && { references: { secretsDir: secrets } }),
  })
  const overrides = local === undefined ? [] : [file(basename(local), { cwd: dirname(resolve(local)) })]
  const sources = [fleet, ...overrides]
  const release = () => fleet.status().runs?.number
  const gateway = await startSourced({ sources, directory: dir, stateDir, adminPort: 0, release })
  serving.gateway = gateway

  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= gateway.close().then(() => {
      if (process.connected) process.disconnect()
    })
  }
  process.on('SIGINT', close)
  process.on('SIGTERM', close)
  process.on('disconnect', close)
  console.log(`gateway ${gateway.address} admin ${gateway.adminAddress}`)
}

/** @throws Error with what its requests came to. One that does not serve yet has had none. */
function requireWell(gateway: Gateway | undefined): void {
  const unwell = gateway?.traffic.shown().unwell ?? null
  if (unwell !== null) throw new Error(unwell)
}

function pairOf(text: string): [string, string] {
  const [key = '', ...rest] = text.split('=')
  return [key, rest.join('=')]
}
