/** A real HAProxy beside a real engine: what is served, what is refused, and what comes back. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { haproxy as preset, program } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, textAt } from './program-rig.ts'
import { Haproxy, withoutHaproxy } from './program-servers.ts'

const why = withoutHaproxy ? ` (skipped: ${withoutHaproxy})` : ''

describe.skipIf(withoutHaproxy !== undefined)(`HAProxy${why}`, () => {
  let server: Haproxy | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  async function rig() {
    server = await Haproxy.start()
    const { directory, pidFile, statsSocket } = server
    const files = [{ path: 'haproxy.cfg', from: 'cfg', as: 'raw' }] as const
    const limits = { probeMs: 3_000 }
    return engineOf([program(preset({ directory, pidFile, statsSocket, files, limits }))], { cfg: server.cfg('one') })
  }
  const served = () => textAt(server!.url('/'))

  test('a change is checked, swapped in, and served by a new worker', async () => {
    const { set } = await rig()
    expect(await served()).toBe('one')
    const master = server!.pid
    expect(await set({ cfg: server!.cfg('two') })).toMatchObject({ kind: 'committed' })
    expect([await served(), server!.pid]).toEqual(['two', master])
    expect(leftIn(server!.directory)).toEqual(['haproxy.cfg'])
  })

  test('a file that HAProxy refuses is refused before the swap, with its words; what is live is not touched', async () => {
    const { set } = await rig()
    const outcome = await set({ cfg: server!.cfg('two', '  no-such-keyword\n') })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare', failed: 'haproxy' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('no-such-keyword') })
    expect([server!.live(), await served()]).toEqual([server!.cfg('one'), 'one'])
  })

  test('F67: it was told, but cannot use the files: the old worker still answers, and the old files are back', async () => {
    const { set } = await rig()
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    // The check does not bind, so it cannot see that another has the port.
    const { port } = other.address() as { port: number }
    const outcome = await set({ cfg: server!.cfg('two', `frontend taken\n  bind 127.0.0.1:${port}\n`) })
    other.close()
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit', failed: 'haproxy' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('HAProxy runs on its old configuration') })
    expect([server!.live(), await served()]).toEqual([server!.cfg('one'), 'one'])
    expect(await set({ cfg: server!.cfg('three') })).toMatchObject({ kind: 'committed' })
    expect(await served()).toBe('three')
  })

  test('F68: it is gone when it is told: the old files are back, that nobody knows what runs is said, and the next change mends it', async () => {
    const { set } = await rig()
    await server!.kill()
    expect(await set({ cfg: server!.cfg('two') })).toMatchObject({ kind: 'degraded', failed: 'haproxy' })
    expect(server!.live()).toBe(server!.cfg('one'))
    await server!.start()
    expect(await set({ cfg: server!.cfg('three') })).toMatchObject({ kind: 'committed' })
    expect(await served()).toBe('three')
  }, 60_000)
})
