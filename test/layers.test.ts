/**
 * Holds the map of ARCHITECTURE.md: each forbidden import stands here with its why. To allow one, change the table and
 * say why there. How imports are read is in `imports.ts`.
 */
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { cycles, importsOf, packageOf, readPackages, readSources } from './imports.ts'
import type { Import, Package, SourceFile } from './imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const engine = 'packages/engine/src/'

/** What everything else is written against: shapes, and next to no code. */
const interfaces = ['json', 'issue', 'source', 'trigger', 'outcome', 'event', 'status', 'component'].map(
  (name) => `${engine}${name}.ts`,
)
const core = ['plan', 'diff', 'schema', 'snapshot', 'journal'].map((name) => `${engine}${name}.ts`)

/** What everybody needs, and that itself stands on next to nothing: it knows no door, and nothing of the engine. */
const below = ['credentials', 'deadline', 'http-request', 'optional', 'range'].map((name) => `${engine}${name}.ts`)

/** What several doors need besides. */
const besideDoors = [...below, ...['debounce', 'triggers/access'].map((name) => `${engine}${name}.ts`)]

/** What watching over a process and its directory takes, in the fleet and beside a program that is not ours. */
const besidePrograms = ['agent/lock', 'agent/probe-check', 'command'].map((name) => `${engine}${name}.ts`)

/** What sources of servers are made with: their own files say only how their server speaks. */
const ofSources = ['watching', 'watching/joined', 'watching/pace', 'watching/request', 'watching/sockets'].map(
  (name) => `${engine}sources/${name}.ts`,
)

/** What the protocol stands on: pure, and without node: modules. */
const browserSafe = ['json', 'issue', 'canonical', 'check', 'outcome'].map((name) => `${engine}${name}.ts`)

/** Ideas that fill more than one file; the others import them through this one. */
const doorsOfOneIdea = ['diff', 'entries', 'patch', 'snapshot', 'schema', 'text/parse', 'sources/file/watch'].map(
  (name) => `${engine}${name}.ts`,
)

/** The part of targets that is pure. */
const pureTargets = ['targets', 'node-directory', 'diff', 'secrets', 'deployment'].map(
  (name) => `packages/control-plane/src/targets/${name}.ts`,
)

interface Rule {
  readonly name: string
  readonly why: string
  forbids(edge: Import, packages: readonly Package[]): boolean
}

const rules: readonly Rule[] = [
  {
    name: 'the engine imports no other package of the workspace',
    why: 'a program embeds it by itself; cli → control-plane → engine, never back',
    forbids: ({ from, to }) => from.startsWith(engine) && isOurs(to) && !to.startsWith('packages/engine/'),
  },
  {
    name: 'the control plane does not import the command line',
    why: 'the command line is one of its users',
    forbids: ({ from, to }) => from.startsWith('packages/control-plane/') && to.startsWith('packages/cli/'),
  },
  {
    name: 'nothing imports an example',
    why: 'examples are there to be copied and thrown away',
    forbids: ({ from, to }) => to.startsWith('examples/') && folderOf(from) !== folderOf(to),
  },
  {
    name: 'a package is entered through its exports only',
    why: 'what is not exported may change at any time, and is not there under this path once published',
    forbids: ({ from, to, specifier }) => specifier.startsWith('.') && folderOf(from) !== folderOf(to),
  },
  {
    name: 'a package does not import itself by name',
    why: 'inside, its barrel ties everything to everything, and with it come circles',
    forbids: ({ from, to, specifier }) => !specifier.startsWith('.') && isOurs(to) && folderOf(from) === folderOf(to),
  },
  {
    name: 'nothing imports what was built',
    why: 'dist is absent on a fresh clone and stale after an edit',
    forbids: ({ to }) => isOurs(to) && to.includes('/dist/'),
  },
  {
    name: 'nothing outside testing/ imports testing/',
    why: 'test doubles and conformance suites must not run in production',
    forbids: ({ from, to }) => to.includes('/src/testing/') && !from.includes('/src/testing/'),
  },
  {
    name: 'engine.ts is imported by the barrel and the agent only',
    why: 'engine.ts puts the parts together; a part that knows the whole can call it in the middle of a reload',
    forbids: ({ from, to }) =>
      to === `${engine}engine.ts` && !new RegExp(`^${engine}(index\\.ts|agent/|testing/)`).test(from),
  },
  {
    name: 'reload.ts is used by engine.ts, first.ts and examine.ts only',
    why: 'one place runs reloads, one at a time; the first is one of them, and examine.ts stops before any component',
    forbids: ({ from, to, kind }) =>
      to === `${engine}reload.ts` &&
      !['engine', 'first', 'examine'].some((name) => from === `${engine}${name}.ts`) &&
      !(['options', 'support'].some((name) => from === `${engine}${name}.ts`) && kind === 'type'),
  },
  {
    name: 'plan, diff, schema, snapshot and journal do not import sources or triggers',
    why: 'they decide on values, wherever those came from and whoever asked',
    forbids: ({ from, to }) => core.includes(from) && /\/src\/(sources|triggers|text)\//.test(to),
  },
  {
    name: 'interface files import interface files only, and others as types',
    why: 'everyone imports them, so what they import everyone carries',
    forbids: ({ from, to, kind }) => interfaces.includes(from) && !interfaces.includes(to) && kind !== 'type',
  },
  {
    name: 'what is below all imports only itself',
    why: 'sources, writers, buses, the agent and programs stand on it; what it knows of one of them, all would carry',
    forbids: ({ from, to, kind }) =>
      [...below, `${engine}command.ts`].includes(from) && isOurs(to) && kind !== 'type' && !below.includes(to),
  },
  {
    name: 'a source or trigger imports interface files, text/ and its own folder only',
    why: 'sources hold no policy and triggers carry no data; each must be replaceable by one from outside',
    forbids: ({ from, to }) => {
      const door = new RegExp(`^${engine}((?:sources|triggers)/[\\w-]+)`).exec(from)?.[1]
      if (!door || !to.startsWith(engine)) return false
      const own = to === `${engine}${door}.ts` || to.startsWith(`${engine}${door}/`)
      const besides = interfaces.includes(to) || to.startsWith(`${engine}text/`) || besideDoors.includes(to)
      if (from.startsWith(`${engine}sources/`) && ofSources.includes(to)) return false
      return !own && !besides
    },
  },
  {
    name: 'program/ stands on interface files and small parts that know nothing of the engine; nothing stands on it',
    why: 'it is a component like one from outside: what it needs, others can have too',
    forbids: ({ from, to }) => {
      const inside = (path: string) => path.startsWith(`${engine}program/`)
      if (!from.startsWith(engine) || !to.startsWith(engine) || inside(from) === inside(to)) return false
      return inside(to) || !(interfaces.includes(to) || besideDoors.includes(to) || besidePrograms.includes(to))
    },
  },
  {
    name: 'a writer imports its contract, how writers call, and the client of the source of its name only',
    why: 'a writer says how its store takes a value; whether there is one to write is put-if-changed.ts, and knows no store',
    forbids: ({ from, to }) => {
      const name = new RegExp(`^${engine}writers/([\\w-]+)\\.ts$`).exec(from)?.[1]
      if (!name || name === 'put-if-changed' || !to.startsWith(engine)) return false
      const own = new RegExp(`^${engine}sources/${name}(\\.ts$|/)`).test(to)
      const besides = ['writers/writer', 'writers/calling', 'whole-file'].map((one) => `${engine}${one}.ts`)
      return !own && !besides.includes(to) && !ofSources.includes(to) && !below.includes(to)
    },
  },
  {
    name: 'put-if-changed.ts knows no store',
    why: 'what is written, and what a lost race means, is the same everywhere',
    forbids: ({ from, to }) => from === `${engine}writers/put-if-changed.ts` && to.startsWith(`${engine}sources/`),
  },
  {
    name: 'a bus imports bus.ts, the client of the source of its name and what is below only, and others as types',
    why: 'it carries bytes for both ends: what they mean is not its business; how its server is reached is said once',
    forbids: ({ from, to, kind }) => {
      const name = new RegExp(`^${engine}buses/([\\w-]+)\\.ts$`).exec(from)?.[1]
      if (!name || kind === 'type' || !to.startsWith(engine)) return false
      const isOwn = to === `${engine}buses/bus.ts` || to.startsWith(`${engine}sources/${name}/`)
      return !isOwn && !below.includes(to)
    },
  },
  {
    name: 'text/ imports json.ts, issue.ts and source.ts only',
    why: 'a parser turns text into values with places; what they mean is not its business',
    forbids: ({ from, to }) =>
      from.startsWith(`${engine}text/`) &&
      to.startsWith(engine) &&
      !to.startsWith(`${engine}text/`) &&
      ![`${engine}json.ts`, `${engine}issue.ts`, `${engine}source.ts`].includes(to),
  },
  {
    name: 'protocol/ imports only itself and pure files',
    why: 'it runs in browsers too, which have no node: modules, and in whatever speaks to a control plane',
    forbids: ({ from, to, kind }) =>
      from.startsWith(`${engine}protocol/`) &&
      kind !== 'type' &&
      !to.startsWith(`${engine}protocol/`) &&
      !browserSafe.includes(to),
  },
  {
    name: 'browser-safe files import only each other',
    why: 'protocol/ is only as safe for a browser as what it stands on',
    forbids: ({ from, to, kind }) => browserSafe.includes(from) && kind !== 'type' && !browserSafe.includes(to),
  },
  {
    name: 'what targets mean, and what a deployment may do next, is worked out without the store and the outside',
    why: 'a plan of 10,000 nodes and a crash at any step can be tried out only where nothing else is needed',
    forbids: ({ from, to, kind }) =>
      pureTargets.includes(from) &&
      kind !== 'type' &&
      isOurs(to) &&
      !pureTargets.includes(to) &&
      !to.startsWith(engine),
  },
  {
    name: 'the engine imports only node: and js-yaml at start',
    why: 'who embeds it pays for what it uses; optional peers come with await import() when first used',
    forbids: ({ from, to, kind }) =>
      from.startsWith(engine) && kind === 'value' && !isOurs(to) && !to.startsWith('node:') && to !== 'js-yaml',
  },
  {
    name: 'a package imports only what its package.json names',
    why: 'in the workspace all packages lie in one node_modules; installed by itself it would not find the others',
    forbids: ({ from, to, kind }, packages) => {
      const owner = packages.find(({ folder }) => from.startsWith(`${folder}/`))
      if (!owner || to.startsWith('node:') || to.startsWith(`${owner.folder}/`)) return false
      const name = packages.find(({ folder }) => to.startsWith(`${folder}/`))?.name ?? packageOf(to)
      if (owner.dependencies.includes(name)) return false
      return kind === 'value' || !owner.optionalPeers.includes(name)
    },
  },
  {
    name: 'only a package export, or the door of one idea, re-exports',
    why: 'a barrel in the middle hides who uses what, and loads all for one',
    forbids: ({ from, reexport }, packages) => reexport && !isEntry(from, packages) && !doorsOfOneIdea.includes(from),
  },
  {
    name: 'a barrel is for those outside',
    why: 'inside a package it makes circles',
    forbids: ({ from, to }) => to.endsWith('/index.ts') && folderOf(from) === folderOf(to),
  },
]

const linesAtMost = 400
const nameless = /(^|[-/])(utils?|helpers?|common|shared|misc|managers?|handlers?)([-./]|$)/i

function isOurs(path: string): boolean {
  return /^(packages|examples)\//.test(path)
}

function folderOf(path: string): string {
  return path.split('/').slice(0, 2).join('/')
}

function isEntry(path: string, packages: readonly Package[]): boolean {
  return packages.some(({ entries }) =>
    [...entries.values()].some((entry) => {
      const [head = '', tail] = entry.split('*')
      if (tail === undefined) return entry === path
      return path.startsWith(head) && path.endsWith(tail) && !path.slice(head.length).includes('/')
    }),
  )
}

function violations(rule: Rule, files: readonly SourceFile[], packages: readonly Package[]): string[] {
  return files
    .flatMap((file) => importsOf(file, packages))
    .filter((edge) => rule.forbids(edge, packages))
    .map((edge) => `${edge.from} imports ${edge.specifier}`)
}

const packages = readPackages(root)
const files = readSources(root, packages)

describe('who may import whom', () => {
  test.each(rules)('$name: $why', (rule) => {
    expect(violations(rule, files, packages)).toEqual([])
  })

  test('no circles', () => {
    expect(cycles(files.flatMap((file) => importsOf(file, packages))).map((path) => path.join(' → '))).toEqual([])
  })

  test('no import of a file that is not there', () => {
    const paths = new Set(files.map(({ path }) => path))
    const lost = files
      .flatMap((file) => importsOf(file, packages))
      .filter(({ to }) => /^(packages|examples)\/[^/]+\/src\//.test(to) && !paths.has(to))
    expect(lost.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([])
  })
})

describe('files', () => {
  test(`no file has more than ${linesAtMost} lines: past that it has become two rooms`, () => {
    expect(files.filter(({ text }) => lineCount(text) > linesAtMost).map(({ path }) => path)).toEqual([])
  })

  test('no file is named after nothing: such names collect everything', () => {
    expect(files.map(({ path }) => path).filter((path) => nameless.test(path))).toEqual([])
  })

  test('each file says at its top what it is for', () => {
    expect(files.filter(({ text }) => !/^(#!.*\n)?\/(\*\*|\/ )/.test(text)).map(({ path }) => path)).toEqual([])
  })
})

function lineCount(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
}

describe('the rules themselves', () => {
  const made: readonly Package[] = [
    {
      name: 'midflight',
      folder: 'packages/engine',
      entries: new Map([
        ['.', `${engine}index.ts`],
        ['./sources/*', `${engine}sources/*.ts`],
      ]),
      dependencies: ['js-yaml'],
      optionalPeers: ['ajv'],
    },
    {
      name: '@midflight/cli',
      folder: 'packages/cli',
      entries: new Map(),
      dependencies: ['midflight'],
      optionalPeers: [],
    },
  ]

  /** For each rule one line of code that breaks it. */
  const broken: Readonly<Record<string, readonly [path: string, line: string]>> = {
    'the engine imports no other package of the workspace': [`${engine}plan.ts`, `import '../../cli/src/main.ts'`],
    'the control plane does not import the command line': [
      'packages/control-plane/src/store.ts',
      `import { main } from '../../cli/src/main.ts'`,
    ],
    'nothing imports an example': [`${engine}plan.ts`, `import { x } from '../../../examples/gateway/src/x.ts'`],
    'a package is entered through its exports only': [
      'packages/cli/src/main.ts',
      `import { diff } from '../../engine/src/diff.ts'`,
    ],
    'a package does not import itself by name': [`${engine}plan.ts`, `import { file } from 'midflight/sources/file'`],
    'nothing imports what was built': ['packages/cli/src/main.ts', `import { x } from '../dist/x.js'`],
    'nothing outside testing/ imports testing/': [
      `${engine}plan.ts`,
      `import { scripted } from './testing/scripted.ts'`,
    ],
    'engine.ts is imported by the barrel and the agent only': [
      `${engine}triggers/signal.ts`,
      `import {\n  start,\n  type Engine,\n} from '../engine.ts'`,
    ],
    'reload.ts is used by engine.ts, first.ts and examine.ts only': [
      `${engine}plan.ts`,
      `import type { Run } from './reload.ts'`,
    ],
    'plan, diff, schema, snapshot and journal do not import sources or triggers': [
      `${engine}schema.ts`,
      `import { file } from './sources/file.ts'`,
    ],
    'interface files import interface files only, and others as types': [
      `${engine}event.ts`,
      `import { diff } from './diff.ts'`,
    ],
    'what is below all imports only itself': [
      `${engine}http-request.ts`,
      `import { FollowError } from './sources/watching.ts'`,
    ],
    'a source or trigger imports interface files, text/ and its own folder only': [
      `${engine}sources/file/watch.ts`,
      `import { other } from '../etcd.ts'`,
    ],
    'program/ stands on interface files and small parts that know nothing of the engine; nothing stands on it': [
      `${engine}program/work.ts`,
      `import { diff } from '../diff.ts'`,
    ],
    'a writer imports its contract, how writers call, and the client of the source of its name only': [
      `${engine}writers/etcd.ts`,
      `import { apiUrl } from '../sources/consul/url.ts'`,
    ],
    'put-if-changed.ts knows no store': [
      `${engine}writers/put-if-changed.ts`,
      `import { FollowError } from '../sources/watching.ts'`,
    ],
    'a bus imports bus.ts, the client of the source of its name and what is below only, and others as types': [
      `${engine}buses/nats.ts`,
      `import { unseal } from '../protocol/bus.ts'`,
    ],
    'text/ imports json.ts, issue.ts and source.ts only': [
      `${engine}text/yaml.ts`,
      `import { file } from '../sources/file.ts'`,
    ],
    'protocol/ imports only itself and pure files': [
      `${engine}protocol/release.ts`,
      `import { digest } from '../digest.ts'`,
    ],
    'browser-safe files import only each other': [`${engine}canonical.ts`, `import { hash } from 'node:crypto'`],
    'what targets mean, and what a deployment may do next, is worked out without the store and the outside': [
      'packages/control-plane/src/targets/diff.ts',
      `import { domainOf } from '../domain.ts'`,
    ],
    'the engine imports only node: and js-yaml at start': [`${engine}json-schema.ts`, `import { Ajv } from 'ajv'`],
    'a package imports only what its package.json names': [
      'packages/cli/src/main.ts',
      `const { default: chalk } = await import('chalk')`,
    ],
    'only a package export, or the door of one idea, re-exports': [
      `${engine}sources/file/all.ts`,
      `export * from './watch.ts'`,
    ],
    'a barrel is for those outside': [`${engine}plan.ts`, `import { start } from './index.ts'`],
  }

  test.each(rules)('$name: is noticed when broken', (rule) => {
    const [path, text] = broken[rule.name] ?? []
    if (path === undefined || text === undefined) throw new Error('give this rule a line that breaks it')
    expect(violations(rule, [{ path, text }], made)).toHaveLength(1)
  })

  test('each accepts the imports that the architecture draws', () => {
    const drawn: SourceFile[] = [
      {
        path: `${engine}engine.ts`,
        text: `import { reload } from './reload.ts'\nimport { Journal } from './journal.ts'\nimport { on } from 'node:events'`,
      },
      {
        path: `${engine}reload.ts`,
        text: `import { plan } from './plan.ts'\nimport type { Source } from './source.ts'`,
      },
      {
        path: `${engine}component.ts`,
        text: `import type { Change } from './diff.ts'\nimport type { Json } from './json.ts'`,
      },
      { path: `${engine}json-schema.ts`, text: `const { Ajv } = await import('ajv')` },
      { path: `${engine}text/yaml.ts`, text: `import { load } from 'js-yaml'\nimport { issue } from '../issue.ts'` },
      {
        path: `${engine}sources/file.ts`,
        text: `import { SourceError } from '../source.ts'\nimport { watch } from './file/watch.ts'\nimport { parseYaml } from '../text/yaml.ts'`,
      },
      { path: `${engine}index.ts`, text: `export { start } from './engine.ts'\n * import { x } from './dist/x.js'` },
      { path: 'packages/cli/src/main.ts', text: `import { diff } from 'midflight'` },
    ]
    expect(rules.flatMap((rule) => violations(rule, drawn, made))).toEqual([])
  })

  test('a circle is found, also one through types', () => {
    const text = (to: string) => `import type { X } from './${to}.ts'`
    const ring = ['a', 'b', 'c'].map((name, i) => ({ path: `${engine}${name}.ts`, text: text('bca'.charAt(i)) }))
    expect(cycles(ring.flatMap((file) => importsOf(file, made)))).toHaveLength(1)
  })

  test('names that say nothing are found', () => {
    for (const name of ['utils.ts', 'http-helper.ts', 'common/x.ts', 'reload-manager.ts']) {
      expect(nameless.test(`${engine}${name}`), name).toBe(true)
    }
    for (const name of ['sharing.ts', 'utility-bill.ts', 'handled.ts']) {
      expect(nameless.test(`${engine}${name}`), name).toBe(false)
    }
  })
})
