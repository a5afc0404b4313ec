import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { start, type Component } from '../src/index.ts'
import { file } from '../src/sources/file.ts'
import { scripted } from '../src/testing/index.ts'
import { anything } from './engine-rig.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midflight-attack-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const engineOn = (path: string, components: Component[] = []) =>
  start({ schema: anything, sources: [file(path)], components, logger: false })

async function until(what: () => boolean, limitMs = 10_000) {
  const end = performance.now() + limitMs
  while (!what() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 2))
  return what()
}

describe('the newest is live in the end', () => {
  test('wherever in a reload an edit falls: while loading, preparing, committing, letting go', async () => {
    const path = join(folder, 'a.json')
    let n = 0
    const write = (value: number) => writeFileSync(path, JSON.stringify({ a: value }))
    write(n)
    const a = scripted('a')
    const engine = await engineOn(path, [a])
    for (const step of ['prepare', 'commit', 'dispose'] as const) {
      for (let round = 0; round < 40; round++) {
        let edited = false
        a.on = {
          [step]: async () => {
            if (edited) return
            edited = true
            for (let i = 0; i < round % 3; i++) await new Promise((resolve) => setImmediate(resolve))
            write(++n)
          },
        }
        write(++n)
        expect(await until(() => edited && engine.live['a'] === n && a.live === n)).toBe(true)
      }
    }
    await engine.close()
  })

  test('edits at random moments, by rename and in place, five hundred times', async () => {
    const path = join(folder, 'a.json')
    writeFileSync(path, '{"a":0}')
    const a = scripted('a')
    const engine = await engineOn(path, [a])
    for (let n = 1; n <= 500; n++) {
      if (n % 2) writeFileSync(path, JSON.stringify({ a: n }))
      else {
        writeFileSync(`${path}.new`, JSON.stringify({ a: n }))
        await rename(`${path}.new`, path)
      }
      if (n % 5 === 0) await new Promise((resolve) => setTimeout(resolve, n % 17))
      if (n % 50 === 0) expect(await until(() => a.live === n)).toBe(true)
    }
    expect(await until(() => engine.live['a'] === 500)).toBe(true)
    await engine.close()
  })

  test('an edit between the first load and the first watch', async () => {
    const path = join(folder, 'a.json')
    for (let n = 0; n < 20; n++) {
      writeFileSync(path, '{"a":0}')
      const a = scripted('a')
      a.on = { commit: () => writeFileSync(path, '{"a":1}') }
      const engine = await engineOn(path, [a])
      expect(await until(() => engine.live['a'] === 1)).toBe(true)
      await engine.close()
    }
  })
})

describe('whatever stands where the file was, what is live stays live, and a good file mends it', () => {
  const cases: readonly (readonly [string, (path: string) => Promise<void>])[] = [
    ['a directory', (path) => mkdir(path).then(() => {})],
    ['a link to itself', (path) => symlink(path, path)],
    ['a link to nowhere', (path) => symlink('/nowhere/at/all', path)],
    ['nothing', async () => {}],
    ['NUL bytes', (path) => writeFile(path, Buffer.alloc(4096))],
    ['half a character', (path) => writeFile(path, Buffer.from([0x61, 0x3a, 0x20, 0xe2, 0x82]))],
    ['UTF-16', (path) => writeFile(path, Buffer.from('\ufeffa: 1\n', 'utf16le'))],
    ['an empty file', (path) => writeFile(path, '')],
    ['a comment', (path) => writeFile(path, '# nothing here\n')],
    ['a link to a device', (path) => symlink('/dev/zero', path)],
  ]
  test.each(cases)('%s', async (_, put) => {
    const path = join(folder, 'a.yaml')
    await writeFile(path, 'a: 1\n')
    const engine = await engineOn(path)
    await rm(path)
    await put(path)
    expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load' })
    expect(engine.live).toEqual({ a: 1 })
    await rm(path, { recursive: true, force: true })
    await writeFile(path, '\ufeffa: 2\r\nb: "é💥"\r\n')
    expect(await until(() => engine.live['a'] === 2)).toBe(true)
    expect(engine.live).toEqual({ a: 2, b: 'é💥' })
    await engine.close()
  })
})

test('a very long line is read; an include that includes itself through another is refused by name', async () => {
  const [path, other] = [join(folder, 'a.yaml'), join(folder, 'b.yaml')]
  await writeFile(path, `a: "${'x'.repeat(5_000_000)}"\n`)
  const engine = await engineOn(path)
  expect((engine.live['a'] as string).length).toBe(5_000_000)
  await writeFile(path, 'include: b.yaml\na: 1\n')
  await writeFile(other, 'include: a.yaml\n')
  expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load', issues: [{ code: 'reference' }] })
  await engine.close()
})

test('a directory of some thousand files with names of all kinds', async () => {
  const odd = ['é.yaml', '💥.yaml', 'a b.yaml', "q'uote.yaml", 'x'.repeat(200) + '.yaml']
  await Promise.all(odd.map((name, i) => writeFile(join(folder, name), `odd${i}: 1\n`)))
  for (let i = 0; i < 3000; i++) writeFileSync(join(folder, `f${String(i).padStart(5, '0')}.yaml`), `k${i}: ${i}\n`)
  const engine = await engineOn(join(folder, '*.yaml'))
  expect(Object.keys(engine.live)).toHaveLength(3005)
  await writeFile(join(folder, 'f01500.yaml'), 'k1500: changed\n')
  expect(await until(() => engine.live['k1500'] === 'changed')).toBe(true)
  await engine.close()
})
