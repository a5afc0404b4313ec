/** Prints what `npm install midflight` brings: the figures that the README states and test/package.test.ts holds. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPacked, installSize, packEngine } from './pack.ts'

const folder = await mkdtemp(join(tmpdir(), 'midflight-size-'))
try {
  const { packages, kilobytes } = await installSize(await installPacked(await packEngine(folder), folder))
  console.log(`${packages} packages, ${kilobytes} kB`)
} finally {
  await rm(folder, { recursive: true })
}
