// Publishes into the store in a directory and prints each number once it is acknowledged; then ends as it is told.
//   publish.ts <directory> <how many> close|crash|forever
import { writeSync } from 'node:fs'
import { StoreError } from '../../src/store.ts'
import { auditEntry, configOf, publish, rulesOf, sample } from '../../src/stores/conformance/samples.ts'
import { openSqlite } from '../../src/stores/sqlite.ts'

const [directory, count, end] = process.argv.slice(2) as [string, string, 'close' | 'crash' | 'forever']
const say = (line: string): void => void writeSync(1, `${line}\n`)

try {
  const store = await openSqlite({ directory, wholeEvery: 8 })
  await store.transaction((tx) => tx.putConfig(configOf()))
  const writer = async (): Promise<void> => {
    for (let i = 0; i < Number(count) || end === 'forever'; i++) {
      try {
        const release = await store.transaction((tx) => {
          const number = (tx.config(sample.config)?.head?.number ?? 0) + 1
          tx.appendAudit({ ...auditEntry, detail: { number } })
          return publish(tx, rulesOf(100, { [number % 100]: number }))
        })
        say(`acknowledged ${release.number}`)
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        say(`failed ${error.code}`)
      }
    }
  }
  await Promise.all([writer(), writer(), writer()])
  if (end === 'crash') process.kill(process.pid, 'SIGKILL')
  await store.close()
  say('closed')
} catch (error) {
  if (!(error instanceof StoreError)) throw error
  say(`refused ${error.code} ${error.message}`)
}
