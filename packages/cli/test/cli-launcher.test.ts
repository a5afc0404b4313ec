/** What stands before the command line: the built program is started, and a Node that is too old is told so. */
import { spawnSync } from 'node:child_process'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { folder } from './rig.ts'

const launcher = fileURLToPath(new URL('../bin/midflight.js', import.meta.url))

async function installed(dist: string | undefined): Promise<string> {
  const cwd = await folder({ 'package.json': '{"type":"module"}' })
  await mkdir(join(cwd, 'bin'))
  await cp(launcher, join(cwd, 'bin', 'midflight.js'))
  if (dist !== undefined) {
    await mkdir(join(cwd, 'dist'))
    await writeFile(join(cwd, 'dist', 'main.js'), dist)
  }
  return cwd
}

function run(cwd: string, nodeVersion?: string) {
  const pretend =
    nodeVersion === undefined
      ? []
      : ['--import', `data:text/javascript,Object.defineProperty(process,"versions",{value:{node:"${nodeVersion}"}})`]
  return spawnSync(process.execPath, [...pretend, 'bin/midflight.js', 'status', '--json'], { cwd, encoding: 'utf8' })
}

test('it starts what was built with what was typed', async () => {
  const cwd = await installed('console.log(process.argv.slice(2).join(" "))')
  expect(run(cwd)).toMatchObject({ status: 0, stdout: 'status --json\n', stderr: '' })
})

test('a Node before 22.16 is told so in one line, with exit status 1', async () => {
  const cwd = await installed('console.log("started")')
  for (const version of ['18.20.0', '20.19.2', '22.15.1']) {
    const stderr = `midflight: needs Node 22.16 or newer; this is ${version}\n`
    expect(run(cwd, version)).toMatchObject({ status: 1, stdout: '', stderr })
  }
  for (const version of ['22.16.0', '24.0.0', '26.1.0']) expect(run(cwd, version)).toMatchObject({ status: 0 })
})

test('what is not built says how it is', async () => {
  const cwd = await installed(undefined)
  expect(run(cwd)).toMatchObject({ status: 1, stderr: expect.stringContaining('npm run build') })
})
