/** docs/control-plane.md: its commands, run against a real control plane, print what stands below them. */
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { at, hello, rig, type Rig } from './http-rig.ts'
import { commandsIn, run } from './programs/http-console.ts'

const page = fileURLToPath(new URL('../../../docs/control-plane.md', import.meta.url))
const tools = ['curl', 'jq'].filter((name) => !isThere(name))

test.skipIf(tools.length > 0)(
  `the page of the control plane shows what it answers${tools.length > 0 ? ` (skipped: no ${tools.join(', ')})` : ''}`,
  async () => {
    const here = await rig()
    try {
      const shown = commandsIn(await readFile(page, 'utf8'))
      expect(shown.length).toBeGreaterThan(20)
      const printed = await run(
        shown.map(({ command }) => command),
        here.url,
        here.admin,
        () => joinNodes(here),
      )
      for (const [i, { command, output }] of shown.entries()) expect([command, printed[i]]).toEqual([command, output])
    } finally {
      await here.close()
    }
  },
)

/** Two nodes that the page speaks of: one runs the head, one has stayed behind. */
async function joinNodes(here: Rig): Promise<void> {
  const name = 'shop/gateway/prod'
  const releases = (await here.ask(at(name, '/releases'))).json().items as { number: number; digest: string }[]
  for (const [i, number] of [8, 7].entries()) {
    const digest = releases.find((release) => release.number === number)?.digest as string
    const uid = `00000000-0000-4000-8000-00000000000${i + 1}`
    const body = hello(uid, name, { number, digest })
    await here.ask(`/v1/agent/${encodeURIComponent(name)}/heartbeat`, { method: 'POST', body })
  }
}

function isThere(name: string): boolean {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
