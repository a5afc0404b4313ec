/** Rollback: back to what was once in use, as a new release. */
import { describe, expect, test } from 'vitest'
import { rollback } from '../src/rollback.ts'
import type { Domain } from '../src/domain.ts'
import { attemptOf } from '../src/stores/conformance/samples.ts'
import { config, headContent, limits, publishOne, ready, refusal, releaseCount, stores } from './domain-rig.ts'

async function applied(domain: Domain, number: number): Promise<void> {
  await domain.store.transaction((tx) => {
    const { digest } = tx.release(config, number) ?? { digest: '' }
    tx.addAttempts([attemptOf('n1', number, { config, digest })])
  })
}

async function threeReleases(domain: Domain): Promise<void> {
  await publishOne(domain, { content: structuredClone(limits) })
  await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 500 }] })
  await publishOne(domain, { patch: [{ op: 'remove', path: '/rules/1' }] })
}

describe.each(stores)('on %s', (_name, open) => {
  test('I5: back to release 1 is release 4, with the content and digest of 1', async () => {
    const domain = await ready(await open())
    await threeReleases(domain)
    await applied(domain, 1)
    const { published } = await rollback(domain, { config, to: 1, author: 'ada', ifMatch: 3 })
    const first = await domain.store.read((read) => read.release(config, 1))
    expect(published).toMatchObject([
      {
        created: true,
        release: { number: 4, parent: 3, kind: 'rollback', rollbackOf: 1, digest: first?.digest, author: 'ada' },
      },
    ])
    expect(await headContent(domain)).toEqual(limits)
  })

  test('to a release that no node ever applied is refused with the reason', async () => {
    const domain = await ready(await open())
    await threeReleases(domain)
    await applied(domain, 3)
    const error = await refusal(rollback(domain, { config, to: 2, author: 'ada' }))
    expect(error).toMatchObject({ code: 'not-applied' })
    expect(error.message).toContain('never applied')
    expect(await releaseCount(domain)).toBe(3)
  })

  test('it is done all the same when the glass is broken, and the reason is in the audit log', async () => {
    const domain = await ready(await open())
    await threeReleases(domain)
    const breakGlass = { reason: 'all of them are down' }
    await rollback(domain, { config, to: 2, author: 'ada', breakGlass })
    const log = await domain.store.read((read) => read.audit(undefined, 100))
    expect(log.slice(-2)).toMatchObject([
      { action: 'rollback', actor: 'ada', detail: { number: 4, rollbackOf: 2 } },
      { action: 'break-glass', actor: 'ada', detail: { number: 4, reason: 'all of them are down' } },
    ])
  })

  test('I4: the answer under the same key is the same, though the head is the rollback by then', async () => {
    const domain = await ready(await open())
    await threeReleases(domain)
    await applied(domain, 1)
    const request = { config, to: 1, author: 'ada', ifMatch: 3, idempotencyKey: 'back' } as const
    const first = await rollback(domain, request)
    expect(await rollback(domain, request)).toEqual({ published: first.published, replayed: true })
    expect(await releaseCount(domain)).toBe(4)
  })

  test('reviewers are not asked again for what was in use', async () => {
    const domain = await ready(await open(), { reviewers: 0 })
    await publishOne(domain, { content: { a: 1 } })
    await publishOne(domain, { content: { a: 2 } })
    await applied(domain, 1)
    const { changeDemands } = await import('../src/configs.ts')
    await changeDemands(domain, config, { reviewers: 2 }, 'root')
    expect((await rollback(domain, { config, to: 1, author: 'ada' })).published[0]?.created).toBe(true)
  })

  test('a release that is not there, no number, and a stale head are refused; to the head itself is no release', async () => {
    const domain = await ready(await open())
    await threeReleases(domain)
    for (const number of [1, 2, 3]) await applied(domain, number)
    expect((await refusal(rollback(domain, { config, to: 4, author: 'ada' }))).code).toBe('not-found')
    expect((await refusal(rollback(domain, { config, to: 0, author: 'ada' }))).code).toBe('invalid')
    expect((await refusal(rollback(domain, { config, to: 1, author: 'ada', ifMatch: 2 }))).code).toBe('conflict')
    expect((await rollback(domain, { config, to: 3, author: 'ada' })).published[0]?.created).toBe(false)
    expect(await releaseCount(domain)).toBe(3)
  })

  test('to a content that the schema of today refuses is refused, with the place', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { limit: 'many' } })
    await publishOne(domain, { content: { limit: 5 } })
    await applied(domain, 1)
    const { changeDemands } = await import('../src/configs.ts')
    await changeDemands(domain, config, { schema: { properties: { limit: { type: 'integer' } } } }, 'root')
    const error = await refusal(rollback(domain, { config, to: 1, author: 'ada' }))
    expect(error).toMatchObject({ code: 'invalid', issues: [{ path: ['limit'] }] })
  })
})
