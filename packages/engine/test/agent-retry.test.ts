/** K4: what a node tries again, by what became of it in a real engine, and what it does not. */
import { expect, test } from 'vitest'
import { mayRetry } from '../src/agent/voting.ts'
import { jsonSchema, start, type Issue, type Json, type Outcome } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'

const no = (): never => {
  throw new Error('no')
}

async function outcomeOf(what: 'validate' | 'prepare' | 'commit' | 'load' | 'schema' | 'nothing'): Promise<Outcome> {
  const source = memory({ limit: 1 })
  const issues: Issue[] = what === 'validate' ? [{ code: 'component', path: ['limit'], message: 'no' }] : []
  const limit = scripted('limit', { validate: (next) => (next === 1 ? [] : issues) })
  const schema = jsonSchema<Record<string, Json>>({ type: 'object', properties: { limit: { type: 'integer' } } })
  const options = { schema, sources: [source], components: [limit], logger: false, retries: { limit: 0 } } as const
  const engine = await start(options)
  source.set({ limit: what === 'schema' ? 'many' : 2 })
  if (what === 'load') source.fail('away', { transient: true })
  if (what === 'prepare' || what === 'commit') limit.on = { [what]: no }
  const outcome = await engine.reload()
  await engine.close()
  return outcome
}

test.each([
  ['its check said no', 'schema', 'rejected', false],
  ['a component said no to it', 'validate', 'rejected', false],
  ['a component could not prepare it', 'prepare', 'rolled-back', true],
  ['a component could not commit it', 'commit', 'rolled-back', true],
  ['something it needs could not be read', 'load', 'rejected', true],
  ['it is in use', 'nothing', 'committed', false],
] as const)('where %s, it is tried again: by the outcome of %s', async (_, what, kind, again) => {
  const outcome = await outcomeOf(what)
  expect([outcome.kind, mayRetry(outcome)]).toEqual([kind, again])
})
