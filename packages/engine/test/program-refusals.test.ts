/** What a sidecar must not be brought to do: paths, links, templates, commands. Each attempt is refused, and says so. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import type { Json } from '../src/index.ts'
import { program, type FileOptions, type ProgramOptions } from '../src/program/index.ts'
import { processAt } from '../src/program/processes.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import { closeEngines, engineOf, leftIn, tree, until } from './program-rig.ts'

const withoutDescriptor = fileURLToPath(new URL('programs/program-no-descriptor.ts', import.meta.url))
const made: string[] = []
const asRoot = process.geteuid?.() === 0
const onlyRoot = asRoot ? '' : ' (skipped: only root can give files away)'

afterEach(async () => {
  await closeEngines()
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true })
})

function place(files: Readonly<Record<string, string>> = {}): string {
  const directory = tree(files)
  made.push(directory)
  return directory
}

const one: FileOptions = { path: 'a.conf', from: 'text', as: 'raw' }

/** What comes of a configuration for a program that is files only. */
async function outcomeOf(
  options: Partial<ProgramOptions> & { readonly directory: string },
  config: Record<string, Json>,
) {
  const rig = await engineOf([program({ name: 'p', files: [one], ...options })], config, {})
  return rig.engine.status().lastOutcome
}

const refused = (options: Partial<ProgramOptions> & { readonly directory: string }, config: Record<string, Json>) =>
  outcomeOf(options, config).then(
    () => 'it was taken',
    (error: Error) => error.message,
  )

describe('paths', () => {
  test.for([
    '../a.conf',
    'sub/../../a.conf',
    '/etc/passwd',
    './a.conf',
    'a//b',
    'a\0b',
    '',
    '..',
    'sub/',
    '.midflight-p/swap.json',
    '{staged}',
  ])('a file %j that is not below its directory is refused at once', (path) => {
    expect(() => program({ name: 'p', directory: '/etc/p', files: [{ ...one, path }] })).toThrow(
      /want one such as|placeholders/,
    )
  })

  test.for(['etc', '/', '/etc/../etc', '/etc/', 'a\0', ''])('a directory %j is refused at once', (directory) => {
    expect(() => program({ name: 'p', directory, files: [one] })).toThrow('want an absolute path')
  })

  test('names and contents of the configuration never become paths', async () => {
    const directory = place()
    const text = '../../../../tmp/x\n/etc/passwd\n'
    await outcomeOf({ directory }, { text, '../evil.conf': 'x', '/tmp/evil': 'y' })
    expect(leftIn(directory)).toEqual(['a.conf'])
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe(text)
  })

  test('the same file twice, a mode beyond permission bits, an unknown format, a template without end: refused at once', () => {
    const of = (...files: unknown[]) => program({ name: 'p', directory: '/etc/p', files: files as FileOptions[] })
    expect(() => of(one, one)).toThrow('is there twice')
    expect(() => of({ ...one, mode: 0o4755 })).toThrow('want permission bits')
    expect(() => of({ ...one, as: 'xml' })).toThrow('want raw, json, yaml')
    const long = '{'.repeat(1_000_001)
    expect(() => of({ path: 'a', template: long })).toThrow(
      'has a template of 1,000,001 characters; want at most 1,000,000',
    )
    expect(() => program({ name: '../p', directory: '/etc/p', files: [one] })).toThrow('want 1 to 64 letters')
  })
})

describe('links', () => {
  test('a symbolic link in the place of a file is not written through', async () => {
    const outside = place({ 'secret.conf': 'theirs' })
    const directory = place()
    symlinkSync(join(outside, 'secret.conf'), join(directory, 'a.conf'))
    expect(await refused({ directory }, { text: 'ours' })).toContain('is a symbolic link; want a file')
    expect(readFileSync(join(outside, 'secret.conf'), 'utf8')).toBe('theirs')
    expect(leftIn(directory)).toEqual(['a.conf'])
  })

  test.for(['to a directory', 'that leads nowhere'])('a symbolic link %s on the way is not followed', async (kind) => {
    const outside = place()
    const directory = place()
    symlinkSync(kind === 'to a directory' ? outside : '/nowhere/at/all', join(directory, 'sub'))
    const message = await refused({ directory, files: [{ ...one, path: 'sub/a.conf' }] }, { text: 'ours' })
    expect(message).toContain('sub is a symbolic link')
    expect(leftIn(outside)).toEqual([])
  })

  test('a directory that is reached by a symbolic link is refused', async () => {
    const real = place({ 'd/x': '' })
    const link = join(place(), 'link')
    symlinkSync(join(real, 'd'), link)
    expect(await refused({ directory: link }, { text: 'ours' })).toContain('is a symbolic link')
  })

  test('a work directory that another has put there is refused', async () => {
    const outside = place()
    const directory = place()
    symlinkSync(outside, join(directory, '.midflight-p'))
    expect(await refused({ directory }, { text: 'ours' })).toContain('want it removed')
    rmSync(join(directory, '.midflight-p'))
    mkdirSync(join(directory, '.midflight-p'))
    chmodSync(join(directory, '.midflight-p'), 0o777)
    expect(await refused({ directory }, { text: 'ours' })).toContain('want it removed')
    expect(leftIn(outside)).toEqual([])
  })

  test('a file with a second name elsewhere is replaced, and what has the other name stays as it was', async () => {
    const outside = place({ theirs: 'theirs' })
    const directory = place()
    linkSync(join(outside, 'theirs'), join(directory, 'a.conf'))
    await outcomeOf({ directory }, { text: 'ours' })
    expect(readFileSync(join(outside, 'theirs'), 'utf8')).toBe('theirs')
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('ours')
  })

  test('a directory, or a pipe, in the place of a file is refused', async () => {
    const directory = place({ 'a.conf/x': '' })
    expect(await refused({ directory }, { text: 'ours' })).toContain('is no regular file')
  })
})

describe('who else may write', () => {
  test('a directory that others may write to is refused, unless they are trusted', async () => {
    const directory = place()
    chmodSync(directory, 0o777)
    expect(await refused({ directory }, { text: 'ours' })).toContain('can be written to by others (mode 777)')
    expect(leftIn(directory)).toEqual([])
    await outcomeOf({ directory, othersMayWrite: true }, { text: 'ours' })
    expect(leftIn(directory)).toEqual(['a.conf'])
  })

  test('one on the way to it too, also where those who may write to it are trusted', async () => {
    const above = place({ 'd/x': '' })
    chmodSync(above, 0o777)
    const options = { directory: join(above, 'd'), othersMayWrite: true }
    expect(await refused(options, { text: 'ours' })).toContain(`${above} can be written to by others`)
  })

  test.skipIf(!asRoot)(`a directory of another user is refused${onlyRoot}`, async () => {
    const directory = place()
    chownSync(directory, 12345, 12345)
    expect(await refused({ directory }, { text: 'ours' })).toContain('belongs to user 12345')
  })

  test('a second one for the same name and directory is refused while the first lives', async () => {
    const directory = place()
    await outcomeOf({ directory }, { text: 'first' })
    expect(await refused({ directory }, { text: 'second' })).toContain(`looks after ${directory}`)
    await closeEngines()
    await outcomeOf({ directory }, { text: 'third' })
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('third')
  })
})

describe('mode and owner', () => {
  test('a new file is closed to others; one that is replaced keeps its mode; what is said counts', async () => {
    const directory = place({ 'b.conf': 'old', 'c.conf': 'old' })
    chmodSync(join(directory, 'b.conf'), 0o604)
    const files: FileOptions[] = [one, { ...one, path: 'b.conf' }, { ...one, path: 'c.conf', mode: 0o600 }]
    await outcomeOf({ directory, files }, { text: 'new' })
    const modes = ['a.conf', 'b.conf', 'c.conf'].map((name) =>
      (statSync(join(directory, name)).mode & 0o777).toString(8),
    )
    expect(modes).toEqual(['640', '604', '600'])
  })

  test('a mode that is not what was said is a change', async () => {
    const directory = place({ 'a.conf': 'same' })
    chmodSync(join(directory, 'a.conf'), 0o666)
    await outcomeOf({ directory, files: [{ ...one, mode: 0o640 }] }, { text: 'same' })
    expect(statSync(join(directory, 'a.conf')).mode & 0o777).toBe(0o640)
  })

  test.skipIf(!asRoot)(`a file is given to whom it was said, and comes back to whom it was${onlyRoot}`, async () => {
    const directory = place({ 'a.conf': 'old' })
    chownSync(join(directory, 'a.conf'), 2001, 2002)
    const rig = await engineOf([program({ name: 'p', directory, files: [one] })], { text: 'new' })
    expect(statSync(join(directory, 'a.conf'))).toMatchObject({ uid: 2001, gid: 2002 })
    await rig.engine.close()
    await outcomeOf({ directory, files: [{ ...one, uid: 2003, gid: 2004 }] }, { text: 'newer' })
    expect(statSync(join(directory, 'a.conf'))).toMatchObject({ uid: 2003, gid: 2004 })
  })
})

describe('commands', () => {
  const evil = '$(touch evil); `touch evil`; touch evil | touch evil & {file:a.conf} {staged}\n'

  test('values and contents never become arguments, and no shell reads what does', async () => {
    const directory = place()
    const check = [
      '/bin/sh',
      '-c',
      'printf "%s\\n" "$@" > "$0"',
      `${directory}/said`,
      '$(touch evil)',
      '; touch evil',
      '{file:a.conf}',
    ] as const
    await outcomeOf({ directory, check }, { text: evil, '{file:a.conf}': evil })
    const said = readFileSync(join(directory, 'said'), 'utf8')
    expect(said).toBe(`$(touch evil)\n; touch evil\n${directory}/.midflight-p/new/a.conf\n`)
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe(evil)
    expect(leftIn(directory)).toEqual(['a.conf', 'said'])
  })

  test('a placeholder for a file that is not one of its own, and a command that is none, are refused at once', () => {
    const of = (options: object) => program({ name: 'p', directory: '/etc/p', files: [one], ...options })
    expect(() => of({ check: ['nginx', '{file:../x}'] })).toThrow('check has {file:../x}')
    expect(() => of({ check: 'nginx -t' })).toThrow('check is no command')
    expect(() => of({ check: [''] })).toThrow('check is no command')
    expect(() => of({ reload: { command: ['a\0b'] } })).toThrow('reload.command is no command')
    expect(() => of({ reload: { signal: 'HUP', pidFile: '/p' } })).toThrow('want one such as SIGHUP')
    expect(() => of({ reload: { signal: 'SIGHUP', pidFile: 'p' } })).toThrow('no absolute path')
    expect(() => of({ reload: { http: { url: 'file:///etc' } } })).toThrow('want http://')
    expect(() => of({ reload: { http: { url: 'http://a:canary@b/' } } })).toThrow('without a password')
    expect(() => of({ reload: { http: { url: 'http://b/', file: '../x' } } })).toThrow('want one of its files')
    expect(() => of({ probes: [{ tcp: { port: 1 } }] })).toThrow('has probes and no reload')
  })

  test('they get next to nothing of our environment', async () => {
    const directory = place()
    process.env['MIDFLIGHT_CANARY'] = 'canary'
    await outcomeOf({ directory, check: ['/bin/sh', '-c', `env > ${directory}/said`] }, { text: 'x' })
    delete process.env['MIDFLIGHT_CANARY']
    const names = readFileSync(join(directory, 'said'), 'utf8')
      .split('\n')
      .map((line) => line.split('=')[0])
    expect(
      names.filter((name) => !['PATH', 'HOME', 'LANG', 'TZ', 'PWD', 'SHLVL', '_', '', 'OLDPWD'].includes(name!)),
    ).toEqual([])
  })

  test('a check that never ends is ended with all it has started; nothing is swapped', async () => {
    const directory = place()
    const check = ['/bin/sh', '-c', `sleep 1000 & echo $! > ${directory}/pid; wait`] as const
    const message = await refused({ directory, check, limits: { checkMs: 500 } }, { text: 'x' })
    expect(message).toContain('the check did not finish within 500 ms')
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'))
    await until('it has ended', async () => (await processAt(pid)) === undefined)
    expect(leftIn(directory)).toEqual(['pid'])
  })

  test('what a check says is bounded, and shown without the secrets of the configuration', async () => {
    const directory = place()
    const script = 'head -c 3000000 /dev/zero | tr "\\0" x; echo; cat "$0"; exit 3'
    const check = ['/bin/sh', '-c', script, '{file:a.conf}'] as const
    const component = program({ name: 'p', directory, files: [one], check })
    const message = await engineOf([component], { text: 'the hunter2-canary' }, { secrets: ['text'] }).then(
      () => 'it was taken',
      (error: Error) => error.message,
    )
    expect(message).toContain('the check (/bin/sh) ended with 3')
    expect(message.length).toBeLessThan(70_000)
    expect(message).not.toContain('canary')
  })

  test('what is left of a line of a long output is not shown: it may begin within a secret', async () => {
    const directory = place()
    const script = 'cat "$0"; head -c 65500 /dev/zero | tr "\\0" x; echo; echo why; exit 3'
    const check = ['/bin/sh', '-c', script, '{file:a.conf}'] as const
    const text = `hunter2-${'x'.repeat(40)}-the-canary`
    const component = program({ name: 'p', directory, files: [one], check })
    const message = await engineOf([component], { text }, { secrets: ['text'] }).then(
      () => 'it was taken',
      (error: Error) => error.message,
    )
    expect(message).toMatch(/ended with 3:\nwhy$/)
  })

  test.for(['check', 'reload'])('a %s without a file descriptor left is refused, and the next one is not', (key) => {
    const directory = place()
    const args = ['--conditions=midflight-source', '--disable-warning=ExperimentalWarning', withoutDescriptor]
    const shell = ['-c', 'ulimit -n 128; exec "$0" "$@"', process.execPath, ...args, directory, key]
    const { stdout, stderr } = spawnSync('bash', shell, { encoding: 'utf8', timeout: 60_000 })
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^[^\n]*the (check|reload) \(true\) cannot be run: EMFILE[^\n]*\ncommitted/)
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('3')
  })

  test('a pid file that is a pipe, or has no end, holds nobody up', async () => {
    const directory = place({ 'a.conf': 'old' })
    const run = place()
    expect(spawnSync('mkfifo', [join(run, 'pipe')]).status).toBe(0)
    const limits = { reloadMs: 200, probeMs: 200 }
    for (const [pidFile, said] of [
      [join(run, 'pipe'), 'it is no regular file'],
      ['/dev/zero', 'it is no regular file'],
      [process.execPath, 'names no process that could be meant'],
    ] as const) {
      const reload = { signal: 'SIGKILL', pidFile, process: 'nginx' } as const
      expect(await refused({ directory, reload, limits }, { text: 'new' }), pidFile).toContain(said)
      await closeEngines()
      expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
    }
  })

  test('a pid file that names another program, ourselves or nobody: nobody is signalled, the old files are back', async () => {
    const directory = place({ 'a.conf': 'old' })
    const run = place()
    for (const [pid, said] of [
      [String(process.ppid), 'want nginx'],
      [String(process.pid), 'names no process that could be meant'],
      ['1', 'names no process that could be meant'],
      ['-1', 'names no process that could be meant'],
      ['4194304', 'there is no process 4194304'],
      ['', 'names no process that could be meant'],
    ] as const) {
      writeFileSync(join(run, 'pid'), pid)
      const reload = { signal: 'SIGKILL', pidFile: join(run, 'pid'), process: 'nginx' } as const
      const limits = { reloadMs: 200, probeMs: 200 }
      expect(await refused({ directory, reload, limits }, { text: 'new' }), pid).toContain(said)
      await closeEngines()
      expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
    }
  })

  test('a reload by HTTP that nobody answers: the old files are back', async () => {
    const directory = place({ 'a.conf': 'old' })
    const reload = { http: { url: `http://127.0.0.1:${await freePort()}/reload?token=canary` } }
    const message = await refused({ directory, reload, limits: { reloadMs: 200, probeMs: 200 } }, { text: 'new' })
    expect(message).toContain('/reload) was not answered')
    expect(message).not.toContain('canary')
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
    expect(existsSync(join(directory, '.midflight-p/swap.json'))).toBe(true)
  })
})

test('somebody changes a file between check and swap: nothing is swapped, and theirs stays', async () => {
  const directory = place({ 'a.conf': 'old' })
  const check = ['/bin/sh', '-c', `rm ${directory}/a.conf; echo theirs > ${directory}/a.conf`] as const
  expect(await refused({ directory, check }, { text: 'new' })).toContain('was changed by somebody else')
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('theirs\n')
  expect(lstatSync(join(directory, 'a.conf')).nlink).toBe(1)
})

test('somebody adds to a file in its place between check and swap: nothing is swapped, and theirs stays', async () => {
  const directory = place({ 'a.conf': 'old\n' })
  const check = ['/bin/sh', '-c', `sleep 0.05; echo theirs >> ${directory}/a.conf`] as const
  expect(await refused({ directory, check }, { text: 'new' })).toContain('was changed by somebody else')
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old\ntheirs\n')
})

test('somebody closes a file to others between check and swap: nothing is swapped, and it stays closed', async () => {
  const directory = place({ 'a.conf': 'old' })
  const check = ['chmod', '600', join(directory, 'a.conf')] as const
  expect(await refused({ directory, check }, { text: 'new' })).toContain('was changed by somebody else')
  expect(statSync(join(directory, 'a.conf')).mode & 0o777).toBe(0o600)
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
})

test.for([
  ['adds to it', 'echo more >> "$0"'],
  ['writes it anew', 'echo other > "$0"'],
  ['puts another in its place', 'cp -p "$0" "$0.tmp" && echo other > "$0.tmp" && mv "$0.tmp" "$0"'],
  ['opens it to others', 'chmod 666 "$0"'],
  ['removes it', 'rm "$0"'],
  ['puts a link in its place', 'rm "$0" && ln -s /etc/passwd "$0"'],
])(
  'a check that changes a file which it is to look at (%s) is refused: nothing is swapped',
  async ([, script = '']) => {
    const directory = place({ 'a.conf': 'old' })
    const check = ['/bin/sh', '-c', script, '{file:a.conf}'] as const
    expect(await refused({ directory, check }, { text: 'new' })).toContain('the check has changed a.conf')
    expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
    expect(leftIn(directory)).toEqual(['a.conf'])
  },
)

test('a check that puts a link to what is live into the staged tree: what is staged goes, and nothing live with it', async () => {
  const directory = place({ 'sub/a': 'old', 'sub/b': 'other' })
  const check = ['/bin/sh', '-c', 'rm -r "$0/sub" && ln -s "$1/sub" "$0/sub"', '{staged}', directory] as const
  const files = ['a', 'b'].map((name): FileOptions => ({ path: `sub/${name}`, from: name, as: 'raw' }))
  expect(await refused({ directory, check, files }, { a: 'new', b: 'other' })).toContain('the check has changed sub/a')
  expect(leftIn(directory)).toEqual(['sub', 'sub/a', 'sub/b'])
  expect(readFileSync(join(directory, 'sub/b'), 'utf8')).toBe('other')
})

test('a check that writes a file again as it was is no change of it', async () => {
  const directory = place({ 'a.conf': 'old' })
  const script = 'cp -p "$0" "$0.tmp" && touch "$0.tmp" && mv "$0.tmp" "$0"'
  const check = ['/bin/sh', '-c', script, '{file:a.conf}'] as const
  expect(await outcomeOf({ directory, check }, { text: 'new' })).toMatchObject({ kind: 'committed' })
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('new')
})

test.for([
  ['in its place, with its size and its time', (path: string, was: Stats) => (writeFileSync(path, 'THEM'), was.mtime)],
  [
    'by another file with its size and its time',
    (path: string, was: Stats) => (rmSync(path), writeFileSync(path, 'THEM', { mode: 0o640 }), was.mtime),
  ],
  ['in its place', (path: string) => (writeFileSync(path, 'THEM'), new Date())],
] as const)('a file that did not change for long is noticed when somebody changes it %s', async ([, change]) => {
  const directory = place()
  const check = ['/bin/true'] as const
  const files: FileOptions[] = [one, { path: 'b.conf', from: 'other', as: 'raw' }]
  const { set } = await engineOf([program({ name: 'p', directory, files, check })], { text: '1', other: 'ours' })
  const b = join(directory, 'b.conf')
  const long = new Date(Date.now() - 3_600_000)
  utimesSync(b, long, long)
  await set({ text: '2', other: 'ours' })
  utimesSync(b, long, change(b, statSync(b)))
  expect(readFileSync(b, 'utf8')).toBe('THEM')
  expect(await set({ text: '3', other: 'ours' })).toMatchObject({ kind: 'committed' })
  expect(readFileSync(b, 'utf8')).toBe('ours')
})

test('the way back cannot be recorded: the old files are back all the same, and the program is told', async () => {
  const directory = place({ 'a.conf': 'good' })
  const run = place()
  const script = `cat a.conf >> ${run}/told; grep -q good a.conf || { mkdir .midflight-p/swap.json.new; exit 1; }`
  const reload = { command: ['/bin/sh', '-c', script] } as const
  const { set } = await engineOf([program({ name: 'p', directory, files: [one], reload })], { text: 'good 1 ' })
  expect(await set({ text: 'new ' })).toMatchObject({ kind: 'rolled-back', failed: 'p' })
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('good 1 ')
  expect(readFileSync(join(run, 'told'), 'utf8')).toBe('good 1 new good 1 ')
  expect(await set({ text: 'good 2 ' })).toMatchObject({ kind: 'committed' })
  expect(leftIn(directory)).toEqual(['a.conf'])
})

test('somebody tidies away what we keep beside the files: the next change makes it anew', async () => {
  const directory = place()
  const rig = await engineOf([program({ name: 'p', directory, files: [one] })], { text: '1' })
  rmSync(join(directory, '.midflight-p'), { recursive: true })
  expect(await rig.set({ text: '2' })).toMatchObject({ kind: 'committed' })
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('2')
})

test('a record that is not ours stops everything until somebody has looked', async () => {
  const directory = place({ 'a.conf': 'old' })
  const record = join(directory, '.midflight-p', 'swap.json')
  mkdirSync(join(directory, '.midflight-p'), { mode: 0o700 })
  for (const path of ['../../etc/passwd', '/etc/passwd', 'a/../../b']) {
    writeFileSync(record, JSON.stringify({ midflight: 'swap/1', files: [{ path, old: null }] }))
    expect(await refused({ directory }, { text: 'new' })).toContain('is not what this version writes')
  }
  for (const text of ['', '{', '[]', '{"midflight":"swap/2","files":[]}']) {
    writeFileSync(record, text)
    expect(await refused({ directory }, { text: 'new' })).toContain('is not what this version writes')
  }
  const gone = { path: 'a.conf', old: { ino: 1, backup: '0123456789abcdef-0' } }
  writeFileSync(record, JSON.stringify({ midflight: 'swap/1', files: [gone] }))
  expect(await refused({ directory }, { text: 'new' })).toContain('is gone from')
  expect(readFileSync(join(directory, 'a.conf'), 'utf8')).toBe('old')
})
