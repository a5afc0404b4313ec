/** The memory of a large text is read into again two loads later: nobody may take what stands there then for the old. */
import { expect, test } from 'vitest'
import type { Document } from '../src/source.ts'
import { at } from '../src/json.ts'
import { tree } from './file-tree.ts'

const signal = (): AbortSignal => AbortSignal.timeout(60_000)

/** Some 2 MB. The entries before `changed` decide where it stands. */
function text(version: number, count: number): string {
  const rules = Array.from({ length: count }, (_, i) => ({ id: `r${i}`, note: 'x'.repeat(1000), version: 0 }))
  rules[count >> 1] = { id: 'changed', note: 'y'.repeat(version * 10), version }
  return JSON.stringify({ version, rules }, undefined, version % 3 === 2 ? 1 : 0)
}

function lineOf(document: Document, version: number, count: number): [number | undefined, number] {
  const path = ['rules', count >> 1, 'version']
  expect(at(document.config, path)).toBe(version)
  const written = text(version, count)
  const offset = document.origin?.(path)?.offset
  return [offset, written.indexOf('"version"', written.indexOf('"changed"')) + (version % 3 === 2 ? 11 : 10)]
}

test('large files: config and origins are those of each text, whatever was read before', async () => {
  const dir = await tree({ 'a.json': text(0, 2000) })
  const source = dir.source('a.json')
  const documents: Document[] = []
  for (let version = 0; version < 12; version++) {
    const count = 2000 + (version % 5) * 40 - (version === 8 ? 1500 : 0)
    await dir.write({ 'a.json': text(version, count) })
    const document = await source.load(signal())
    documents.push(document)
    const [found, wanted] = lineOf(document, version, count)
    expect(found).toBe(wanted)
    if (version % 4 === 1) {
      await dir.write({ 'a.json': `${text(version, count)}]` })
      await expect(source.load(signal())).rejects.toThrow('a.json')
      expect(lineOf(document, version, count)[0]).toBe(wanted)
    }
    if (version % 4 === 3) {
      await dir.write({ 'a.json': text(version, count) })
      expect((await source.load(signal())).config).toBe(document.config)
      expect(lineOf(document, version, count)[0]).toBe(wanted)
    }
  }
  // Of the documents before the last, those that gave their memory away know no place; none knows a wrong one.
  for (const [version, document] of documents.entries()) {
    const count = 2000 + (version % 5) * 40 - (version === 8 ? 1500 : 0)
    const [found, wanted] = lineOf(document, version, count)
    expect([wanted, undefined]).toContain(found)
  }
})

test('large files: loads at the same time do not read into each other', async () => {
  const dir = await tree({ 'a.json': text(0, 2000) })
  const source = dir.source('a.json')
  for (let version = 0; version < 6; version++) {
    await dir.write({ 'a.json': text(version, 2000 + version) })
    const loads = await Promise.all([source.load(signal()), source.load(signal()), source.load(signal())])
    for (const document of loads) {
      expect(document.config).toEqual(JSON.parse(text(version, 2000 + version)))
      const [found, wanted] = lineOf(document, version, 2000 + version)
      expect([wanted, undefined]).toContain(found)
    }
  }
})

test('large files: a load that is given up while it reads leaves nothing behind for the next one', async () => {
  const dir = await tree({ 'a.json': text(0, 6000) })
  const source = dir.source('a.json')
  for (let version = 0; version < 8; version++) {
    await dir.write({ 'a.json': text(version, 6000) })
    const giveUp = new AbortController()
    const lost = source.load(giveUp.signal).then(
      () => undefined,
      () => undefined,
    )
    await new Promise((resolve) => setImmediate(resolve))
    giveUp.abort(new Error('given up'))
    const document = await source.load(signal())
    await lost
    expect(document.config).toEqual(JSON.parse(text(version, 6000)))
  }
})
