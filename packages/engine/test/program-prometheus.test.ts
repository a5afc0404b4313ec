/** A real Prometheus beside a real engine: the files of its own tests, its check, its reload and what it says of itself. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { program, prometheus as preset, type PrometheusOptions } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, Prometheus, textAt, tree, withoutPrometheus } from './program-rig.ts'

const why = withoutPrometheus ? ` (skipped: ${withoutPrometheus})` : ''
const corpus = fileURLToPath(new URL('../../../../shared/data/prometheus', import.meta.url))

describe.skipIf(withoutPrometheus !== undefined)(`Prometheus${why}`, () => {
  let server: Prometheus | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  function sidecar(more: Partial<PrometheusOptions> = {}) {
    const { directory, base } = server!
    const files = [{ path: 'prometheus.yml', from: 'main', as: 'yaml' }] as const
    return program(preset({ directory, url: base, files, ...more }))
  }
  const live = () => readFileSync(join(server!.directory, 'prometheus.yml'), 'utf8')
  const loaded = async () =>
    (JSON.parse((await textAt(`${server!.base}/api/v1/status/config`)) ?? '') as { data: { yaml: string } }).data.yaml
  const job = (name: string) => ({ main: { scrape_configs: [{ job_name: name }] } })

  test('a change is checked, swapped in, and reported by Prometheus itself', async () => {
    server = await Prometheus.start()
    const rig = await engineOf([sidecar()], job('one'))
    expect(await rig.set(job('two'))).toMatchObject({ kind: 'committed' })
    expect(await loaded()).toContain('job_name: two')
    expect(leftIn(server.directory)).toEqual(['prometheus.yml'])
  })

  test('several files are checked as one: rules that do not fit refuse all, and are found by their relative path', async () => {
    server = await Prometheus.start({ 'rules/a.yml': 'groups: []\n' })
    const files = [
      { path: 'prometheus.yml', from: 'main', as: 'yaml' },
      { path: 'rules/a.yml', from: 'rules', as: 'yaml' },
    ] as const
    const rules = (expr: string) => ({ groups: [{ name: 'g', rules: [{ alert: 'A', expr }] }] })
    const main = { rule_files: ['rules/*.yml'] }
    const rig = await engineOf([sidecar({ files })], { main, rules: rules('up == 0') })
    const outcome = await rig.set({ main: { ...main, global: { scrape_interval: '7s' } }, rules: rules('up ==') })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('could not parse expression') })
    expect(await loaded()).not.toContain('7s')
    expect(readFileSync(join(server.directory, 'rules/a.yml'), 'utf8')).toContain('up == 0')
  })

  test('a file that passes the check and fails in the reload: its reason is told, the old is restored and loaded again', async () => {
    server = await Prometheus.start()
    const rig = await engineOf([sidecar()], job('one'))
    // promtool does not open the log; Prometheus does.
    const outcome = await rig.set({ main: { ...job('two').main, global: { query_log_file: '/nowhere/at/all.log' } } })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit', failed: 'prometheus' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('answered with 500') })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('failed to reload config') })
    expect(live()).toContain('job_name: one')
    expect(await loaded()).toContain('job_name: one')
    expect(await textAt(`${server.base}/metrics`)).toContain('prometheus_config_last_reload_successful 1')
    expect(await rig.set(job('three'))).toMatchObject({ kind: 'committed' })
    expect(await loaded()).toContain('job_name: three')
  })

  test('told by a signal, which answers nothing: its own gauge says no', async () => {
    server = await Prometheus.start()
    const pidFile = join(server.directory, 'prometheus.pid')
    writeFileSync(pidFile, `${server.pid}\n`)
    const rig = await engineOf([sidecar({ pidFile })], job('one'))
    expect(await rig.set(job('two'))).toMatchObject({ kind: 'committed' })
    expect(await loaded()).toContain('job_name: two')
    const outcome = await rig.set({ main: { global: { query_log_file: '/nowhere/at/all.log' } } })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('last reload was not successful') })
    expect(await loaded()).toContain('job_name: two')
  })

  const missing = existsSync(corpus) ? '' : ' (skipped: ../shared is not there)'
  test.skipIf(missing !== '')(
    `every bad file of its own tests that Prometheus refuses is refused before the swap${missing}`,
    { timeout: 300_000 },
    async () => {
      server = await Prometheus.start()
      const files = [{ path: 'prometheus.yml', from: 'text', as: 'raw' }] as const
      const first = readFileSync(join(server.directory, 'prometheus.yml'), 'utf8')
      const rig = await engineOf([sidecar({ files })], { text: first })
      const reloads = async () =>
        /^prometheus_config_last_reload_success_timestamp_seconds .*$/m.exec(
          (await textAt(`${server!.base}/metrics`)) ?? '',
        )?.[0]
      const before = await reloads()
      let refused = 0
      for (const name of readdirSync(corpus).filter((file) => file.endsWith('.bad.yml'))) {
        const text = readFileSync(join(corpus, name), 'utf8')
        if (!refusedByItself(text)) continue
        refused++
        expect(await rig.set({ text }), name).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
        expect(live(), name).toBe(first)
      }
      expect(await reloads()).toBe(before)
      expect(refused).toBeGreaterThan(0)
    },
  )

  test.skipIf(missing !== '')(
    `every good file of its own tests that Prometheus accepts goes through${missing}`,
    { timeout: 300_000 },
    async () => {
      server = await Prometheus.start()
      const files = [{ path: 'prometheus.yml', from: 'text', as: 'raw' }] as const
      const rig = await engineOf([sidecar({ files })], { text: live() })
      let accepted = 0
      for (const name of readdirSync(corpus).filter((file) => file.endsWith('.good.yml'))) {
        const text = readFileSync(join(corpus, name), 'utf8')
        if (refusedByItself(text)) continue
        accepted++
        const outcome = await rig.set({ text })
        expect(outcome, `${name}: ${JSON.stringify(outcome)}`).toMatchObject({ kind: 'committed' })
        expect(live(), name).toBe(text)
      }
      expect(accepted).toBeGreaterThan(0)
    },
  )

  /** Asked without us: does Prometheus start with it? */
  function refusedByItself(text: string): boolean {
    const directory = tree({ 'prometheus.yml': text })
    // An address that is none, so that it ends right after it has read the file.
    const flags = ['--web.listen-address=256.0.0.1:1', `--storage.tsdb.path=${directory}/data`]
    const { stderr } = spawnSync('prometheus', [`--config.file=${directory}/prometheus.yml`, ...flags], {
      encoding: 'utf8',
      timeout: 10_000,
      killSignal: 'SIGKILL',
    })
    rmSync(directory, { recursive: true })
    return /Error loading config/.test(stderr)
  }
})
