/** File systems that have no room, cannot be written to, or end within a directory: refused in words, and nothing is touched. */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { tree } from './program-rig.ts'

const texts = fileURLToPath(new URL('programs/program-texts.ts', import.meta.url))
/** A tmpfs of our own, which nobody else sees. */
const may = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0
const why = may ? '' : ' (skipped: this user may not mount)'
const made: string[] = []

afterEach(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true })
})

describe.skipIf(!may)(`mounts${why}`, () => {
  /** @param script `$d` is the directory; `texts LENGTH …` brings one text after the other. */
  function seen(script: string, files: Readonly<Record<string, string>> = {}): string[] {
    const directory = tree(files)
    made.push(directory)
    const run = '"$node" --conditions=midflight-source --disable-warning=ExperimentalWarning "$main" "$d" "$@"'
    const shell = `node=$0 main=$1 d=$2; texts() { ${run}; }; ${script}`
    const command = ['-m', 'bash', '-e', '-c', shell, process.execPath, texts, directory]
    const { stdout, stderr } = spawnSync('unshare', command, { encoding: 'utf8', timeout: 60_000 })
    expect(stderr).toBe('')
    return stdout.replaceAll(directory, '$d').trim().split('\n')
  }

  test('no room for what changes: refused, what was there stays, and there is room again', () => {
    const said = seen('mount -t tmpfs -o size=256k,mode=700 none $d; texts 10 150000 20; cat $d/*; echo; ls -A $d')
    expect(said).toEqual([
      expect.stringContaining('committed'),
      expect.stringMatching(/new\/b\.conf cannot be written: ENOSPC; want room for all files that change/),
      expect.stringContaining('committed'),
      '2'.repeat(40),
      'a.conf',
      'b.conf',
    ])
  })

  test('a directory that is read-only: refused, with its place', () => {
    expect(seen('mount --bind $d $d; mount -o remount,ro,bind $d; texts 1')).toEqual([
      expect.stringMatching(/EROFS: .*\$d\/\.midflight-p/),
    ])
  })

  test('a file that is mounted by itself, as into a container: refused, with what to mount instead', () => {
    const said = seen('mount --bind $d/b.conf $d/a.conf; texts 1; cat $d/*; ls -A $d', { 'a.conf': 'a', 'b.conf': 'b' })
    expect(said).toEqual([
      expect.stringContaining(
        'a.conf cannot be kept for a way back: EXDEV; it is mounted by itself, want its directory',
      ),
      'bba.conf',
      'b.conf',
    ])
  })
})
