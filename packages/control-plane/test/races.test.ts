/** Those who publish at the same time, in every order in which their steps can fall. */
import fc from 'fast-check'
import type { Json } from 'midflight'
import { expect, test } from 'vitest'
import { verifyAudit } from '../src/audit.ts'
import { changeDemands } from '../src/configs.ts'
import { approveDraft, createDraft, editDraft, publishDraft } from '../src/drafts.ts'
import type { Domain } from '../src/domain.ts'
import type { ConflictError } from '../src/release.ts'
import { rollback } from '../src/rollback.ts'
import type { Store } from '../src/store.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { config, headContent, publishOne, ready } from './domain-rig.ts'

const runs = { numRuns: 150 }

/** A store whose calls wait until the scheduler lets them go: before the work, and before its answer is heard. */
function scheduled(store: Store, scheduler: fc.Scheduler): Store {
  const paced = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    await scheduler.schedule(Promise.resolve(), `${name} begins`)
    const result = await work()
    await scheduler.schedule(Promise.resolve(), `${name} is heard`)
    return result
  }
  return {
    ...store,
    read: (work) => paced('read', () => store.read(work)),
    transaction: (work) => paced('transaction', () => store.transaction(work)),
  }
}

async function race(
  scheduler: fc.Scheduler,
  start: Json,
  run: (domain: Domain) => Promise<unknown>[],
): Promise<Domain> {
  const store = memoryStore()
  const domain = await ready(store, {})
  await publishOne(domain, { content: start })
  const all = Promise.allSettled(run({ ...domain, store: scheduled(store, scheduler) }))
  await scheduler.waitFor(all)
  const releases = await store.read((read) => read.releases(config, undefined, 1000))
  expect(releases.map(({ number }) => number)).toEqual(releases.map((_, i) => releases.length - i))
  expect(releases.every(({ number, parent }) => parent === (number === 1 ? null : number - 1))).toBe(true)
  expect((await verifyAudit(domain)).kind).toBe('whole')
  return domain
}

test('property: F65: of those who publish against the same head exactly one gets it, in every interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 2, max: 4 }), async (scheduler, count) => {
      let results: Promise<PromiseSettledResult<unknown>[]> | undefined
      const domain = await race(scheduler, { by: 'nobody' }, (paced) => {
        const work = Array.from({ length: count }, (_, i) => publishOne(paced, { content: { by: i }, ifMatch: 1 }))
        results = Promise.allSettled(work)
        return work
      })
      const settled = (await results) ?? []
      const won = settled.flatMap(({ status }, i) => (status === 'fulfilled' ? [i] : []))
      expect(won).toHaveLength(1)
      expect(await headContent(domain)).toEqual({ by: won[0] })
      for (const result of settled) {
        if (result.status === 'rejected') expect((result.reason as ConflictError).head).toMatchObject({ number: 2 })
      }
    }),
    runs,
  )
})

test('property: F65: patches without a condition are all in it, in every interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const domain = await race(scheduler, { list: [] }, (paced) =>
        ['a', 'b', 'c'].map((value) => publishOne(paced, { patch: [{ op: 'add', path: '/list/-', value }] })),
      )
      const { list } = (await headContent(domain)) as { list: string[] }
      expect([...list].sort()).toEqual(['a', 'b', 'c'])
    }),
    runs,
  )
})

test('property: I4: the same request sent again before its answer came is one release, in every interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const answers: unknown[] = []
      const change = { patch: [{ op: 'add' as const, path: '/list/-', value: 'once' }] }
      const domain = await race(scheduler, { list: [] }, (paced) =>
        [1, 2, 3].map(async () => {
          const { release } = await publishOne(paced, structuredClone(change), { idempotencyKey: 'k' })
          answers.push(release.number)
        }),
      )
      expect(answers).toEqual([2, 2, 2])
      expect(await headContent(domain)).toEqual({ list: ['once'] })
    }),
    runs,
  )
})

test('property: an edit that races with approval and publish is never published unseen, in every interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const store = memoryStore()
      const domain = await ready(store, {})
      await publishOne(domain, { content: { a: 1 } })
      await changeDemands(domain, config, { reviewers: 1 }, 'root')
      const { draft, plan } = await createDraft(domain, { config, author: 'ada', mergePatch: { a: 2 } })
      const paced = { ...domain, store: scheduled(store, scheduler) }
      const { id } = draft
      const work = [
        approveDraft(paced, { id, digest: plan, by: 'bob' }),
        editDraft(paced, { id, by: 'ada', mergePatch: { a: 'smuggled' } }),
        publishDraft(paced, { id, by: 'bob' }),
        publishDraft(paced, { id, by: 'eve' }),
      ]
      await scheduler.waitFor(Promise.allSettled(work))
      expect([{ a: 1 }, { a: 2 }]).toContainEqual(await headContent(domain))
      expect(await store.read((read) => read.releases(config, undefined, 10).length)).toBeLessThanOrEqual(2)
    }),
    runs,
  )
})

test('property: a schema and a publish that race: the head always fits the schema, in every interleaving', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const domain = await race(scheduler, { a: 1 }, (paced) => [
        publishOne(paced, { content: { a: 'text' } }),
        changeDemands(paced, config, { rules: [{ rule: 'references', path: 'a', to: 'names' }] }, 'root'),
        rollback(paced, { config, to: 1, author: 'ada', breakGlass: { reason: 'race' } }),
      ])
      const rules = (await domain.store.read((read) => read.config(config)))?.rules ?? []
      if (rules.length > 0) expect(await headContent(domain)).toEqual({ a: 1 })
    }),
    runs,
  )
})
