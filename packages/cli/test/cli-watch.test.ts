/** watch and events --follow: reloads as they happen, across restarts of the process, until Ctrl-C. */
import { expect, test } from 'vitest'
import { freePort } from '../../../test/rig/free-ports.ts'
import { finished, folder, gateway, good, lines, midflight, spawned } from './rig.ts'

test('watch prints a line per reload with its components and changes, and Ctrl-C ends it with 130', async () => {
  const { url, write } = await gateway(await folder(), good)
  const child = spawned(['watch', '--url', url])
  const done = finished(child)
  const seen = lines(child)
  await seen.until((line) => line.startsWith('watching http://127.0.0.1:'))
  await write(good.replace('limit: 200', 'limit: 500'))
  await midflight(['reload', '--url', url])
  await write(good.replace('info', 'loud'))
  await midflight(['reload', '--url', url])
  const all = await seen.until((line) => line.includes('log.level is "loud"'))
  const text = all.join('\n')
  expect(text).toMatch(
    /#\d+ {2}✔ committed: 1 change in 1 component \(run \d+, .*, http\)\n {4}rules hot 1 changed\n {6}~ rules\.r2\.limit {2}200 → 500\n/,
  )
  expect(text).toMatch(/✖ rejected in validate/)
  child.kill('SIGINT')
  expect((await done).code).toBe(130)
})

test('what a check said in several lines is shown in several lines: by watch, reload and status; events cut it to one', async () => {
  const { url, write } = await gateway(await folder(), good)
  const child = spawned(['watch', '--url', url])
  const done = finished(child)
  const seen = lines(child)
  await seen.until((line) => line.startsWith('watching http://127.0.0.1:'))
  await write(good.replace('db.internal', 'lost'))
  const said = ['the check ended with 1:', '  SUCCESS: a', '  FAILED:', '  no host lost']
  const reload = await midflight(['reload', '--url', url])
  expect(reload.out).toMatch(/^✖ rolled back, .*: db failed in prepare: the check ended with 1: … \(run/)
  const status = await midflight(['status', '--url', url])
  const watched = (await seen.until((line) => line.includes('~ db.host'))).join('\n')
  for (const text of [reload.out, status.out, watched]) {
    for (const line of said) expect(text).toMatch(new RegExp(`^ {4,}${line}$`, 'm'))
    expect(text).not.toContain('\\n')
  }
  const events = await midflight(['events', '--url', url])
  expect(events.out.trimEnd().split('\n').at(-1)).toMatch(/ ✖ rolled back, the old configuration is live everywhere/)
  child.kill('SIGINT')
  expect((await done).code).toBe(130)
})

test('watch comes back when the process is restarted, although its events count from 1 again', async () => {
  const cwd = await folder()
  const first = await gateway(cwd, good, { port: await freePort() })
  const child = spawned(['watch', '--url', first.url, '--json'])
  const done = finished(child)
  const seen = lines(child)
  // The stream is open once an event has come through it.
  const opened = seen.until((line) => line.includes('"reload"'))
  let isOpen = false
  void opened.then(() => (isOpen = true))
  while (!isOpen) await midflight(['reload', '--force', '--url', first.url])
  await first.stop()
  await gateway(cwd, good.replace('200', '300'), { port: first.port })
  const all = await seen.until((line) => line.includes('"started"'))
  expect(all.map((line) => JSON.parse(line) as { kind: string }).at(-1)).toMatchObject({ kind: 'started' })
  child.kill('SIGINT')
  expect((await done).err).toMatch(/trying again/)
})

test('events --follow prints what there is and goes on; as JSON one event per line', async () => {
  const { url, write } = await gateway(await folder(), good)
  const child = spawned(['events', '--follow', '--json', '--url', url])
  const done = finished(child)
  const seen = lines(child)
  await seen.until((line) => line.includes('"started"'))
  await write(good.replace('200', '300'))
  await midflight(['reload', '--url', url])
  const all = await seen.until((line) => line.includes('"http"') && line.includes('"outcome"'))
  const ids = all.map((line) => (JSON.parse(line) as { id: number }).id)
  expect(ids).toEqual(ids.map((_, i) => i + 1))
  child.kill('SIGINT')
  expect((await done).code).toBe(130)
})

test('watch and follow of nothing say so at once', async () => {
  for (const args of [['watch'], ['events', '--follow']]) {
    const { code, err } = await midflight([...args, '--url', 'http://127.0.0.1:1'])
    expect([code, err]).toEqual([1, expect.stringContaining('nothing listens at http://127.0.0.1:1')])
  }
})
