/** Changes while nginx serves: every answer is the old or the new text, and requests fail no more than in bare reloads. */
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { nginx as preset, program } from '../src/program/index.ts'
import { closeEngines, engineOf, leftIn, Nginx, serving, textAt, until, withoutNginx } from './program-rig.ts'

const why = withoutNginx ? ` (skipped: ${withoutNginx})` : ''
const changes = process.env['MIDFLIGHT_LONG'] ? 200 : 25

describe.skipIf(withoutNginx !== undefined)(`under load${why}`, () => {
  let server: Nginx | undefined
  afterEach(async () => {
    await closeEngines()
    await server?.close()
    server = undefined
  })

  /** Asks for `/a` and `/b`, each time by a connection of its own, until `stop`. */
  function load(stop: AbortSignal) {
    const seen = { answers: 0, failed: [] as string[], texts: new Set<string>() }
    const asking = Array.from({ length: 4 }, async (_, i) => {
      while (!stop.aborted) {
        try {
          const asked = request(server!.url(i % 2 ? '/a' : '/b'), { agent: false })
          asked.end()
          const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream & { statusCode: number }]
          let text = ''
          for await (const part of response) text += String(part)
          seen.answers++
          if (response.statusCode !== 200) seen.failed.push(String(response.statusCode))
          seen.texts.add(text)
        } catch (error) {
          seen.failed.push(String((error as NodeJS.ErrnoException).code))
        }
      }
    })
    return { seen, ended: Promise.all(asking) }
  }

  test(`${changes} changes: none fails, nothing is left over, no request fails beyond what bare reloads lose`, async () => {
    server = await Nginx.start({ 'sites/a.conf': serving('a', '0'), 'sites/b.conf': serving('b', '0') })
    const { directory, pidFile } = server
    const bare = new AbortController()
    const beside = load(bare.signal)
    for (let i = 1; i <= changes; i++) {
      for (const name of ['a', 'b']) writeFileSync(join(directory, `sites/${name}.conf`), serving(name, `bare ${i}`))
      process.kill(server.pid, 'SIGHUP')
      await until('it is served', async () => (await textAt(server!.url('/a'))) === `bare ${i}`)
    }
    bare.abort()
    await beside.ended

    const files = ['a', 'b'].map((name) => ({ path: `sites/${name}.conf`, from: name, as: 'raw' }) as const)
    const config = (text: string) => ({ a: serving('a', text), b: serving('b', text) })
    const rig = await engineOf([program(preset({ directory, pidFile, files }))], config('0'))
    const stop = new AbortController()
    const { seen, ended } = load(stop.signal)
    for (let i = 1; i <= changes; i++) {
      expect(await rig.set(config(String(i))), `change ${i}`).toMatchObject({ kind: 'committed' })
      expect(await textAt(server.url('/a'))).toBe(String(i))
    }
    stop.abort()
    await ended
    expect(seen.answers).toBeGreaterThan(changes)
    expect(seen.failed.length).toBeLessThanOrEqual(beside.seen.failed.length)
    const known = new Set(Array.from({ length: changes + 1 }, (_, i) => String(i)))
    expect([...seen.texts].filter((text) => !known.has(text) && !text.startsWith('bare'))).toEqual([])
    expect(readFileSync(join(directory, 'sites/b.conf'), 'utf8')).toBe(serving('b', String(changes)))
    expect(leftIn(directory)).toEqual(['nginx.conf', 'sites', 'sites/a.conf', 'sites/b.conf'])
  })

  test('fifty requests for a reload at once cost nginx two reloads at most', async () => {
    server = await Nginx.start({ 'sites/a.conf': serving('a', '0') })
    const { directory, pidFile } = server
    const files = [{ path: 'sites/a.conf', from: 'a', as: 'raw' }] as const
    const rig = await engineOf([program(preset({ directory, pidFile, files }))], { a: serving('a', '1') })
    const before = server.log.split('SIGHUP').length
    await Promise.all(Array.from({ length: 50 }, (_, i) => rig.set({ a: serving('a', `${i + 2}`) })))
    expect(server.log.split('SIGHUP').length - before).toBeLessThanOrEqual(2)
    expect(await textAt(server.url('/a'))).toBe('51')
  })
})
