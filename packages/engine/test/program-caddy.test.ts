/** A real Caddy beside a real engine: what is served, what is refused, and what comes back. */
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { caddy as preset, program } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, textAt } from './program-rig.ts'
import { Caddy, withoutCaddy } from './program-servers.ts'

const why = withoutCaddy ? ` (skipped: ${withoutCaddy})` : ''

describe.skipIf(withoutCaddy !== undefined)(`Caddy${why}`, () => {
  let server: Caddy | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  async function rig() {
    server = await Caddy.start()
    const { directory, admin } = server
    const files = [{ path: 'Caddyfile', from: 'file', as: 'raw' }] as const
    const limits = { probeMs: 1_500, reloadMs: 2_000 }
    return engineOf([program(preset({ directory, admin, files, limits }))], { file: server.caddyfile('one') })
  }
  const served = () => textAt(server!.url('/'))

  test('a change is checked, swapped in, and served by the same process', async () => {
    const { set } = await rig()
    const { pid } = server!
    expect(await served()).toBe('one')
    expect(await set({ file: server!.caddyfile('two') })).toMatchObject({ kind: 'committed' })
    expect([await served(), server!.pid]).toEqual(['two', pid])
    expect(leftIn(server!.directory)).toEqual(['Caddyfile'])
  })

  test('a file that Caddy refuses is refused before the swap, with its words; what is live is not touched', async () => {
    const { set } = await rig()
    const outcome = await set({ file: server!.caddyfile('two', 'http://other {\n  no_such_directive\n}\n') })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare', failed: 'caddy' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('no_such_directive') })
    expect([server!.live(), await served()]).toEqual([server!.caddyfile('one'), 'one'])
  })

  test('a file that passes the check and cannot be used: why is told, the old is back and loaded again', async () => {
    const { set } = await rig()
    // What listens without SO_REUSEPORT cannot be shared.
    const other = createServer().listen(server!.port, '127.0.0.2')
    await once(other, 'listening')
    // An address of the same server, and one that sorts first: what Caddy has begun to listen on before it fails, it goes
    // on serving (its issue 7175), and the order of its servers is another each time.
    const file = server!.caddyfile('two').replace('bind ', 'bind 127.0.0.2 ')
    const outcome = await set({ file })
    other.close()
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit', failed: 'caddy' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('address already in use') })
    expect([server!.live(), await served()]).toEqual([server!.caddyfile('one'), 'one'])
    expect(await set({ file: server!.caddyfile('three') })).toMatchObject({ kind: 'committed' })
    expect(await served()).toBe('three')
  })

  test('what it imports by a relative path is checked as it is going to be, and served', async () => {
    server = await Caddy.start()
    const { directory, admin, port } = server
    mkdirSync(join(directory, 'sites'))
    writeFileSync(join(directory, 'sites/a.caddy'), 'respond "old"\n')
    const main = server.caddyfile('').replace(/respond ""/, 'import sites/*.caddy')
    writeFileSync(join(directory, 'Caddyfile'), main)
    const files = [{ path: 'sites/a.caddy', from: 'site', as: 'raw' }] as const
    const { set } = await engineOf([program(preset({ directory, admin, files }))], { site: 'respond "one"\n' })
    expect(await textAt(`http://127.0.0.1:${port}/`)).toBe('one')
    expect(await set({ site: 'respnd "two"\n' })).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
    expect(await set({ site: 'respond "two"\n' })).toMatchObject({ kind: 'committed' })
    expect(await textAt(`http://127.0.0.1:${port}/`)).toBe('two')
  })

  test('JSON is given to the admin API by ourselves: served, refused with its words, and the old loaded again', async () => {
    server = await Caddy.start()
    const { directory, admin, port } = server
    const config = (text: string, ...first: string[]) => {
      const routes = [{ handle: [{ handler: 'static_response', body: text }] }]
      // In this order: what Caddy has begun to listen on before it fails, it goes on serving (its issue 7175).
      const listen = [...first, `127.0.0.1:${port}`]
      const main = { listen, automatic_https: { disable: true }, routes }
      return { caddy: { admin: { listen: admin }, apps: { http: { servers: { main } } } } }
    }
    const files = [{ path: 'caddy.json', from: 'caddy', as: 'json' }] as const
    const options = preset({ directory, admin, main: 'caddy.json', files })
    expect(options.reload).toMatchObject({ http: { file: 'caddy.json' } })
    const { set } = await engineOf([program(options)], config('one'))
    expect(await served()).toBe('one')
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const outcome = await set(config('two', `127.0.0.1:${(other.address() as { port: number }).port}`))
    other.close()
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('address already in use') })
    expect(await served()).toBe('one')
    expect(await set(config('three'))).toMatchObject({ kind: 'committed' })
    expect(await served()).toBe('three')
  })

  test('F68: it is gone when it is told: the old files are back, that nobody knows what runs is said, and the next change mends it', async () => {
    const { set } = await rig()
    await server!.kill()
    expect(await set({ file: server!.caddyfile('two') })).toMatchObject({ kind: 'degraded', failed: 'caddy' })
    expect(server!.live()).toBe(server!.caddyfile('one'))
    await server!.start()
    expect(await set({ file: server!.caddyfile('three') })).toMatchObject({ kind: 'committed' })
    expect(await served()).toBe('three')
  }, 60_000)
})
