/**
 * Run by watch.test.ts: reads config.yaml in its working directory, says `ready`, and watches once it is told that
 * the directory is gone. It removes nothing itself.
 */
import { watchFiles } from '../src/sources/file/watch.ts'
import { setOf } from './watch-set.ts'

const path = 'config.yaml'
const set = setOf([path])
console.log('ready')
await new Promise((told) => process.stdin.once('data', told))
process.stdin.destroy()
const stop = new AbortController()
for await (const _ of watchFiles(() => set, {}, stop.signal)) {
  console.log('yielded')
  stop.abort()
}
