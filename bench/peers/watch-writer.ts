/** The process that writes: makes one change when told, and says on the shared monotonic clock when it began. */
import { mkdirSync, renameSync, rmdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [mode, directory] = process.argv.slice(2) as ['inplace' | 'rename' | 'configmap', string]
const file = join(directory, 'config.json')
let before: string | undefined

process.on('message', ({ version }: { version: number }) => {
  const text = JSON.stringify({ version, pad: 'x'.repeat(4000), end: version })
  const beganNs = process.hrtime.bigint()
  if (mode === 'inplace') {
    writeFileSync(file, text)
  } else if (mode === 'rename') {
    writeFileSync(`${file}.tmp`, text)
    renameSync(`${file}.tmp`, file)
  } else {
    // What the kubelet does for a ConfigMap: a new directory, and one link swapped.
    const next = join(directory, `..v${version}`)
    mkdirSync(next)
    writeFileSync(join(next, 'config.json'), text)
    symlinkSync(`..v${version}`, join(directory, '..data_tmp'))
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
    if (before === undefined) {
      symlinkSync('..data/config.json', file)
    } else {
      unlinkSync(join(before, 'config.json'))
      rmdirSync(before)
    }
    before = next
  }
  process.send?.({ beganNs: String(beganNs) })
})
process.on('disconnect', () => process.exit(0))
