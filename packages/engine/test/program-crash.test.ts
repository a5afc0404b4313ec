/** F68's other half: the sidecar itself is killed. At its next start old or new is whole, on disk and in the program. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { nginx as preset, program } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, Nginx, serving, textAt, withoutNginx } from './program-rig.ts'

const missing = withoutNginx ?? (existsSync('/usr/bin/strace') ? undefined : 'strace is not installed')
const why = missing ? ` (skipped: ${missing})` : ''
const node = fileURLToPath(new URL('../../../node_modules/.bin/node', import.meta.url))
const once = fileURLToPath(new URL('programs/program-once.ts', import.meta.url))
/** The first kill is of what the check has left running. */
const signalled = 2
const names = ['a', 'b', 'c'] as const

describe.skipIf(missing !== undefined)(`killed in the middle${why}`, () => {
  let server: Nginx | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  const component = () => {
    const files = names.map((name) => ({ path: `sites/${name}.conf`, from: name, as: 'raw' }) as const)
    return program(preset({ directory: server!.directory, pidFile: server!.pidFile, files }))
  }
  const version = (text: string) => Object.fromEntries(names.map((name) => [name, serving(name, text)]))
  const onDisk = () =>
    names.map((name) => {
      const path = join(server!.directory, `sites/${name}.conf`)
      return existsSync(path) ? /"(.*)"/.exec(readFileSync(path, 'utf8'))?.[1] : 'nothing'
    })
  const served = () => Promise.all(names.map(async (name) => textAt(server!.url(`/${name}`))))
  const whole = (text: string) => names.map(() => text)

  /** @returns whether it was killed. */
  function killedAt(call: string, when: number, text: string, probe = 'true'): boolean {
    const { directory, pidFile } = server!
    const inject = [
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      `trace=${call}`,
      '-e',
      `inject=${call}:signal=KILL:when=${when}`,
    ]
    // One thread for the file system, as calls are counted by thread.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' }
    const command = [...inject, node, '--conditions=midflight-source', once, directory, pidFile, text, probe]
    const { stdout, stderr, status, signal } = spawnSync('strace', command, { encoding: 'utf8', env })
    if (status === 0) expect(stdout).toContain('committed')
    else if (stderr.includes('the probe did not say yes')) return false
    // The calls of the check count too: it is then the check that was killed, and the sidecar that tells of it.
    else if (signal !== 'SIGKILL' && status !== 137) expect(stderr).toContain('the check (nginx) was killed by SIGKILL')
    return status !== 0
  }

  const calls = ['rename', 'link', 'unlink', 'fsync', 'kill']
  const more = process.env['MIDFLIGHT_LONG'] ? ['mkdir', 'rmdir', 'symlink', 'fchmod', 'clone3', 'execve'] : []
  test.for([...calls, ...more])(
    'at each %s: at the next start old or new is whole and served, and nothing is left over',
    { timeout: 400_000 },
    async (call) => {
      server = await Nginx.start({})
      let killed = 0
      // execve: the first is strace's own start of it.
      for (let when = call === 'execve' ? 2 : 1; when < 40; when++) {
        const [old, next] = [`old ${when}`, `new ${when}`]
        const first = await engineOf([component()], version(old))
        await first.engine.close()
        expect(await served()).toEqual(whole(old))
        if (!killedAt(call, when, next)) break
        killed++
        const again = component()
        const settled = await again.settle()
        await again.close?.()
        expect(settled.problem, `${call} ${when}`).toBeUndefined()
        expect([whole(old), whole(next)], `${call} ${when}`).toContainEqual(onDisk())
        expect(await served(), `${call} ${when}`).toEqual(onDisk())
        expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites', ...names.map((name) => `sites/${name}.conf`)])
        const last = await engineOf([component()], version(next))
        await last.engine.close()
        expect(await served(), `${call} ${when}`).toEqual(whole(next))
      }
      expect(killed).toBeLessThan(39)
    },
  )

  test.for(process.env['MIDFLIGHT_LONG'] ? ['rename', 'unlink', 'fsync', 'kill'] : ['rename'])(
    'at each %s of a change that fails and goes back: old is whole and served at the next start',
    { timeout: 400_000 },
    async (call) => {
      server = await Nginx.start({})
      const first = await engineOf([component()], version('old'))
      await first.engine.close()
      let killed = 0
      for (let when = 1; when < 60 && killedAt(call, when, `new ${when}`, 'false'); when++) {
        killed++
        const again = component()
        expect((await again.settle()).problem, `${call} ${when}`).toBeUndefined()
        await again.close?.()
        expect(onDisk(), `${call} ${when}`).toEqual(whole('old'))
        expect(await served(), `${call} ${when}`).toEqual(whole('old'))
        expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites', ...names.map((name) => `sites/${name}.conf`)])
      }
      expect(killed).toBeGreaterThan(1)
      expect(killed).toBeLessThan(59)
    },
  )

  test('what is swapped is on disk before its record is, that before the swap, and the swap before the record goes', async () => {
    server = await Nginx.start({})
    const { directory, pidFile } = server
    const first = await engineOf([component()], version('old'))
    await first.engine.close()
    const seen = join(server.run, 'calls')
    const calls = ['-f', '-qq', '-y', '-s', '4096', '-o', seen, '-e', 'trace=fsync,rename,unlink']
    const command = [...calls, node, '--conditions=midflight-source', once, directory, pidFile, 'new']
    expect(spawnSync('strace', command, { encoding: 'utf8' })).toMatchObject({ status: 0 })
    const ended = endedCalls(readFileSync(seen, 'utf8').replaceAll(directory, ''))
    const work = '/.midflight-nginx'
    const record = ended.indexOf(`rename ${work}/swap.json.new ${work}/swap.json`)
    const [swap, ...rest] = names.map((name) => {
      const place = `/sites/${name}.conf`
      expect(ended.slice(0, record)).toContain(`fsync ${work}/new${place}`)
      return ended.indexOf(`rename ${work}/new${place} ${place}`)
    }) as [number, number, number]
    for (const path of ['swap.json.new', 'old']) expect(ended.slice(0, record)).toContain(`fsync ${work}/${path}`)
    expect(ended.slice(record, swap)).toContain(`fsync ${work}`)
    const gone = ended.lastIndexOf(`unlink ${work}/swap.json`)
    expect(ended.slice(rest.at(-1), gone)).toContain('fsync /sites')
  })

  test('a first file that was not there before is gone again', async () => {
    server = await Nginx.start({})
    expect(killedAt('kill', signalled, 'new')).toBe(true)
    expect(onDisk()).toEqual(whole('new'))
    const again = component()
    expect(await again.settle()).toEqual({ restored: names.map((name) => `sites/${name}.conf`) })
    await again.close?.()
    expect(onDisk()).toEqual(whole('nothing'))
    expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites'])
  })

  test('its program does not run at the next start: the files are back, it is told with the next change', async () => {
    server = await Nginx.start(Object.fromEntries(names.map((name) => [`sites/${name}.conf`, serving(name, 'old')])))
    killedAt('kill', signalled, 'new')
    await server.kill()
    rmSync(server.pidFile)
    const first = component()
    expect(await first.settle()).toMatchObject({ problem: expect.stringContaining('does not seem to run') })
    expect(onDisk()).toEqual(whole('old'))
    await first.close?.()
    await server.start()
    // The files are what they should be, and the program is told all the same: nobody knows what it runs.
    const log = server.log.length
    await engineOf([component()], version('old'))
    expect(server.log.slice(log)).toContain('signal 1 (SIGHUP) received')
    expect(leftIn(server.directory)).toEqual(['nginx.conf', 'sites', ...names.map((name) => `sites/${name}.conf`)])
  })
})

/** `fsync PATH`, `rename FROM TO`, in the order in which they ended, of all threads. */
function endedCalls(log: string): string[] {
  const begun = new Map<string, string>()
  return log.split('\n').flatMap((line) => {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const resumed = rest.startsWith('<...')
    const call = /^(\w+)\((.*?)(?:\) += \d| <unfinished)/.exec(rest)
    const paths = [...(call?.[2] ?? '').matchAll(/["<]([^">]*)[">]/g)].map(([, path]) => path)
    const text = resumed ? begun.get(thread) : call ? [call[1], ...paths].join(' ') : undefined
    if (text === undefined) return []
    if (!rest.includes('<unfinished')) return [text]
    begun.set(thread, text)
    return []
  })
}
