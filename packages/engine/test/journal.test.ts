import { appendFile, chmod, mkdir, mkdtemp, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Event } from '../src/event.ts'
import { openJournal, type OpenJournal } from '../src/journal.ts'

let folder: string
let file: string
let warnings: string[]
const onWarning = (message: string): void => void warnings.push(message)
const open: OpenJournal[] = []

async function journal(options: { limit?: number; file?: string; maxFileBytes?: number } = {}): Promise<OpenJournal> {
  const opened = await openJournal({ ...options, onWarning })
  open.push(opened)
  return opened
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-journal-'))
  file = join(folder, 'events.jsonl')
  warnings = []
})

afterEach(async () => {
  await Promise.all(open.splice(0).map((opened) => opened.close()))
  await rm(folder, { recursive: true, force: true })
})

const warning = (message: string) => ({ kind: 'warning', about: 'test', message }) as const
const messages = (events: readonly Event[]) =>
  events.map((event) => (event.kind === 'warning' ? event.message : event.kind))
/** Of the file, 0 if it is not there. */
async function size(): Promise<number> {
  return stat(file).then(
    (found) => found.size,
    () => 0,
  )
}

async function lines(path = file): Promise<Event[]> {
  const text = await readFile(path, 'utf8')
  expect(text.endsWith('\n')).toBe(true)
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event)
}

describe('in memory', () => {
  test('the newest events are kept, oldest first, with ids that go up', async () => {
    const record = await journal({ limit: 3 })
    for (const n of [1, 2, 3, 4, 5, 6, 7]) record.append(warning(String(n)))
    expect(messages(record.recent())).toEqual(['5', '6', '7'])
    expect(record.recent().map((event) => event.id)).toEqual([5, 6, 7])
  })

  test('recent() cuts to the newest, and begins after an id', async () => {
    const record = await journal()
    for (const n of [1, 2, 3, 4]) record.append(warning(String(n)))
    expect(messages(record.recent({ limit: 2 }))).toEqual(['3', '4'])
    expect(messages(record.recent({ after: 1 }))).toEqual(['2', '3', '4'])
    expect(messages(record.recent({ after: 1, limit: 1 }))).toEqual(['4'])
    expect(record.recent({ after: 4 })).toEqual([])
    expect(record.recent({ limit: 0 })).toEqual([])
  })

  test('events that fell out of the record are let go', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const record = await journal({ limit: 10 })
    const first = new WeakRef(record.append(warning('first')))
    for (let n = 0; n < 100; n++) record.append(warning('x'))
    // A reference that is looked at is kept to the end of the turn: only whether it is there may leave this function.
    await expect.poll(() => (collect(), first.deref() === undefined), { timeout: 10_000 }).toBe(true)
    expect(record.recent()).toHaveLength(10)
  })

  test('an event cannot be changed by who gets it', async () => {
    const record = await journal()
    const event = record.append(warning('a')) as { id: number }
    expect(() => (event.id = 7)).toThrow(TypeError)
  })

  test.each([0, -1, Number.NaN])('a limit of %s is refused', async (limit) => {
    await expect(openJournal({ limit, onWarning })).rejects.toThrow(RangeError)
  })
})

describe('listeners', () => {
  test('a listener hears each event from now on, in order, until it leaves', async () => {
    const record = await journal()
    const heard: string[] = []
    record.append(warning('before'))
    const leave = record.subscribe((event) => heard.push(...messages([event])))
    record.append(warning('a'))
    record.append(warning('b'))
    leave()
    record.append(warning('c'))
    expect(heard).toEqual(['a', 'b'])
  })

  test('a listener that throws is recorded once, and the others hear everything (F49)', async () => {
    const record = await journal()
    const heard: number[] = []
    record.subscribe(() => {
      throw new Error('no')
    })
    record.subscribe((event) => heard.push(event.id))
    record.append(warning('a'))
    record.append(warning('b'))
    expect(messages(record.recent())).toEqual(['a', 'a listener to events threw on a "warning" event: no', 'b'])
    expect(heard).toEqual([1, 2, 3])
    expect(warnings).toHaveLength(1)
  })

  test('a listener that recovers and fails again is recorded again', async () => {
    const record = await journal()
    record.subscribe((event) => {
      if (event.kind === 'closed') throw new Error('no')
    })
    record.append({ kind: 'closed' })
    record.append({ kind: 'closed' })
    expect(messages(record.recent()).filter((message) => message.includes('threw'))).toHaveLength(2)
  })

  test('an async listener that rejects is recorded, not an unhandled rejection (F58)', async () => {
    const record = await journal()
    // A listener is not meant to be async, but nothing keeps a program from it.
    const listener: () => unknown = async () => {
      throw new Error('later')
    }
    record.subscribe(listener)
    record.append({ kind: 'closed' })
    await expect.poll(() => warnings).toEqual(['a listener to events threw on a "closed" event: later'])
  })

  test('two listeners that throw at each other’s warnings come to rest', async () => {
    const record = await journal()
    let calls = 0
    for (const parity of [0, 1]) {
      record.subscribe(() => {
        if (calls++ % 2 === parity) throw new Error('no')
      })
    }
    for (let n = 0; n < 10; n++) record.append({ kind: 'closed' })
    expect(record.recent().length).toBeLessThan(40)
  })

  test('an event appended inside a listener is delivered after this one, to all, and never nested', async () => {
    const record = await journal()
    const heard: string[] = []
    let depth = 0
    record.subscribe((event) => {
      expect(++depth).toBe(1)
      if (messages([event])[0] === 'a') record.append(warning('b'))
      heard.push(`1:${messages([event])[0]}`)
      depth--
    })
    record.subscribe((event) => heard.push(`2:${messages([event])[0]}`))
    record.append(warning('a'))
    expect(heard).toEqual(['1:a', '2:a', '1:b', '2:b'])
  })

  test('a listener that answers each event with another one does not stop the process', async () => {
    const record = await journal()
    let answers = 0
    const leave = record.subscribe(() => {
      answers++
      record.append(warning('again'))
    })
    record.append(warning('a'))
    await expect.poll(() => answers).toBeGreaterThan(2000)
    leave()
  })

  test('who subscribes inside a listener does not hear what was appended before', async () => {
    const record = await journal()
    const heard: number[] = []
    record.subscribe((event) => {
      if (event.id === 1) {
        record.append(warning('b'))
        record.subscribe((later) => heard.push(later.id))
      }
    })
    record.append(warning('a'))
    record.append(warning('c'))
    expect(heard).toEqual([3])
  })
})

describe('in a file', () => {
  test('every event is a line of JSON, in order, readable by the owner only', async () => {
    const record = await journal({ file, limit: 2 })
    const appended = [1, 2, 3, 4].map((n) => record.append(warning(`${n}\n"é"`)))
    await record.close()
    expect(await lines()).toEqual(appended)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  test('a file with a wider mode is narrowed', async () => {
    await writeFile(file, '')
    await chmod(file, 0o644)
    const record = await journal({ file })
    record.append(warning('a'))
    await record.close()
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  test('after a restart the record and its ids go on', async () => {
    const before = await journal({ file })
    before.append(warning('a'))
    before.append(warning('b'))
    await before.close()
    const after = await journal({ file })
    expect(after.append(warning('c')).id).toBe(3)
    expect(messages(after.recent())).toEqual(['a', 'b', 'c'])
    await after.close()
    expect(messages(await lines())).toEqual(['a', 'b', 'c'])
    expect(warnings).toEqual([])
  })

  test('a last line torn at any byte is cut off, with a warning that says how many bytes (F1, F15)', async () => {
    const first = await journal({ file })
    first.append(warning('whole'))
    const last = first.append(warning('torn é'))
    await first.close()
    const whole = await readFile(file)
    const lastLength = Buffer.byteLength(JSON.stringify(last)) + 1
    for (let cut = 1; cut < lastLength; cut++) {
      await writeFile(file, whole.subarray(0, whole.length - cut))
      warnings = []
      const again = await journal({ file })
      expect(again.append(warning('next')).id).toBeGreaterThan(1)
      await again.close()
      expect(messages(await lines())).toEqual([
        'whole',
        `${file} ended in the middle of a line, after a crash: ${lastLength - cut} bytes were cut off`,
        'next',
      ])
      expect(warnings).toHaveLength(1)
    }
  })

  test('a file that is only a torn line, or zeros after a power cut, starts anew (F9)', async () => {
    for (const bytes of [Buffer.from('{"id":1,"at'), Buffer.alloc(200_000)]) {
      await writeFile(file, bytes)
      const record = await journal({ file })
      record.append(warning('a'))
      await record.close()
      expect(messages(await lines()).at(-1)).toBe('a')
    }
  })

  test('a damaged line in the middle is passed over (F16)', async () => {
    await writeFile(
      file,
      `{"id":1,"at":"","kind":"closed"}\n{"id":2,"at":"","ki\u0000d":"closed"}\n{"id":3,"at":"","kind":"closed"}\nnull\n`,
    )
    const record = await journal({ file })
    expect(record.recent().map((event) => event.id)).toEqual([1, 3])
    expect(record.append(warning('a')).id).toBe(4)
  })

  test('a file of more than a mebibyte, and a last line of more than one, are read back', async () => {
    const small = Array.from(
      { length: 20_000 },
      (_, i) => `{"id":${i + 1},"at":"2026-01-01T00:00:00.000Z","kind":"closed"}\n`,
    )
    await writeFile(file, small.join(''))
    const record = await journal({ file })
    expect(record.append(warning('a')).id).toBe(20_001)
    await record.close()
    await writeFile(
      file,
      `{"id":6,"at":"","kind":"closed"}\n{"id":7,"at":"","kind":"warning","about":"${'x'.repeat(3 * 2 ** 20)}","message":""}\n`,
    )
    expect((await journal({ file })).append(warning('a')).id).toBe(8)
  })

  test('SIGKILL while it writes loses no line that was whole, and the next start goes on (F1)', async () => {
    const script = `
      import { openJournal } from ${JSON.stringify(new URL('../src/journal.ts', import.meta.url).href)}
      const journal = await openJournal({ file: ${JSON.stringify(file)}, onWarning() {} })
      const go = () => { for (let i = 0; i < 50; i++) journal.append({ kind: 'warning', about: 'x', message: 'y'.repeat(500) }); setImmediate(go) }
      go()`
    for (let round = 0; round < 3; round++) {
      const child = spawn(
        process.execPath,
        ['--conditions=midflight-source', '--input-type=module-typescript', '-e', script],
        {
          stdio: ['ignore', 'ignore', 'inherit'],
        },
      )
      const ended = once(child, 'exit')
      const before = await size()
      await expect.poll(size, { timeout: 20_000 }).toBeGreaterThan(before + 50_000)
      child.kill('SIGKILL')
      await ended
      const record = await journal({ file })
      record.append(warning('back'))
      await record.close()
      const ids = (await lines()).map((event) => event.id)
      expect(ids).toEqual(ids.map((_, i) => ids[0]! + i))
    }
  })

  test('a full file becomes <file>.1, and ids go on across the turn and a restart', async () => {
    const record = await journal({ file, maxFileBytes: 1000 })
    for (let n = 1; n <= 40; n++) record.append(warning(`${n}`))
    await record.close()
    const [older, newer] = [await lines(`${file}.1`), await lines()]
    expect((await stat(file)).size).toBeLessThanOrEqual(1000)
    expect((await stat(`${file}.1`)).size).toBeLessThanOrEqual(1000)
    expect(older.at(-1)!.id + 1).toBe(newer[0]!.id)
    expect(newer.at(-1)!.id).toBe(40)
    await truncate(file, 0)
    expect((await journal({ file })).append(warning('a')).id).toBe(newer[0]!.id)
  })

  test('an event larger than the file still gets a line', async () => {
    const record = await journal({ file, maxFileBytes: 10 })
    record.append(warning('a'))
    record.append(warning('b'))
    await record.close()
    expect(messages([...(await lines(`${file}.1`)), ...(await lines())])).toEqual(['a', 'b'])
  })

  test('an event of megabytes is written without its values', async () => {
    const record = await journal({ file })
    const changes = [{ kind: 'changed', path: 'a', before: 1, after: 'x'.repeat(2 ** 20) } as const]
    record.append({
      kind: 'reload',
      outcome: {
        kind: 'restart-required',
        paths: ['a'],
        plan: { components: [], unread: changes, changeCount: 1 },
        run: 1,
        triggers: [],
        startedAt: '',
        durationMs: 1,
        durationsMs: {},
        retries: 0,
        pendingRestart: [],
      },
    })
    await record.close()
    expect(await lines()).toMatchObject([
      { id: 1, shortened: true, outcome: { kind: 'restart-required', plan: { unread: [{ path: 'a' }] } } },
    ])
    expect((await stat(file)).size).toBeLessThan(1000)
  })

  test('a file moved away or removed while it is open is begun anew', async () => {
    const record = await journal({ file })
    record.append(warning('a'))
    await expect.poll(size).toBeGreaterThan(0)
    await rename(file, join(folder, 'moved'))
    record.append(warning('b'))
    await expect.poll(size).toBeGreaterThan(0)
    await rm(file)
    record.append(warning('c'))
    await record.close()
    expect(messages(await lines(join(folder, 'moved')))).toEqual(['a'])
    expect(messages(await lines())).toEqual(['c'])
  })

  test('what cannot be written is said once, kept, and written with a second word when it works again (F12)', async () => {
    // A directory in its place fails for root too, whom modes do not stop.
    await mkdir(file)
    const record = await journal({ file })
    record.append(warning('a'))
    await expect.poll(() => warnings.filter((message) => message.includes('cannot be written'))).toHaveLength(1)
    record.append(warning('b'))
    record.append(warning('c'))
    await rm(file, { recursive: true })
    record.append(warning('d'))
    await expect.poll(() => warnings.at(-1)).toBe(`${file} is written again`)
    await record.close()
    expect(warnings).toHaveLength(3)
    expect(messages(record.recent())).toEqual(expect.arrayContaining(['a', 'b', 'c', 'd']))
    const written = messages(await lines())
    expect(written.filter((message) => message.length === 1)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('a disk that stays away for long costs a bounded memory, and the file’s gap is counted', async () => {
    await mkdir(file)
    const record = await journal({ file })
    for (let n = 0; n < 60; n++) record.append(warning('x'.repeat(200_000)))
    await expect.poll(() => warnings.filter((message) => message.includes('cannot be written'))).toHaveLength(1)
    await rm(file, { recursive: true })
    record.append(warning('back'))
    await expect.poll(() => warnings.at(-1)).toMatch(/is written again; \d+ events are missing from it$/)
    await record.close()
    const missing = Number(/(\d+) events/.exec(warnings.at(-1)!)![1])
    expect((await lines()).length + missing).toBe(record.recent().length)
    expect((await stat(file)).size).toBeLessThan(5 * 2 ** 20)
  })

  test('a named pipe or a device is refused and never blocks', async () => {
    execFileSync('mkfifo', [file])
    const record = await journal({ file })
    expect(record.append(warning('a')).id).toBe(2)
    await record.close()
    expect(warnings[0]).toContain('is not a regular file')
  })

  test('close writes what waits, and later events stay in memory', async () => {
    const record = await journal({ file })
    for (let n = 0; n < 500; n++) record.append(warning('x'))
    await record.close()
    record.append(warning('late'))
    await record.close()
    expect(await lines()).toHaveLength(500)
    expect(messages(record.recent()).at(-1)).toBe('late')
  })
})

const mayMount = (() => {
  try {
    execFileSync('unshare', ['-m', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

test.skipIf(!mayMount)(
  'a full disk costs no event, and leaves no torn line (F10) (skipped: mounts are not allowed here)',
  async () => {
    // A small tmpfs in a mount namespace of its own, which ends with the process.
    const script = `
    import { openJournal } from ${JSON.stringify(new URL('../src/journal.ts', import.meta.url).href)}
    import { execFileSync } from 'node:child_process'
    import { readFileSync, rmSync, writeFileSync } from 'node:fs'
    const [folder] = process.argv.slice(-1)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder])
    const warnings = []
    const journal = await openJournal({ file: folder + '/events.jsonl', onWarning: (m) => warnings.push(m) })
    writeFileSync(folder + '/ballast', 'x'.repeat(40_000))
    for (let n = 0; n < 60; n++) journal.append({ kind: 'warning', about: 'n', message: 'y'.repeat(800) })
    while (warnings.length === 0) await new Promise((done) => setTimeout(done, 5))
    rmSync(folder + '/ballast')
    journal.append({ kind: 'closed' })
    await journal.close()
    console.log(JSON.stringify({ warnings, text: readFileSync(folder + '/events.jsonl', 'utf8') }))`
    const command = [
      '-m',
      process.execPath,
      '--conditions=midflight-source',
      '--input-type=module-typescript',
      '-e',
      script,
      folder,
    ]
    const { warnings: said, text } = JSON.parse(execFileSync('unshare', command, { encoding: 'utf8' })) as {
      warnings: string[]
      text: string
    }
    expect(said).toEqual([
      expect.stringMatching(/cannot be written.*ENOSPC/),
      expect.stringMatching(/is written again$/),
    ])
    const ids = text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as Event).id)
    expect(ids).toEqual(ids.map((_, i) => i + 1))
    expect(ids).toHaveLength(63)
  },
)

test('what was appended by others to the file in between is not overwritten', async () => {
  const record = await journal({ file })
  record.append(warning('a'))
  await expect.poll(size).toBeGreaterThan(0)
  await appendFile(file, '{"id":99,"at":"","kind":"closed"}\n')
  record.append(warning('b'))
  await record.close()
  expect(messages(await lines())).toEqual(['a', 'closed', 'b'])
})
