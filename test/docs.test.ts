/** The guide says what is so: its TypeScript compiles, its programs print what it shows. How a page runs is `documents.ts`. */
import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { blocksOf, runPage, type Block } from './documents.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
/** The repository's Node first. */
const searchPath = [join(root, 'node_modules', '.bin'), process.env['PATH']].join(delimiter)
const runFile = promisify(execFile)

/** What fragments with imports leave out: they show one thing, and stand on a page that has said the rest. */
const assumed: Readonly<Record<string, string>> = {
  schema: `declare const schema: import('midflight').JsonSchema<any>`,
  components: `declare const components: import('midflight').Component[]`,
  logger: `declare const logger: { setLevel(level: string): void }`,
  onSignal: `import { onSignal } from 'midflight/triggers/signal'`,
  Trigger: `import type { Trigger } from 'midflight'`,
}

const pages = ['README.md', ...['docs', 'docs/coming-from', 'docs/sources'].flatMap(pagesIn)]
  .filter((page) => page.endsWith('.md') && readable(page))
  .map((page) => ({ page, blocks: blocksOf(readFileSync(join(root, page), 'utf8')) }))

const made = mkdtempSync(join(tmpdir(), 'midflight-docs-'))
symlinkSync(join(root, 'node_modules'), join(made, 'node_modules'))
writeFileSync(join(made, 'package.json'), '{ "type": "module" }')
afterAll(() => {
  unlinkSync(join(made, 'node_modules'))
  rmSync(made, { recursive: true })
})

test('every TypeScript block with an import compiles', async () => {
  const checked = join(made, 'checked')
  for (const { page, blocks } of pages) {
    for (const block of blocks.filter(isChecked)) {
      const path = join(checked, nameOf(page), block.file)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, block.role === 'fragment' ? wholeOf(block) : `${block.text}export {}\n`)
    }
  }
  writeFileSync(
    join(made, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.base.json'),
      compilerOptions: { composite: false, declaration: false, noEmit: true, allowImportingTsExtensions: true },
      include: ['checked/**/*.ts'],
    }),
  )
  const said = await runFile(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', made]).then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  // The packages' own code has a check of its own (`npm run types`).
  expect(said.replace(/^packages\/.*\n(?: .*\n)*/gm, '')).toBe('')
})

describe.concurrent('programs print what the page shows', () => {
  for (const { page, blocks } of pages.filter(({ blocks }) => blocks.some(isRun))) {
    const missing = programsOf(blocks).filter((program) => !has(program))
    const why = missing.length > 0 ? ` (skipped: ${missing.join(', ')} is not installed)` : ''
    test.skipIf(missing.length > 0)(`${page}${why}`, { timeout: 120_000 }, async () => {
      const directory = join(made, 'run', nameOf(page))
      mkdirSync(directory, { recursive: true })
      await runPage(blocks, directory, { PATH: searchPath, NODE_COMPILE_CACHE: join(made, 'compiled') })
    })
  }
})

test.skipIf(!has('promtool'))('promtool accepts the alert rules (skipped: promtool is not installed)', async () => {
  const rules = pages.flatMap(({ blocks }) => blocks.filter((block) => block.file.endsWith('.rules.yaml')))
  expect(rules).not.toEqual([])
  for (const [i, { text }] of rules.entries()) {
    writeFileSync(join(made, `${i}.rules.yaml`), text)
    const { stdout } = await runFile('promtool', ['check', 'rules', join(made, `${i}.rules.yaml`)])
    expect(stdout).toContain('SUCCESS')
  }
})

test('links between the pages lead somewhere, to headings too', () => {
  const dead: string[] = []
  for (const { page } of pages) {
    const text = readFileSync(join(root, page), 'utf8')
    for (const [link, target = '', heading] of text.matchAll(/\]\(([^)#\s]*)(?:#([^)]*))?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const path = target === '' ? page : join(dirname(page), target)
      if (!readable(path) || (heading !== undefined && !headingsOf(path).has(heading))) dead.push(`${page}: ${link}`)
    }
  }
  expect(dead).toEqual([])
})

function pagesIn(folder: string): readonly string[] {
  return readdirSync(join(root, folder)).map((name) => join(folder, name))
}

/** As GitHub makes anchors of them. */
function headingsOf(page: string): ReadonlySet<string> {
  const titles = readFileSync(join(root, page), 'utf8').matchAll(/^#+ (.*)$/gm)
  return new Set(
    [...titles].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

function isChecked(block: Block): boolean {
  if (block.language !== 'ts') return false
  return block.role !== 'fragment' || /^import /m.test(block.text)
}

function isRun({ role }: Block): boolean {
  return role === 'run' || role === 'session'
}

/** On the first line goes what it leaves out; options that stand alone become an object. */
function wholeOf({ text }: Block): string {
  const missing = Object.entries(assumed)
    .filter(([name]) => new RegExp(`\\b${name}\\b`).test(text) && !new RegExp(`(const|import.*) ${name}\\b`).test(text))
    .map(([, declaration]) => `${declaration};`)
    .join('')
  const [, imports = '', rest = ''] = /^((?:import .*\n|\n)*)([^]*)$/.exec(text) ?? []
  return `${missing}${imports}${/^\w+: /.test(rest) ? `void {\n${rest}}\n` : rest}`
}

/** What its shell blocks need that a machine may not have. */
function programsOf(blocks: readonly Block[]): readonly string[] {
  const shell = blocks.filter((block) => block.language === 'sh' && isRun(block)).map((block) => block.text)
  if (shell.length === 0) return []
  return ['bash', ...(shell.some((text) => text.includes('curl ')) ? ['curl'] : [])]
}

function has(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)))
}

function nameOf(page: string): string {
  return page.replace(/\W/g, '-')
}

function readable(path: string): boolean {
  try {
    readFileSync(join(root, path))
    return true
  } catch (error) {
    // A link may lead to a directory.
    return (error as NodeJS.ErrnoException).code === 'EISDIR'
  }
}
