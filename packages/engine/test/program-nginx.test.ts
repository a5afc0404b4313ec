/** A real nginx beside a real engine: what is served, what is refused, and what comes back. */
import { connect, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { nginx as nginxPreset, program, type NginxOptions } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, Nginx, serving, textAt, until, withoutNginx } from './program-rig.ts'

const why = withoutNginx ? ` (skipped: ${withoutNginx})` : ''

describe.skipIf(withoutNginx !== undefined)(`nginx${why}`, () => {
  let server: Nginx | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  function sidecar(more: Partial<NginxOptions> = {}) {
    const { directory, pidFile } = server!
    return program(
      nginxPreset({ directory, pidFile, files: [{ path: 'sites/a.conf', from: 'site', as: 'raw' }], ...more }),
    )
  }
  const live = () => readFileSync(join(server!.directory, 'sites/a.conf'), 'utf8')

  test('a change is checked, swapped in, and served by new workers', async () => {
    server = await Nginx.start()
    const rig = await engineOf([sidecar()], { site: serving('a', 'one') })
    expect(await textAt(server.url('/a'))).toBe('one')
    const before = server.workers()
    expect(await rig.set({ site: serving('a', 'two') })).toMatchObject({ kind: 'committed' })
    expect(await textAt(server.url('/a'))).toBe('two')
    expect(server.workers().filter((pid) => before.includes(pid))).toEqual([])
    expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites', 'sites/a.conf'])
  })

  test('a file that nginx refuses is refused before the swap; what is live is not touched', async () => {
    server = await Nginx.start()
    const rig = await engineOf([sidecar()], { site: serving('a', 'one') })
    const before = server.workers()
    const outcome = await rig.set({ site: 'locaton = /a {}\n' })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare', failed: 'nginx' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('unknown directive "locaton"') })
    expect(live()).toBe(serving('a', 'one'))
    expect(server.workers()).toEqual(before)
  })

  test('what is there already is left alone, and nginx is not told', async () => {
    server = await Nginx.start({ 'sites/a.conf': serving('a', 'one') })
    const before = statSync(join(server.directory, 'sites/a.conf'))
    const workers = server.workers()
    const rig = await engineOf([sidecar()], { site: serving('a', 'one'), other: 1 })
    expect(await rig.set({ site: serving('a', 'one'), other: 2 })).toMatchObject({ kind: 'committed' })
    expect(statSync(join(server.directory, 'sites/a.conf'))).toMatchObject({ ino: before.ino, ctimeMs: before.ctimeMs })
    expect(server.workers()).toEqual(workers)
  })

  test('F67: nginx took the HUP but old workers remain: reported, and the old files are back', async () => {
    server = await Nginx.start()
    const files = [
      { path: 'sites/a.conf', from: 'site', as: 'raw' },
      { path: 'servers/b.conf', from: 'servers', as: 'raw' },
    ] as const
    mkdirSync(join(server.directory, 'servers'))
    const component = sidecar({ files, limits: { probeMs: 1_500 } })
    const rig = await engineOf([component], { site: serving('a', 'one'), servers: '' })
    // `nginx -t` does not bind, so it cannot see that another has the port.
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const outcome = await rig.set({ site: serving('a', 'two'), servers: `server { listen 127.0.0.1:${port}; }\n` })
    other.close()
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit', failed: 'nginx' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('2 of its workers are from before the reload') })
    expect(server.log).toContain('bind()')
    expect(live()).toBe(serving('a', 'one'))
    expect(await textAt(server.url('/a'))).toBe('one')
    expect(await rig.set({ site: serving('a', 'three'), servers: '' })).toMatchObject({ kind: 'committed' })
    expect(await textAt(server.url('/a'))).toBe('three')
  })

  test('stopped when it is told: the old files are back and that is reported; once it goes on it takes the next change', async () => {
    server = await Nginx.start()
    const component = sidecar({ limits: { reloadMs: 500, probeMs: 500 } })
    const rig = await engineOf([component], { site: serving('a', 'one') })
    process.kill(server.pid, 'SIGSTOP')
    const outcome = await rig.set({ site: serving('a', 'two') })
    process.kill(server.pid, 'SIGCONT')
    expect(outcome).toMatchObject({ kind: 'degraded', failed: 'nginx', components: [{ runs: 'unknown' }] })
    expect(live()).toBe(serving('a', 'one'))
    expect(await rig.set({ site: serving('a', 'three') })).toMatchObject({ kind: 'committed' })
    expect(await textAt(server.url('/a'))).toBe('three')
    expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites', 'sites/a.conf'])
  })

  test('old workers that shut down while their connections last do not hinder a change, up to a limit', async () => {
    server = await Nginx.start()
    const rig = await engineOf([sidecar({ maxDraining: 1 })], { site: serving('a', 'one') })
    const held: Socket[] = []
    const hold = async () => {
      const socket = connect(server!.port, '127.0.0.1').on('error', () => {})
      held.push(socket)
      await once(socket, 'connect')
      // In the middle of a request: whoever has it waits for the rest.
      socket.write('GET /a HTTP/1.1\r\nHost:')
      await textAt(server!.url('/a'))
    }
    for (const [i, text] of ['two', 'three'].entries()) {
      await hold()
      expect(await rig.set({ site: serving('a', text) }), String(i)).toMatchObject({ kind: 'committed' })
      expect(await textAt(server.url('/a'))).toBe(text)
    }
    const outcome = await rig.set({ site: serving('a', 'four') })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('2 old workers of nginx are still shutting down') })
    expect(live()).toBe(serving('a', 'three'))
    for (const socket of held) socket.destroy()
    await until('they are gone', () => server!.workers().length === 2)
    expect(await rig.set({ site: serving('a', 'four') })).toMatchObject({ kind: 'committed' })
  })
})
