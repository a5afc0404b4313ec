import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openMetricsType, ReloadMetrics, type MetricsNow } from '../src/metrics.ts'
import { component, kinds, outcome } from './outcomes.ts'
import { parseOpenMetrics } from './open-metrics.ts'

const now: MetricsNow = {
  pending: 0,
  liveDigest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
  committedAt: new Date('2026-11-20T09:00:00.500Z'),
  healthy: true,
  pendingRestart: 0,
}
const seconds = (iso: string): number => Date.parse(iso) / 1000
const hostile = 'a"b\\c\nd{e="f"} # EOF é'

/** A bit of everything. */
function busy(): ReloadMetrics {
  const metrics = new ReloadMetrics()
  for (const kind of kinds) {
    const components = [
      component('log', 'committed', { prepare: 0.2, commit: 0.4 }),
      component(hostile, 'failed', { prepare: 120_000 }),
    ]
    metrics.record(
      outcome(kind, kind === 'rejected' || kind === 'unchanged' ? { triggers: [hostile], retries: 2 } : { components }),
    )
  }
  return metrics
}

describe('the text', () => {
  test('is strict OpenMetrics, before the first reload and after many', () => {
    for (const metrics of [new ReloadMetrics(), busy()]) {
      const families = parseOpenMetrics(metrics.text(now))
      expect([...families.keys()]).toEqual([
        'midflight_config_last_reload_successful',
        'midflight_config_last_reload_success_timestamp_seconds',
        'midflight_config_committed_timestamp_seconds',
        'midflight_config_hash',
        'midflight_reloads',
        'midflight_reload_retries',
        'midflight_reload_duration_seconds',
        'midflight_reloads_pending',
        'midflight_restart_pending_changes',
        'midflight_degraded',
      ])
    }
  })

  test('escapes label values, and they come back as they were', () => {
    const samples = parseOpenMetrics(busy().text(now)).get('midflight_reloads')!.samples
    expect(samples.map((sample) => sample.labels['trigger'])).toContain(hostile)
  })
})

describe('what the numbers say', () => {
  const read = (
    metrics: ReloadMetrics,
    name: string,
    labels: Record<string, string> = {},
    told: Partial<MetricsNow> = {},
  ): number | undefined => {
    for (const family of parseOpenMetrics(metrics.text({ ...now, ...told })).values()) {
      for (const sample of family.samples) {
        if (sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels)) return sample.value
      }
    }
    return undefined
  }

  test('a failed load sets successful to 0 and leaves the time of the last success (P4)', () => {
    const metrics = new ReloadMetrics()
    metrics.record(outcome('committed', { startedAt: '2026-11-20T10:00:00.000Z', durationMs: 250 }))
    for (const kind of ['rejected', 'restart-required', 'rolled-back', 'degraded'] as const) {
      metrics.record(outcome(kind, { startedAt: '2026-11-20T11:00:00.000Z' }))
      expect(read(metrics, 'midflight_config_last_reload_successful')).toBe(0)
      expect(read(metrics, 'midflight_config_last_reload_success_timestamp_seconds')).toBe(
        seconds('2026-11-20T10:00:00.250Z'),
      )
    }
  })

  test('after a failure, the good configuration that is already live is a success again (F66)', () => {
    const metrics = new ReloadMetrics()
    metrics.record(outcome('rejected'))
    metrics.record(outcome('unchanged', { startedAt: '2026-11-20T12:00:00.000Z', durationMs: 0 }))
    expect(read(metrics, 'midflight_config_last_reload_successful')).toBe(1)
    expect(read(metrics, 'midflight_config_last_reload_success_timestamp_seconds')).toBe(
      seconds('2026-11-20T12:00:00.000Z'),
    )
  })

  test('a reload that close() forestalled changes neither', () => {
    const metrics = new ReloadMetrics()
    metrics.record(outcome('rejected'))
    metrics.record(outcome('closed'))
    expect(read(metrics, 'midflight_config_last_reload_successful')).toBe(0)
    expect(read(metrics, 'midflight_reloads_total', { trigger: 'signal', result: 'closed' })).toBe(1)
  })

  test('before the first reload, the start counts: 1 with its time, or 0 and 0', () => {
    const metrics = new ReloadMetrics()
    expect(read(metrics, 'midflight_config_last_reload_successful')).toBe(1)
    expect(read(metrics, 'midflight_config_last_reload_success_timestamp_seconds')).toBe(
      seconds('2026-11-20T09:00:00.500Z'),
    )
    const nothing = { committedAt: undefined, liveDigest: '' }
    expect(read(metrics, 'midflight_config_last_reload_successful', {}, nothing)).toBe(0)
    expect(read(metrics, 'midflight_config_last_reload_success_timestamp_seconds', {}, nothing)).toBe(0)
    expect(read(metrics, 'midflight_config_hash', {}, nothing)).toBe(0)
  })

  test('the hash is the first 48 bits of the digest, exactly', () => {
    const metrics = new ReloadMetrics()
    expect(read(metrics, 'midflight_config_hash')).toBe(0x0123456789ab)
    expect(read(metrics, 'midflight_config_hash', {}, { liveDigest: `sha256:${'f'.repeat(64)}` })).toBe(2 ** 48 - 1)
  })

  test('a reload that covered several requests is counted once, under the first trigger (P7)', () => {
    const metrics = new ReloadMetrics()
    metrics.record(outcome('committed', { triggers: ['http', 'signal'] }))
    metrics.record(outcome('committed', { triggers: ['http'] }))
    metrics.record(outcome('committed', { triggers: [] }))
    expect(read(metrics, 'midflight_reloads_total', { trigger: 'http', result: 'committed' })).toBe(2)
    expect(read(metrics, 'midflight_reloads_total', { trigger: 'signal', result: 'committed' })).toBeUndefined()
    expect(read(metrics, 'midflight_reloads_total', { trigger: 'unknown', result: 'committed' })).toBe(1)
  })

  test('durations are told for the whole, for each phase, and for each component in it', () => {
    const metrics = new ReloadMetrics()
    metrics.record(
      outcome('committed', {
        durationMs: 300,
        durationsMs: { load: 100 },
        components: [component('log', 'committed', { commit: 1 })],
      }),
    )
    const name = 'midflight_reload_duration_seconds'
    expect(read(metrics, `${name}_sum`, { component: '', phase: 'total' })).toBe(0.3)
    expect(read(metrics, `${name}_count`, { component: '', phase: 'load' })).toBe(1)
    expect(read(metrics, `${name}_bucket`, { component: 'log', phase: 'commit', le: '0.001' })).toBe(1)
    expect(read(metrics, `${name}_bucket`, { component: 'log', phase: 'commit', le: '0.0005' })).toBe(0)
  })

  test('retries, waiting requests, held changes and a failed rollback are told', () => {
    const metrics = new ReloadMetrics()
    metrics.record(outcome('committed', { retries: 2 }))
    metrics.record(outcome('committed', { retries: 1 }))
    const told = { pending: 3, pendingRestart: 2, healthy: false }
    expect(read(metrics, 'midflight_reload_retries_total')).toBe(3)
    expect(read(metrics, 'midflight_reloads_pending', {}, told)).toBe(3)
    expect(read(metrics, 'midflight_restart_pending_changes', {}, told)).toBe(2)
    expect(read(metrics, 'midflight_degraded', {}, told)).toBe(1)
    expect(read(metrics, 'midflight_degraded')).toBe(0)
  })

  test('labels made up at run time do not make series without end', () => {
    const metrics = new ReloadMetrics()
    for (let i = 0; i < 1000; i++) {
      metrics.record(
        outcome('committed', { triggers: [`t${i}`], components: [component(`c${i}`, 'committed', { commit: 1 })] }),
      )
    }
    const families = parseOpenMetrics(metrics.text(now))
    expect(families.get('midflight_reloads')!.samples).toHaveLength(33)
    expect(read(metrics, 'midflight_reloads_total', { trigger: 'other', result: 'committed' })).toBe(968)
    const components = new Set(
      families.get('midflight_reload_duration_seconds')!.samples.map((sample) => sample.labels['component']),
    )
    expect(components.size).toBe(202)
  })
})

const has = (command: string): boolean => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

test.skipIf(!has('promtool'))('promtool has nothing to say against it (skipped: promtool is not installed)', () => {
  // promtool reads the older text format, which differs in the name of a counter's family.
  const older = busy()
    .text(now)
    .replace(/^# (TYPE|HELP) (midflight_reloads|midflight_reload_retries) /gm, '# $1 $2_total ')
  expect(execFileSync('promtool', ['check', 'metrics'], { input: older, encoding: 'utf8' })).toBe('')
})

test.skipIf(!has('prometheus'))(
  'a real Prometheus scrapes it as OpenMetrics (skipped: prometheus is not installed)',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'midflight-prometheus-'))
    const served: string[] = []
    const server = createServer((request, response) => {
      served.push(request.headers.accept ?? '')
      response.setHeader('content-type', openMetricsType)
      response.end(busy().text(now))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const port = (free.address() as AddressInfo).port
    free.close()
    const config = join(folder, 'prometheus.yml')
    const target = `127.0.0.1:${(server.address() as AddressInfo).port}`
    await writeFile(
      config,
      `scrape_configs: [{ job_name: m, scrape_interval: 200ms, scrape_timeout: 200ms, static_configs: [{ targets: ['${target}'] }] }]\n`,
    )
    const prometheus = spawn(
      'prometheus',
      [`--config.file=${config}`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`],
      { stdio: 'ignore' },
    )
    const ended = once(prometheus, 'exit')
    try {
      const query = async (expression: string): Promise<unknown> => {
        const response = await fetch(
          `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`,
        ).catch(() => undefined)
        if (!response?.ok) return undefined
        const { data } = (await response.json()) as { data: { result: { value: [number, string] }[] } }
        return data.result[0]?.value[1]
      }
      await expect.poll(() => query('midflight_config_hash'), { timeout: 20_000 }).toBe(String(0x0123456789ab))
      expect(await query('up{job="m"}')).toBe('1')
      expect(await query('sum(midflight_reloads_total)')).toBe(String(kinds.length))
      expect(await query('count(midflight_reload_duration_seconds_bucket{component="",phase="total"})')).toBe('17')
      expect(await query('scrape_samples_scraped')).toBe(
        String(
          busy()
            .text(now)
            .split('\n')
            .filter((line) => line !== '' && !line.startsWith('#')).length,
        ),
      )
      expect(served[0]).toContain('openmetrics-text')
    } finally {
      prometheus.kill('SIGKILL')
      await ended
      server.closeAllConnections()
      server.close()
      await rm(folder, { recursive: true, force: true })
    }
  },
)
