/** Real configurations of Prometheus through validate, diff and plan. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { folder, midflight } from './rig.ts'

const data = fileURLToPath(new URL('../../../../shared/data/prometheus', import.meta.url))
const there = existsSync(join(data, 'conf.good.yml'))
const skipped = there ? '' : ' (skipped: ../shared/data is not here)'
const plain = ['--no-variables', '--no-include']
const jobs = ['--key', 'scrape_configs=job_name']

test.skipIf(!there)(`a real Prometheus configuration is valid, and equal to itself${skipped}`, async () => {
  const [valid, same] = await Promise.all([
    midflight(['validate', 'conf.good.yml', ...plain], { cwd: data }),
    midflight(['plan', 'conf.good.yml', '--against', 'conf.good.yml', ...plain, ...jobs], { cwd: data }),
  ])
  expect([valid.code, same.code]).toEqual([0, 0])
})

test.skipIf(!there)(
  `P1 P2 plan names a new job, a changed interval and a removed job by the job's name${skipped}`,
  async () => {
    const good = readFileSync(join(data, 'conf.good.yml'), 'utf8')
    const changed = good
      .replace(/(job_name: "?prometheus"?\n[\s\S]*?scrape_interval: )\S+/, '$11h')
      .replace(
        /^scrape_configs:\n/m,
        'scrape_configs:\n  - job_name: node\n    static_configs: [{ targets: ["localhost:9100"] }]\n',
      )
    const cwd = await folder({ 'old.yml': good, 'new.yml': changed })
    const { code, out } = await midflight(['plan', 'new.yml', '--against', 'old.yml', ...plain, ...jobs], { cwd })
    expect(code).toBe(2)
    expect(out).toMatch(/^\+ scrape_configs\.node +\{"job_name":"node"/m)
    expect(out).not.toMatch(/scrape_configs\.\d/)
    const back = await midflight(['diff', 'new.yml', 'old.yml', ...plain, ...jobs], { cwd })
    expect([back.code, back.out]).toEqual([2, expect.stringMatching(/^- scrape_configs\.node /m)])
  },
)

test.skipIf(!there)(`diff of two real configurations as JSON, and bad YAML has a position${skipped}`, async () => {
  const cwd = await folder()
  await writeFile(join(cwd, 'torn.yml'), `${readFileSync(join(data, 'conf.good.yml'), 'utf8').slice(0, 900)}\n\t- x: [`)
  const [diff, torn] = await Promise.all([
    midflight(['diff', 'conf.good.yml', 'agent_mode.good.yml', '--json', ...plain], { cwd: data }),
    midflight(['validate', 'torn.yml', ...plain], { cwd }),
  ])
  expect([diff.code, (diff.json() as { changes: unknown[] }).changes.length > 0]).toEqual([2, true])
  expect([torn.code, torn.out]).toEqual([1, expect.stringMatching(/^torn\.yml:\d+:\d+ is not YAML/)])
})
