// Saves one configuration after the other, and says each number once it is saved.
import { lastGoodIn } from '../../src/last-good.ts'

const [dir, from] = process.argv.slice(2) as [string, string]
const store = lastGoodIn(dir)
for (let release = Number(from) + 1; ; release++) {
  await store.save({ release, rules: Array.from({ length: 2_000 }, () => release) }, [])
  process.stdout.write(`${release}\n`)
}
