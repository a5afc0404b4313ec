/**
 * What every store promises, as cases that any test runner can run: `for (const { name, run } of testStore(…))
 * test(name, run)`. Each case has a store of its own.
 */
import assert from 'node:assert/strict'
import type { Store } from '../store.ts'
import { deploymentCases } from './conformance/deployments.ts'
import { recordCases } from './conformance/records.ts'
import { rolloutCases } from './conformance/rollouts.ts'
import { all, fill, publish, rulesOf } from './conformance/samples.ts'
import { transactionCases } from './conformance/transactions.ts'

export interface StoreFactory {
  /** A new, empty store. */
  newStore(): Promise<Store>
  /** Closes a store that `newStore` made and opens what it left. Left out by stores that forget. */
  reopen?(store: Store): Promise<Store>
}

export interface StoreCase {
  /** What is promised. */
  readonly name: string
  run(): Promise<void>
}

export function testStore(factory: StoreFactory): readonly StoreCase[] {
  const cases = Object.entries({ ...transactionCases, ...recordCases, ...rolloutCases, ...deploymentCases }).map(
    ([name, check]) => ({
      name,
      async run() {
        const store = await factory.newStore()
        try {
          await check(store)
        } finally {
          await store.close()
        }
      },
    }),
  )
  const { reopen } = factory
  if (reopen === undefined) return cases
  return [
    ...cases,
    { name: 'what was acknowledged is there, and the same, when it is opened again', run: () => kept(factory, reopen) },
  ]
}

async function kept({ newStore }: StoreFactory, reopen: (store: Store) => Promise<Store>): Promise<void> {
  const store = await newStore()
  await fill(store)
  const everything = await store.read(all)
  const again = await reopen(store)
  try {
    assert.deepEqual(await again.read(all), everything)
    assert.deepEqual((await again.verify()).problems, [])
    await again.transaction((tx) => publish(tx, rulesOf(200, { 0: 7 })))
  } finally {
    await again.close()
  }
}
