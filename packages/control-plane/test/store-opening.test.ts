import { existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, cpSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, describe, expect, test } from 'vitest'
import { StoreError } from '../src/store.ts'
import {
  all,
  attemptOf,
  auditEntry,
  configOf,
  draftOf,
  nodeOf,
  publish,
  rulesOf,
  sample,
  tokenOf,
} from '../src/stores/conformance/samples.ts'
import { restoreStore, verifyStore } from '../src/stores/sqlite/backup.ts'
import { openSqlite } from '../src/stores/sqlite.ts'
import { migrate, migrations, versionOf } from '../src/stores/sqlite/migrations.ts'
import { cleanUp, folder, lost, publishIn } from './store-folders.ts'

const long = process.env['MIDFLIGHT_LONG'] !== undefined
afterEach(cleanUp)

/** A store that was closed, with something of everything in it. */
async function filled(directory = join(folder(), 'data')): Promise<string> {
  const store = await openSqlite({ directory, wholeEvery: 4 })
  await store.transaction((tx) => {
    tx.putConfig(configOf())
    for (let n = 1; n <= 10; n++) {
      publish(tx, rulesOf(100, { 0: n }))
      tx.appendAudit({ ...auditEntry, detail: n })
    }
    tx.putNode(nodeOf('u1', { runs: { number: 2, digest: 'd' } }))
    tx.addAttempts([attemptOf('u1', 2)])
    tx.putDraft(draftOf('d1', { a: 1 }), { a: 1 })
    tx.putToken(tokenOf('t1'))
  })
  await store.close()
  return directory
}

/** Changes a closed store behind its back. */
function edit(directory: string, sql: string): void {
  const db = new DatabaseSync(join(directory, 'store.db'))
  db.exec(sql)
  db.close()
}

async function refusal(directory: string): Promise<StoreError> {
  const opened = await openSqlite({ directory, busyTimeoutMs: 50 }).catch((error: unknown) => error)
  if (!(opened instanceof StoreError)) throw new Error('it was opened')
  return opened
}

describe('what is not whole is refused, with what it is and what to do', () => {
  test('a text file, an empty header, another SQLite database', async () => {
    for (const content of ['hello, I am a text file that is somewhat long\n'.repeat(300), 'x', Buffer.alloc(8192)]) {
      const directory = folder()
      writeFileSync(join(directory, 'store.db'), content)
      expect(await refusal(directory)).toMatchObject({ code: 'not-a-database', row: join(directory, 'store.db') })
      expect(readFileSync(join(directory, 'store.db'))).toEqual(Buffer.from(content))
    }
    const directory = folder()
    edit(directory, 'create table photos (a)')
    expect(await refusal(directory)).toMatchObject({ code: 'not-a-database' })
  })

  test('a newer schema: both versions are named', async () => {
    const directory = await filled()
    edit(directory, 'pragma user_version = 99')
    const error = await refusal(directory)
    expect(error.code).toBe('newer-schema')
    expect(error.message).toMatch(new RegExp(`schema 99.*up to ${migrations.length};.*restore a backup`))
  })

  test('a release that is missing: the first one of them is named', async () => {
    const directory = await filled()
    edit(directory, 'delete from releases where number in (6, 7)')
    expect(await refusal(directory)).toMatchObject({ code: 'gap', row: `release ${sample.config} #6` })
    const other = await filled()
    edit(other, 'delete from releases where number = 10')
    expect(await refusal(other)).toMatchObject({ code: 'gap', row: `release ${sample.config} #10` })
    const headless = await filled()
    edit(headless, 'update releases set content = null where number = 10')
    expect(await refusal(headless)).toMatchObject({ code: 'gap', row: `release ${sample.config} #10` })
  })

  test('a broken link of the audit log, a changed entry, a missing entry', async () => {
    const edits: Record<string, object> = {
      "update audit set prev = replace(prev, substr(prev, 1, 1), 'z') where number = 4": {
        code: 'audit-broken',
        row: 'audit #4',
      },
      "update audit set entry = replace(entry, 'ada', 'eve') where number = 4": {
        code: 'audit-broken',
        row: 'audit #4',
      },
      'delete from audit where number = 4': { code: 'gap', row: 'audit #4' },
      'update audit set number = 11 where number = 10': { code: 'gap', row: 'audit #10' },
      'update audit set entry = (select entry from audit where number = 5) where number = 4': { code: 'audit-broken' },
    }
    for (const [sql, wanted] of Object.entries(edits)) {
      const directory = await filled()
      edit(directory, sql)
      expect(await refusal(directory), sql).toMatchObject(wanted)
    }
  })

  test('a row that was changed: refused when it is read, and named by verify', async () => {
    const edits: Record<string, string> = {
      "update releases set content = replace(content, '/rules/0', '/rules/1') where number = 7": `release ${sample.config} #7`,
      "update releases set data = replace(data, 'ada', 'eve') where number = 7": `releases config ${sample.config}, number 7`,
      'update nodes set runs = 3': 'node u1',
      "update tokens set data = replace(data, 'publisher', 'admin')": 'tokens id t1',
      "update draft_contents set body = '{}'": 'draft d1',
      'update drafts set base = 4': 'draft d1',
    }
    for (const [sql, row] of Object.entries(edits)) {
      const directory = await filled()
      edit(directory, sql)
      const store = await openSqlite({ directory })
      const { problems } = await store.verify()
      expect(problems[0], sql).toMatchObject({ code: 'damaged', row })
      const reading = store.read((tx) => [all(tx), tx.token('hash-of-t1'), tx.draftContent('d1')])
      await expect(reading, sql).rejects.toMatchObject({ name: 'StoreError', code: 'damaged' })
      await store.close()
    }
  })

  test('cut at any page: refused, or all of it is there', async () => {
    const whole = await filled()
    const before = await everything(whole)
    let refused = 0
    const size = statSync(join(whole, 'store.db')).size
    for (let length = 1; length < size; length += long ? 997 : 4096 - 1) {
      const directory = join(folder(), 'data')
      cpSync(whole, directory, { recursive: true })
      truncateSync(join(directory, 'store.db'), length)
      try {
        // The end of the last page is empty.
        expect(await everything(directory), `cut to ${length} bytes`).toEqual(before)
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        expect(error.code).toMatch(/^(damaged|not-a-database)$/)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(10)
  })

  test('F16: a flipped byte anywhere is found, or changes nothing', async () => {
    const whole = await filled()
    const before = await everything(whole)
    const bytes = readFileSync(join(whole, 'store.db'))
    let found = 0
    for (let at = 0; at < bytes.length; at += long ? 61 : 1021) {
      const directory = join(folder(), 'data')
      cpSync(whole, directory, { recursive: true })
      const bad = Buffer.from(bytes)
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << (at % 8)), at)
      writeFileSync(join(directory, 'store.db'), bad)
      try {
        expect(await everything(directory), `byte ${at}`).toEqual(before)
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        found++
      }
    }
    expect(found).toBeGreaterThan(20)
  }, 240_000)

  /** @throws StoreError for anything that opening, verifying or reading finds. */
  async function everything(directory: string): Promise<unknown> {
    const store = await openSqlite({ directory })
    try {
      const [problem] = (await store.verify()).problems
      if (problem !== undefined) throw problem
      return await store.read(all)
    } finally {
      await store.close()
    }
  }
})

describe('the write-ahead log of a store that was killed', () => {
  test('missing: refused, with the file and how to go on without it', async () => {
    const directory = join(folder(), 'data')
    publishIn(directory, 2, 'crash')
    const log = join(directory, 'store.db-wal')
    const bytes = readFileSync(log)
    rmSync(log)
    const error = await refusal(directory)
    expect(error).toMatchObject({ code: 'damaged', row: log })
    expect(error.recover).toContain(join(directory, 'store.open'))
    writeFileSync(log, bytes)
    expect(await lost(directory, [1, 2, 3, 4, 5, 6])).toEqual([])
    rmSync(join(directory, 'store.open'), { force: true })
  })

  test('without its database: refused, and no empty one is put in its place', async () => {
    const directory = join(folder(), 'data')
    publishIn(directory, 2, 'crash')
    rmSync(join(directory, 'store.db'))
    expect(await refusal(directory)).toMatchObject({ code: 'damaged', row: join(directory, 'store.db') })
    expect(existsSync(join(directory, 'store.db'))).toBe(false)
  })

  test('F16: a flipped byte is found, unless it is in the last transaction', async () => {
    const killed = join(folder(), 'data')
    const { acknowledged } = publishIn(killed, 8, 'crash')
    const bytes = readFileSync(join(killed, 'store.db-wal'))
    let refused = 0
    for (let at = 0; at < bytes.length; at += long ? 251 : 2503) {
      const directory = join(folder(), 'data')
      cpSync(killed, directory, { recursive: true })
      const bad = Buffer.from(bytes)
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << (at % 8)), at)
      writeFileSync(join(directory, 'store.db-wal'), bad)
      try {
        // Three publish at once and share a transaction; the last of those cannot be told from one that was cut short.
        expect(await lost(directory, acknowledged.slice(0, -3)), `byte ${at}`).toEqual([])
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        expect(error.code).toBe('damaged')
        refused++
      }
    }
    expect(refused).toBeGreaterThan(10)
  }, 240_000)

  test('cut at any byte: whole transactions, in order', async () => {
    const killed = join(folder(), 'data')
    publishIn(killed, 4, 'crash')
    const { size } = statSync(join(killed, 'store.db-wal'))
    for (let length = size - 1; length > 40_000; length -= long ? 499 : 9_001) {
      const directory = join(folder(), 'data')
      cpSync(killed, directory, { recursive: true })
      truncateSync(join(directory, 'store.db-wal'), length)
      try {
        expect(await lost(directory, []), `cut to ${length} bytes`).toEqual([])
      } catch (error) {
        // So early that there is not even a schema in it.
        expect(error).toMatchObject({ name: 'StoreError' })
      }
    }
  }, 120_000)
})

describe('one store, one process, its owner only', () => {
  test('the directory is 0700 and the files are 0600, made so or brought to it', async () => {
    const modes = (directory: string) =>
      ['', 'store.db', 'store.db-wal', 'store.open'].map((name) =>
        (statSync(join(directory, name)).mode & 0o777).toString(8),
      )
    for (const directory of [join(folder(), 'a', 'data'), folder()]) {
      const store = await openSqlite({ directory })
      expect(modes(directory)).toEqual(['700', '600', '600', '600'])
      await store.close()
    }
    const foreign = folder()
    mkdirSync(join(foreign, 'data'), { mode: 0o755 })
    writeFileSync(join(foreign, 'data', 'something else'), '')
    await (await openSqlite({ directory: join(foreign, 'data') })).close()
    expect((statSync(join(foreign, 'data')).mode & 0o777).toString(8)).toBe('755')
  })

  test('open in this process or in another: refused, and the one that has it goes on', async () => {
    const directory = join(folder(), 'data')
    const store = await openSqlite({ directory })
    expect(await refusal(directory)).toMatchObject({ code: 'locked' })
    expect(publishIn(directory, 1, 'close').lines).toEqual([
      expect.stringMatching(/^refused locked .*stop the other process/),
    ])
    await store.transaction((tx) => tx.putConfig(configOf()))
    await store.close()
    expect(publishIn(directory, 1, 'close').lines.at(-1)).toBe('closed')
  })

  test('an option out of its range is refused before anything is made', async () => {
    const directory = join(folder(), 'data')
    await expect(openSqlite({ directory, wholeEvery: 0 })).rejects.toThrow(RangeError)
    await expect(openSqlite({ directory, cacheBytes: -1 })).rejects.toThrow(RangeError)
    expect(existsSync(directory)).toBe(false)
  })
})

describe('migrations', () => {
  test('each step is a transaction: one that fails leaves the version and the tables before it', () => {
    const db = new DatabaseSync(':memory:')
    migrate(db, 'x', ['create table a (x)'])
    expect(() =>
      migrate(db, 'x', ['create table a (x)', 'create table b (x)', 'create table c (x); nonsense']),
    ).toThrow(/nonsense/)
    expect(versionOf(db)).toBe(2)
    expect(
      db
        .prepare('select name from sqlite_schema order by name')
        .all()
        .map((row) => row['name']),
    ).toEqual(['a', 'b'])
    migrate(db, 'x', ['create table a (x)', 'create table b (x)', 'create table c (x)'])
    expect(versionOf(db)).toBe(3)
    db.close()
  })
})

describe('backups', () => {
  test('made while others publish: whole, of one moment, for the owner only; restored, it goes on from there', async () => {
    const directory = await filled()
    const store = await openSqlite({ directory })
    const path = join(folder(), 'backup.db')
    let done = false
    const publishing = (async () => {
      while (!done) {
        await store.transaction((tx) => {
          publish(tx, rulesOf(100, { 1: (tx.config(sample.config)?.head?.number ?? 0) + 1 }))
          tx.appendAudit(auditEntry)
        })
      }
    })()
    await store.backup(path)
    done = true
    await publishing
    await expect(store.backup(path)).rejects.toMatchObject({ code: 'exists' })
    await store.close()
    expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
    expect(existsSync(`${path}.part`)).toBe(false)
    const bytes = readFileSync(path)
    const report = verifyStore(path)
    expect(report).toMatchObject({ configs: 1, problems: [] })
    expect(report.releases).toBe(report.audit)
    expect(readFileSync(path)).toEqual(bytes)

    const restored = join(folder(), 'data')
    expect(restoreStore(path, restored)).toEqual(report)
    expect(() => restoreStore(path, restored)).toThrow(expect.objectContaining({ code: 'exists' }))
    const again = await openSqlite({ directory: restored })
    expect(await again.read((tx) => tx.config(sample.config)?.head?.number)).toBe(report.releases)
    expect((await again.transaction((tx) => publish(tx, { a: 1 }))).number).toBe(report.releases + 1)
    await again.close()
  })

  test('a damaged backup is not restored, and what is wrong is said', async () => {
    const directory = await filled()
    edit(directory, "update releases set content = replace(content, '/rules/0', '/rules/1') where number = 7")
    const path = join(directory, 'store.db')
    // The next one is a patch on it.
    const problems = [7, 8].map((number) => ({ code: 'damaged', row: `release ${sample.config} #${number}` }))
    expect(verifyStore(path).problems).toMatchObject(problems)
    const target = join(folder(), 'data')
    expect(() => restoreStore(path, target)).toThrow(/release shop\/gateway\/prod #7/)
    expect(existsSync(target)).toBe(false)
    writeFileSync(join(directory, 'text'), 'not a database, but longer than a header')
    expect(() => verifyStore(join(directory, 'text'))).toThrow(expect.objectContaining({ code: 'not-a-database' }))
    expect(() => verifyStore(join(directory, 'nothing'))).toThrow(StoreError)
  })
})

describe('large configurations', () => {
  test('a small change in a large content costs a small row, and the oldest release still reads', async () => {
    const directory = join(folder(), 'data')
    const store = await openSqlite({ directory, cacheBytes: 0 })
    await store.transaction((tx) => {
      tx.putConfig(configOf())
      publish(tx, rulesOf(20_000))
    })
    const size = () => statSync(join(directory, 'store.db')).size + statSync(join(directory, 'store.db-wal')).size
    const before = size()
    for (let n = 0; n < 20; n++) await store.transaction((tx) => publish(tx, rulesOf(20_000, { [n * 100]: n })))
    expect(size() - before).toBeLessThan(before / 2)
    expect(await store.read((tx) => tx.content(sample.config, 11))).toEqual(rulesOf(20_000, { 900: 9 }))
    await store.close()
  })
})
