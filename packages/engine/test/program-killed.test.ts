/** F68: the program is killed in the middle of its reload. It ends on the last good, or what it runs is reported. */
import { createServer } from 'node:net'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { nginx as preset, program, type ProgramLimits } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, Nginx, serving, textAt, until, withoutNginx } from './program-rig.ts'

const why = withoutNginx ? ` (skipped: ${withoutNginx})` : ''

describe.skipIf(withoutNginx !== undefined)(`F68: killed in the middle of its reload${why}`, () => {
  let server: Nginx | undefined
  let supervising = false
  let supervisor = Promise.resolve()
  afterEach(async () => {
    supervising = false
    await supervisor
    await closeEngines()
    await server?.close()
    server = undefined
  })

  /** It gets the SIGHUP, and right after that, with all its workers, a SIGKILL, while `armed` is there. */
  function sidecar(limits: Partial<ProgramLimits>) {
    const { directory, pidFile, run } = server!
    const files = [
      { path: 'sites/a.conf', from: 'site', as: 'raw' },
      { path: 'servers/b.conf', from: 'servers', as: 'raw' },
    ] as const
    // Stopped first: a master that goes on would start workers that are not in the list.
    const kill = 'kill -STOP $p; kill -KILL $(pgrep -P $p) $p'
    const script = `p=$(cat "$0"); kill -HUP $p; rm "$1" 2>/dev/null && { ${kill}; }; exit 0`
    const command = ['/bin/sh', '-c', script, pidFile, join(run, 'armed')] as const
    return program({ ...preset({ directory, pidFile, files }), reload: { command }, limits })
  }
  const arm = () => writeFileSync(join(server!.run, 'armed'), '')
  const live = () => readFileSync(join(server!.directory, 'sites/a.conf'), 'utf8')

  /** Starts it again whenever it has ended, as systemd or a kubelet does. */
  function supervise() {
    supervising = true
    supervisor = (async () => {
      while (supervising) {
        if (server!.hasEnded) await server!.start().catch(() => {}) // it does not start with these files
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()
  }

  test('nobody starts it again: the old files are back, and that nobody knows what runs is reported', async () => {
    server = await Nginx.start({ 'servers/b.conf': '' })
    const rig = await engineOf([sidecar({ probeMs: 700, reloadMs: 700 })], { site: serving('a', 'one'), servers: '' })
    arm()
    const outcome = await rig.set({ site: serving('a', 'two'), servers: '' })
    expect(outcome).toMatchObject({ kind: 'degraded', failed: 'nginx', components: [{ runs: 'unknown' }] })
    expect(outcome).toMatchObject({
      cause: expect.stringContaining('the old files are back, but the program did not take them'),
    })
    expect(live()).toBe(serving('a', 'one'))
    await server.start()
    expect(await textAt(server.url('/a'))).toBe('one')
    // The same again is no "unchanged": what it runs was not known, so it is told.
    const log = server.log.length
    expect(await rig.set({ site: serving('a', 'one'), servers: '' })).toMatchObject({ kind: 'committed' })
    expect(server.log.slice(log)).toContain('SIGHUP')
    expect(rig.engine.status().components[0]).toMatchObject({ runs: 'live' })
    expect(leftIn(server.directory)).toEqual(['nginx.conf', 'servers', 'servers/b.conf', 'sites', 'sites/a.conf'])
  })

  test('started again by its supervisor, it runs on the new files, and that is what is reported', async () => {
    server = await Nginx.start({ 'servers/b.conf': '' })
    const rig = await engineOf([sidecar({})], { site: serving('a', 'one'), servers: '' })
    supervise()
    arm()
    expect(await rig.set({ site: serving('a', 'two'), servers: '' })).toMatchObject({ kind: 'committed' })
    expect(await textAt(server.url('/a'))).toBe('two')
  })

  test('it cannot start with the new files: it ends on the last good, started with the old ones', async () => {
    server = await Nginx.start({ 'servers/b.conf': '' })
    const rig = await engineOf([sidecar({ probeMs: 2_000 })], { site: serving('a', 'one'), servers: '' })
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    supervise()
    arm()
    const outcome = await rig.set({ site: serving('a', 'two'), servers: `server { listen 127.0.0.1:${port}; }` })
    other.close()
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
    expect(live()).toBe(serving('a', 'one'))
    await until('it runs again', async () => (await textAt(server!.url('/a'))) === 'one')
  })
})
