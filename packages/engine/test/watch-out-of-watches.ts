/**
 * Run by watch-faults.test.ts in a user namespace of its own, where the number of inotify watches is its own too:
 * `watch-out-of-watches.ts <file>`. Says in lines what happened; raises the limit after the second change.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { watchFiles } from '../src/sources/file/watch.ts'
import { setOf } from './watch-set.ts'

const limit = '/proc/sys/user/max_inotify_watches'
// Run by hand it would change the limit of the whole machine.
if (Number(readFileSync(limit, 'utf8')) > 10) throw new Error('only for a user namespace with a limit of its own')

const file = process.argv[2]!
const stop = new AbortController()
let set = setOf([file])
// The poll alone keeps no process alive.
const alive = setTimeout(() => process.exit(1), 20_000)
const onWarning = (message: string): void => {
  console.log(message)
  if (message === 'files are watched again') writeFileSync(file, 'a: 4\n')
  else setTimeout(() => writeFileSync(file, 'a: 2\n'), 20)
}
for await (const _ of watchFiles(() => set, { onWarning }, stop.signal)) {
  set = setOf([file])
  const text = readFileSync(file, 'utf8')
  console.log(text.trim())
  if (text === 'a: 2\n') writeFileSync(file, 'a: 3\n')
  if (text === 'a: 3\n') writeFileSync(limit, '1000')
  if (text === 'a: 4\n') stop.abort()
}
clearTimeout(alive)
