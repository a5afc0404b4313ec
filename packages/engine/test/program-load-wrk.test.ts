/**
 * Changes of real programs under the load of wrk, beside the same number of bare renames and reloads of the same program:
 * no more requests fail than the program's own reload loses.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { caddy, haproxy, nginx, program, prometheus, type ProgramOptions } from '../src/program/index.ts'
import {
  closeEngines,
  engineOf,
  Nginx,
  Prometheus,
  serving,
  textAt,
  until,
  withoutNginx,
  withoutPrometheus,
} from './program-rig.ts'
import { Caddy, Haproxy, withoutCaddy, withoutHaproxy, withoutWrk } from './program-servers.ts'

const changes = process.env['MIDFLIGHT_LONG'] ? 200 : 12

/** A program that serves, and how it is told by a script. */
interface Served {
  readonly options: ProgramOptions
  /** The main file's text for the n-th change. */
  text(n: number): string
  /** As a script does, after the rename. What was said of it is for the error. */
  tell(): unknown
  /** What is asked by the load. */
  readonly url: string
  isServed(n: number): Promise<boolean>
  /** Its own reload ends connections that are in use: Caddy 2.6, about one at each. */
  readonly losesSome?: true
  close(): Promise<void>
}

const file = (path: string) => [{ path, from: 'text', as: 'raw' }] as const

const programs: Readonly<Record<string, { without: string | undefined; start(): Promise<Served> }>> = {
  nginx: {
    without: withoutNginx,
    async start() {
      const server = await Nginx.start({ 'sites/a.conf': serving('a', '0') })
      const { directory, pidFile } = server
      return {
        options: nginx({ directory, pidFile, files: file('sites/a.conf') }),
        text: (n) => serving('a', String(n)),
        tell: () => void process.kill(server.pid, 'SIGHUP'),
        url: server.url('/a'),
        isServed: async (n) => (await textAt(server.url('/a'))) === String(n),
        close: () => server.close(),
      }
    },
  },
  Prometheus: {
    without: withoutPrometheus,
    async start() {
      const server = await Prometheus.start()
      const { directory, base } = server
      return {
        options: prometheus({ directory, url: base, files: file('prometheus.yml') }),
        text: (n) => `global: { external_labels: { change: "n${n}" } }\n`,
        tell: () => void spawnSync('curl', ['-sf', '-X', 'POST', `${base}/-/reload`]),
        url: `${base}/-/ready`,
        isServed: async (n) => (await textAt(`${base}/api/v1/status/config`))?.includes(`change: n${n}\\n`) ?? false,
        close: () => server.close(),
      }
    },
  },
  HAProxy: {
    without: withoutHaproxy,
    async start() {
      const server = await Haproxy.start()
      const { directory, pidFile, statsSocket } = server
      return {
        options: haproxy({ directory, pidFile, statsSocket, files: file('haproxy.cfg') }),
        text: (n) => server.cfg(String(n)),
        tell: () => void process.kill(server.pid, 'SIGUSR2'),
        url: server.url('/'),
        isServed: async (n) => (await textAt(server.url('/'))) === String(n),
        close: () => server.close(),
      }
    },
  },
  Caddy: {
    without: withoutCaddy,
    async start() {
      const server = await Caddy.start()
      const { directory, admin } = server
      const reload = [
        'reload',
        '--force',
        '--address',
        admin,
        '--config',
        join(directory, 'Caddyfile'),
        '--adapter',
        'caddyfile',
      ]
      return {
        options: caddy({ directory, admin, files: file('Caddyfile') }),
        // A number would be taken for a status.
        text: (n) => server.caddyfile(`change ${n}`),
        tell: () => spawnSync('caddy', reload, { encoding: 'utf8' }).stderr,
        url: server.url('/'),
        losesSome: true,
        isServed: async (n) => (await textAt(server.url('/'))) === `change ${n}`,
        close: () => server.close(),
      }
    },
  },
}

/** A signal that comes too soon after the reload before is lost to some. */
async function toldUntil(tell: () => unknown, holds: () => Promise<boolean>): Promise<void> {
  let said: unknown
  for (let tried = 0; tried < 10; tried++) {
    said = tell()
    if (
      await until('it is served', holds, 2_000).then(
        () => true,
        () => false,
      )
    )
      return
  }
  throw new Error(`told ten times, and it is not served: ${String(said)}`)
}

interface Counted {
  readonly requests: number
  readonly failed: number
}

/** Ends those that a failed test has left. */
const loads: (() => void)[] = []

/** Each request by a connection of its own, until it is stopped. */
function load(url: string): () => Promise<Counted> {
  const child = spawn('wrk', ['-t1', '-c4', '-d1h', '--timeout', '5s', '-H', 'Connection: close', url])
  loads.push(() => void child.kill())
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += String(chunk)))
  return async () => {
    child.kill('SIGINT')
    await once(child, 'close')
    const sum = (pattern: RegExp) =>
      (pattern.exec(said)?.slice(1) ?? []).reduce((total, count) => total + Number(count), 0)
    const errors = sum(/Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/)
    return { requests: sum(/(\d+) requests in/), failed: errors + sum(/Non-2xx or 3xx responses: (\d+)/) }
  }
}

for (const [name, { without, start }] of Object.entries(programs)) {
  const missing = without ?? withoutWrk
  const why = missing ? ` (skipped: ${missing})` : ''
  describe.skipIf(missing !== undefined)(`${name} under load${why}`, () => {
    let served: Served | undefined
    afterEach(async () => {
      for (const end of loads.splice(0)) end()
      await closeEngines()
      await served?.close()
      served = undefined
    })

    test(
      `${changes} changes: each is served, and no more requests fail than in as many bare reloads`,
      { timeout: 600_000 },
      async () => {
        served = await start()
        const { options, text, tell, url, isServed, losesSome = false } = served
        const place = join(options.directory, options.files[0]!.path)
        const stopBare = load(url)
        const bareBegan = performance.now()
        for (let i = 1; i <= changes; i++) {
          writeFileSync(`${place}.new`, text(i))
          renameSync(`${place}.new`, place)
          await toldUntil(tell, () => isServed(i))
        }
        const bareMs = (performance.now() - bareBegan) / changes
        const bare = await stopBare()

        const rig = await engineOf([program(options)], { text: text(changes) })
        const stop = load(url)
        const began = performance.now()
        for (let i = changes + 1; i <= 2 * changes; i++) {
          expect(await rig.set({ text: text(i) }), `change ${i}`).toMatchObject({ kind: 'committed' })
          expect(await isServed(i), `change ${i} is served`).toBe(true)
        }
        const ms = (performance.now() - began) / changes
        const ours = await stop()
        if (process.env['MIDFLIGHT_LONG']) console.log(name, { changes, bare, bareMs, ours, ms })
        expect(ours.requests).toBeGreaterThan(changes)
        // What a program loses at its reloads is chance, and so is which of both is ahead.
        const itself = losesSome ? 2 * bare.failed + changes : bare.failed
        expect(ours.failed).toBeLessThanOrEqual(itself)
      },
    )
  })
}
