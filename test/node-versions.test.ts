/** What `npm install midflight` brings runs on every Node that it promises to run on. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fetchNode, otherVersions, pinnedNode, systemNode } from '../scripts/node-versions.ts'
import { installPacked, packEngine, plainEnv } from '../scripts/pack.ts'

const run = promisify(execFile)
const long = process.env.MIDFLIGHT_LONG === '1'
const unlessLong = long ? '' : ' (skipped: needs downloads, run npm run test:long)'

/** No peers, no types, nothing that Node 20 lacks. It must end by itself: an engine that is closed holds nothing. */
const program = `
import { writeFile } from 'node:fs/promises'
import { componentsFor, start } from 'midflight'
import { file } from 'midflight/sources/file'

const path = process.argv[2]
const schema = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }
const seen = []
await writeFile(path, 'log: info\\n')
const { value } = componentsFor(schema)
const log = value({ name: 'log', path: 'log', apply: (next) => { seen.push(next) } })
const engine = await start({ schema, sources: [file(path)], components: [log] })
await writeFile(path, 'log: debug\\n')
const outcome = await engine.reload()
await engine.close()
console.log(JSON.stringify({ node: process.versions.node, outcome: outcome.kind, seen }))
`

let folder: string
let app: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-node-'))
  app = await installPacked(await packEngine(folder), folder)
  await writeFile(join(app, 'program.js'), program)
}, 120_000)

afterAll(() => rm(folder, { recursive: true, force: true }))

async function lifeOn(node: string): Promise<unknown> {
  const { stdout } = await run(node, ['program.js', join(app, 'config.yaml')], {
    cwd: app,
    env: plainEnv(),
    timeout: 20_000,
  })
  return JSON.parse(stdout)
}

describe('the packed engine starts, reloads a file, closes and lets the process end', () => {
  const system = systemNode()
  const pinned = pinnedNode()

  test.skipIf(!system)(`on the system's Node${system ? '' : ' (skipped: there is none)'}`, async () => {
    expect(await lifeOn(system ?? '')).toMatchObject({ outcome: 'committed', seen: ['info', 'debug'] })
  })

  test.skipIf(!pinned)(`on the pinned Node${pinned ? '' : ' (skipped: npm has none for this platform)'}`, async () => {
    expect(await lifeOn(pinned ?? '')).toMatchObject({ outcome: 'committed', seen: ['info', 'debug'] })
  })

  test.skipIf(!long).each(otherVersions)(
    `on Node %s${unlessLong}`,
    async (version) => {
      const node = await fetchNode(version)
      expect(await lifeOn(node)).toEqual({ node: version, outcome: 'committed', seen: ['info', 'debug'] })
    },
    300_000,
  )
})
