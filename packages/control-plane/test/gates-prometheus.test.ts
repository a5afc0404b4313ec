/** The PromQL gate on a real Prometheus, which scrapes a real target of this test. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ended } from '../../../test/rig/ended.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import type { Gate, GateResult } from '../src/gates/gate.ts'
import { gateSources } from '../src/gates/sources.ts'

const there = spawnSync('prometheus', ['--version']).status === 0
const skipped = there ? '' : ' (skipped: no prometheus here; it is a Debian package)'
const never = new AbortController().signal
const context = { config: 'shop/"}or vector(0)#\\$1', release: 41, step: 1, nodes: ['n.1'] }

describe.skipIf(!there)(`a real Prometheus${skipped}`, () => {
  let folder = ''
  let target: Server
  let scrapes = 0
  let requests = 0
  let errors = 0
  let failing = false
  let prometheus: ChildProcess
  let url = ''

  beforeAll(async () => {
    target = createServer((_, response) => {
      scrapes++
      requests += 100
      if (failing) errors += 31
      const labels = `config="${context.config.replace(/["\\]/g, '\\$&')}",release="41"`
      response.setHeader('content-type', 'text/plain; version=0.0.4')
      response.end(
        `shop_requests_total{${labels},node="n.1"} ${requests}\nshop_errors_total{${labels},node="n.1"} ${errors}\n` +
          // Another node of nearly the same name, which is ill all the time.
          `shop_requests_total{${labels},node="nx1"} ${requests}\nshop_errors_total{${labels},node="nx1"} ${requests}\n`,
      )
    }).listen(0, '127.0.0.1')
    await once(target, 'listening')
    folder = mkdtempSync(join(tmpdir(), 'midflight-prometheus-'))
    const file = join(folder, 'prometheus.yml')
    writeFileSync(
      file,
      `scrape_configs:\n- job_name: shop\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n` +
        `  - targets: ['127.0.0.1:${(target.address() as AddressInfo).port}']\n`,
    )
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    const data = join(folder, 'data')
    prometheus = spawn(
      'prometheus',
      [`--config.file=${file}`, `--storage.tsdb.path=${data}`, `--web.listen-address=127.0.0.1:${port}`],
      { stdio: 'ignore' },
    )
    await vi.waitFor(
      async () => {
        if (!(await fetch(`${url}/-/ready`)).ok) throw new Error('Prometheus is not ready')
      },
      { timeout: 50_000, interval: 100 },
    )
  })

  afterAll(async () => {
    await ended(prometheus)
    target.closeAllConnections()
    target.close()
    rmSync(folder, { recursive: true })
  })

  const gate = (query: string, want: string, timeoutMs = 20_000): Gate =>
    gateSources({ prometheus: { url, timeoutMs } }).gate({ kind: 'promql', name: 'error_ratio', query, want })
  const check = (query: string, want = '< 0.05'): Promise<GateResult> => gate(query, want).check(context, never)
  /** The last but one of them is in the database when the last begins. */
  const moreScrapes = async (count: number): Promise<void> => {
    const wanted = scrapes + count
    await expect.poll(() => scrapes, { timeout: 20_000 }).toBeGreaterThanOrEqual(wanted)
  }
  const own = '{config=$config,release=$release,node=~$nodes}'
  const ratio = `sum(rate(shop_errors_total${own}[20s])) / sum(rate(shop_requests_total${own}[20s]))`

  test('passes while the nodes of the step are healthy', async () => {
    await moreScrapes(4)
    expect(await check(ratio)).toEqual({ ok: true, found: 'error_ratio = 0; want < 0.05' })
  })

  test('a node of a similar name does not count, as $nodes are names and not patterns', async () => {
    expect(await check('count(shop_requests_total{node=~$nodes})', '== 1')).toMatchObject({ ok: true })
    expect(await check('count(shop_requests_total)', '== 1')).toEqual({
      ok: false,
      found: 'error_ratio = 2; want == 1',
    })
  })

  test('fails three scrapes after the errors began, and says the value', async () => {
    failing = true
    await moreScrapes(4)
    const { ok, found } = await check(ratio, '<= 0')
    expect(ok).toBe(false)
    expect(found).toMatch(/^error_ratio = 0\.\d+; want <= 0$/)
  })

  test.each<[query: string, why: RegExp]>([
    ['shop_nothing_of_the_kind', /: no data;/],
    ['shop_errors_total < 0', /: no data;/],
    ['vector(0) / vector(0)', / = NaN;/],
    ['scalar(shop_requests_total)', / = NaN;/],
    ['-vector(1) / vector(0)', / = -Infinity;/],
    ['shop_errors_total[1m]', /is a matrix/],
    ['"0"', /is a string/],
    ['sum(', /answers 400: .*parse error/],
  ])('I12: %s is no data, which is a failure', async (query, why) => {
    expect(await check(query)).toEqual({ ok: false, noData: true, found: expect.stringMatching(why) })
  })

  test('a series that violates the bound is named by its labels', async () => {
    const labels = /^error_ratio\{config="shop\/\\"}or vector\(0\)#.*\} = \d+; want < 0.05 \(2 of 2 series\)$/
    expect(await check('shop_requests_total')).toEqual({ ok: false, found: expect.stringMatching(labels) })
  })

  test('I12: a target that is gone is no data, not the last that was known', async () => {
    expect(await check('shop_requests_total{node=~$nodes}', '>= 0')).toMatchObject({ ok: true })
    target.closeAllConnections()
    target.close()
    await expect
      .poll(() => check('shop_requests_total{node=~$nodes}', '>= 0'), { timeout: 20_000 })
      .toEqual({ ok: false, noData: true, found: 'error_ratio: no data; want >= 0' })
  })

  test('F61: a Prometheus that hangs, and one that is dead, is a failure', async () => {
    prometheus.kill('SIGSTOP')
    // Its threads stop one by one.
    await expect
      .poll(() => gate('vector(0)', '== 0', 300).check(context, never), { timeout: 20_000 })
      .toEqual({ ok: false, noData: true, found: 'error_ratio: no answer within 300 ms' })
    prometheus.kill('SIGCONT')
    expect(await check('vector(0)', '== 0')).toEqual({ ok: true, found: 'error_ratio = 0; want == 0' })
    prometheus.kill('SIGKILL')
    await once(prometheus, 'exit')
    expect(await check('vector(0)', '== 0')).toEqual({
      ok: false,
      noData: true,
      found: 'error_ratio: cannot be asked: ECONNREFUSED',
    })
  })
})
