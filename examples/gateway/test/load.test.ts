/** A thousand reloads under load: not one request fails. Prints what the reloads cost the requests. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { quantile, report } from '../../../bench/report.ts'
import type { Shots } from './load/cannon.ts'
import { config, running } from './running.ts'

const reloads = 1000
const connections = 5
const calmMs = 2000

function child(script: string, ...args: string[]): ChildProcess {
  const path = join(import.meta.dirname, 'load', script)
  const started = fork(path, args, { execArgv: ['--conditions=midflight-source'] })
  onTestFinished(() => void started.kill())
  return started
}

async function told<T>(process: ChildProcess): Promise<T> {
  const [message] = (await once(process, 'message')) as [T]
  return message
}

async function fired(url: string, meanwhile: () => Promise<unknown>): Promise<Shots> {
  const cannon = child('cannon.ts', url, String(connections))
  await once(cannon, 'spawn')
  await meanwhile()
  cannon.send('stop')
  return told<Shots>(cannon)
}

test(`${reloads} reloads under load: every one commits, and not one request fails`, { timeout: 120_000 }, async () => {
  const [first, second] = await told<[string, string]>(child('upstream.ts'))
  const given = config(first)
  const big = 1_000_000_000
  given.log.level = 'warn'
  given.rules = Array.from({ length: 200 }, (_, i) => ({
    id: `rule-${i}`,
    resource: i === 0 ? 'api:GET:/api/users' : `api:GET:/api/users/${i}`,
    limit: big,
    per: 'second',
  }))
  const { edit, engine, address } = await running(given)
  let commits = 0
  engine.events.subscribe((event) => {
    if (event.kind === 'reload' && event.outcome.kind === 'committed') commits++
  })

  /** Each changes something else, and one in ten the very upstream, rule or log that the requests go through. */
  const change = (i: number) => {
    given.rules[0]!.limit = big + i
    const [url, other] = i % 2 === 0 ? [first, second] : [second, first]
    switch (i % 10) {
      case 1:
        return void (given.upstreams[`spare-${i}`] = { url: other })
      case 2:
        return void given.routes.push({ path: `/spare/${i}`, upstream: `spare-${i - 1}` })
      case 3:
        return void given.routes.pop()
      case 4:
        return void delete given.upstreams[`spare-${i - 3}`]
      case 5:
        return void (given.log.level = given.log.level === 'warn' ? 'error' : 'warn')
      case 6:
        return void (given.upstreams['users'] = { url })
      case 7:
        return void (given.upstreams['users'] = { url: other, timeoutMs: 20_000 + i })
      case 8:
        return void given.rules.push({ id: `more-${i}`, resource: 'service:users', limit: big, per: 'hour' })
      case 9:
        return void given.rules.pop()
      default:
        return void (given.log.format = given.log.format === 'json' ? 'text' : 'json')
    }
  }

  const url = `${address}/api/users`
  await fired(url, () => sleep(calmMs)) // until everything is compiled
  const before = await fired(url, () => sleep(calmMs))
  const tookMs: number[] = []
  const reloading = await fired(url, async () => {
    await sleep(500)
    for (let i = 1; i <= reloads; i++) {
      change(i)
      const began = performance.now()
      const outcome = await edit(given)
      tookMs.push(performance.now() - began)
      expect(outcome.kind).toBe('committed')
      expect(engine.live.rules[0]?.limit).toBe(big + i)
    }
  })

  const after = await fired(url, () => sleep(calmMs))

  const row = (name: string, { requests, perSecond, p50Ms, p99Ms, maxMs, failed }: Shots) => ({
    '': name,
    requests,
    'requests/s': perSecond,
    'p50 ms': p50Ms,
    'p99 ms': p99Ms,
    'max ms': maxMs,
    failed,
  })
  report(`${reloads} reloads under load, ${connections} connections`, [
    row('without reloads, before', before),
    row('with reloads', reloading),
    row('without reloads, after', after),
  ])
  const [p50, p99] = [quantile(tookMs, 0.5), quantile(tookMs, 0.99)].map((ms) => ms.toFixed(1))
  console.log(`a reload, from the write to its outcome: p50 ${p50} ms, p99 ${p99} ms`)

  expect(commits).toBe(reloads)
  expect([before, reloading, after].map(({ failed }) => failed)).toEqual([0, 0, 0])
  expect(reloading.requests).toBeGreaterThan(reloads)
})
