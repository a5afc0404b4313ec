/** Drafts: what was approved is what is published, or nothing is. */
import { describe, expect, test } from 'vitest'
import { changeDemands } from '../src/configs.ts'
import type { Domain } from '../src/domain.ts'
import { approveDraft, createDraft, editDraft, publishDraft, withdrawDraft, type DraftView } from '../src/drafts.ts'
import { planPublish } from '../src/plan.ts'
import { config, headContent, limits, publishOne, ready, refusal, releaseCount, stores } from './domain-rig.ts'

async function reviewed(domain: Domain, reviewers = 2): Promise<DraftView> {
  await publishOne(domain, { content: structuredClone(limits) })
  await changeDemands(domain, config, { reviewers }, 'root')
  return await createDraft(domain, { config, author: 'ada', message: 'less', mergePatch: { note: 'draft' } })
}

describe.each(stores)('on %s', (_name, open) => {
  test('with two approvals a draft becomes the release of its author, published by somebody else', async () => {
    const domain = await ready(await open())
    const { draft, plan, missing } = await reviewed(domain)
    expect(missing).toBe(2)
    expect(await releaseCount(domain)).toBe(1)
    await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })
    const view = await approveDraft(domain, { id: draft.id, digest: plan, by: 'eve' })
    expect(view).toMatchObject({ approvedBy: ['bob', 'eve'], missing: 0, stale: false })
    const { published } = await publishDraft(domain, { id: draft.id, by: 'bob', digest: plan })
    expect(published).toMatchObject([{ created: true, release: { number: 2, author: 'ada', message: 'less' } }])
    expect(await headContent(domain)).toMatchObject({ note: 'draft' })
    const log = await domain.store.read((read) => read.audit(undefined, 100))
    expect(log.slice(-2)).toMatchObject([
      { action: 'publish', actor: 'bob', detail: { author: 'ada', number: 2 } },
      { action: 'draft-published', actor: 'bob', detail: { draft: draft.id, approvedBy: ['bob', 'eve'] } },
    ])
  })

  test('an edit after the approval voids it', async () => {
    const domain = await ready(await open())
    const { draft, plan } = await reviewed(domain, 1)
    await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })
    const edited = await editDraft(domain, { id: draft.id, by: 'ada', mergePatch: { note: 'something else' } })
    expect(edited).toMatchObject({ approvedBy: [], missing: 1 })
    expect(edited.plan).not.toBe(plan)
    expect((await refusal(publishDraft(domain, { id: draft.id, by: 'ada' }))).code).toBe('review')
    expect((await refusal(approveDraft(domain, { id: draft.id, digest: plan, by: 'eve' }))).code).toBe('review')
    expect(await releaseCount(domain)).toBe(1)
    // Back to what was approved: it is that very plan again.
    const back = await editDraft(domain, { id: draft.id, by: 'ada', mergePatch: { note: 'draft' } })
    expect(back).toMatchObject({ plan, approvedBy: ['bob'], missing: 0 })
  })

  test('an edit that races with the publish is never published unseen', async () => {
    const domain = await ready(await open())
    const { draft, plan } = await reviewed(domain, 1)
    await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })
    await Promise.allSettled([
      publishDraft(domain, { id: draft.id, by: 'bob' }),
      editDraft(domain, { id: draft.id, by: 'ada', mergePatch: { note: 'smuggled' } }),
    ])
    expect(JSON.stringify(await headContent(domain))).not.toContain('smuggled')
  })

  test('without reviewers too, what is published is what was looked at, and two edits at once are both kept', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: {} })
    const { draft, plan } = await createDraft(domain, { config, author: 'ada', content: { a: 1 } })
    const { id } = draft
    await Promise.all(['b', 'c'].map((key) => editDraft(domain, { id, by: 'ada', mergePatch: { [key]: 1 } })))
    expect((await refusal(publishDraft(domain, { id, by: 'ada', digest: plan }))).code).toBe('review')
    const [published, edited] = await Promise.allSettled([
      publishDraft(domain, { id, by: 'ada' }),
      editDraft(domain, { id, by: 'ada', mergePatch: { d: 1 } }),
    ])
    // One of the two came too late, and was told so; the draft and its release hold the same.
    expect([published.status, edited.status].sort()).toEqual(['fulfilled', 'rejected'])
    if (published.status === 'rejected') await publishDraft(domain, { id, by: 'ada' })
    const kept = await domain.store.read((read) => read.draftContent(id))
    expect(await headContent(domain)).toEqual(kept)
    expect(kept).toMatchObject({ a: 1, b: 1, c: 1 })
  })

  test('nobody approves their own draft, or twice, and nobody edits that of another', async () => {
    const domain = await ready(await open())
    const { draft, plan } = await reviewed(domain)
    expect((await refusal(approveDraft(domain, { id: draft.id, digest: plan, by: 'ada' }))).code).toBe('denied')
    await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })
    expect(await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })).toMatchObject({ missing: 1 })
    expect((await refusal(editDraft(domain, { id: draft.id, by: 'bob', mergePatch: { note: 'b' } }))).code).toBe(
      'denied',
    )
  })

  test('a release in between makes the draft stale; brought up to it, it needs its approvals again', async () => {
    const domain = await ready(await open())
    const { draft, plan } = await reviewed(domain, 1)
    await approveDraft(domain, { id: draft.id, digest: plan, by: 'bob' })
    const breakGlass = { reason: 'cannot wait' }
    await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 5 }] }, { breakGlass })
    expect((await refusal(publishDraft(domain, { id: draft.id, by: 'bob' }))).code).toBe('conflict')
    expect((await refusal(approveDraft(domain, { id: draft.id, digest: plan, by: 'eve' }))).code).toBe('conflict')
    expect((await refusal(editDraft(domain, { id: draft.id, by: 'ada', base: 1 }))).code).toBe('conflict')
    const rebased = await editDraft(domain, {
      id: draft.id,
      by: 'ada',
      patch: [{ op: 'replace', path: '/rules/0/limit', value: 5 }],
      base: 2,
    })
    expect(rebased).toMatchObject({ missing: 1, stale: false })
    await approveDraft(domain, { id: draft.id, digest: rebased.plan, by: 'bob' })
    await publishDraft(domain, { id: draft.id, by: 'bob' })
    expect(await headContent(domain)).toMatchObject({ note: 'draft', rules: [{ limit: 5 }, {}] })
  })

  test('a direct publish is refused where reviewers are asked for, and audited where the glass is broken', async () => {
    const domain = await ready(await open())
    const { draft } = await reviewed(domain, 1)
    expect((await refusal(publishOne(domain, { mergePatch: { note: 'x' } }))).code).toBe('review')
    const { published } = await publishDraft(domain, { id: draft.id, by: 'bob', breakGlass: { reason: 'fire' } })
    expect(published[0]?.release.number).toBe(2)
    const log = await domain.store.read((read) => read.audit(undefined, 100))
    expect(log).toContainEqual(
      expect.objectContaining({ action: 'break-glass', actor: 'bob', detail: { number: 2, reason: 'fire' } }),
    )
  })

  test('the digest to approve is the one of the plan that was shown', async () => {
    const domain = await ready(await open())
    const { draft, plan } = await reviewed(domain)
    const shown = await planPublish(domain, { config, mergePatch: { note: 'draft' } })
    expect(shown.digest).toBe(plan)
    expect(shown).toMatchObject({ content: draft.digest, same: false, issues: [] })
  })

  test('what is published or withdrawn is no longer edited, approved or published', async () => {
    const domain = await ready(await open())
    const first = await reviewed(domain, 0)
    const request = { id: first.draft.id, by: 'ada', idempotencyKey: 'k' }
    const done = await publishDraft(domain, request)
    expect(await publishDraft(domain, request)).toEqual({ ...done, replayed: true })
    const second = await createDraft(domain, { config, author: 'ada', mergePatch: { note: 'two' } })
    await withdrawDraft(domain, second.draft.id, 'ada')
    for (const { draft, plan } of [first, second]) {
      const { id } = draft
      expect((await refusal(publishDraft(domain, { id, by: 'ada' }))).code).toBe('not-found')
      expect((await refusal(approveDraft(domain, { id, digest: plan, by: 'bob' }))).code).toBe('not-found')
      expect((await refusal(editDraft(domain, { id, by: 'ada', message: 'm' }))).code).toBe('not-found')
    }
    expect(await releaseCount(domain)).toBe(2)
  })

  test('a draft that does not fit the schema is refused when it is made and when it is edited', async () => {
    const domain = await ready(await open())
    expect((await refusal(createDraft(domain, { config, author: 'ada', content: {} }))).code).toBe('invalid')
    const { draft } = await createDraft(domain, { config, author: 'ada', content: structuredClone(limits) })
    expect((await refusal(editDraft(domain, { id: draft.id, by: 'ada', mergePatch: { rules: 1 } }))).code).toBe(
      'invalid',
    )
    await publishDraft(domain, { id: draft.id, by: 'ada' })
    expect(await headContent(domain)).toEqual(limits)
  })
})
