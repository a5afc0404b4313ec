// One text after the other for the files a.conf and b.conf, each so many letters long; says what came of each.
import { jsonSchema, outcomeText, start } from '../../src/index.ts'
import { program } from '../../src/program/index.ts'
import { memory } from '../../src/testing/index.ts'

const [directory = '', ...lengths] = process.argv.slice(2)
const texts = lengths.map((length, i) => ({ text: String(i % 10).repeat(Number(length)) }))
const source = memory(texts.shift() ?? { text: '' })
const files = ['a.conf', 'b.conf'].map((path) => ({ path, from: 'text', as: 'raw' }) as const)
try {
  const engine = await start({
    schema: jsonSchema<{ text: string }>({ type: 'object' }),
    sources: [source],
    components: [program({ name: 'p', directory, files })],
    logger: false,
    retries: { limit: 0 },
  })
  console.log(outcomeText(engine.status().lastOutcome!))
  for (const one of texts) {
    source.set(one)
    console.log(outcomeText(await engine.reload()))
  }
  await engine.close()
} catch (error) {
  console.log((error as Error).message)
}
