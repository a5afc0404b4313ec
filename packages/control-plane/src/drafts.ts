/**
 * Drafts: a content that is to be looked at before it becomes a release. An approval is for the plan, this content on
 * this head, by its digest: any edit afterwards, and any release in between, leaves it behind. Only the author edits a
 * draft, so whoever else approves it has not written it.
 */
import { randomUUID } from 'node:crypto'
import { digest, type Json } from 'midflight'
import type { Domain } from './domain.ts'
import { edited, editValue } from './edit.ts'
import { planDigest } from './plan.ts'
import { configIn, headOf, release, requireText, type RolloutOrder } from './publish.ts'
import { RefusedError, requireHead, type Edit, type PublishResult } from './release.ts'
import type { DraftRecord, StoreRead, StoreTx } from './store.ts'
import { requireValid } from './validation.ts'

/** A draft and how far it is. */
export interface DraftView {
  readonly draft: DraftRecord
  /** What an approval must name. */
  readonly plan: string
  /** Who has approved this very plan; each once, and never the author. */
  readonly approvedBy: readonly string[]
  /** How many approvals are still missing. */
  readonly missing: number
  /** Another release has come since: it must be brought up to it. */
  readonly stale: boolean
}

export type CreateDraft = Edit & { readonly config: string; readonly author: string; readonly message?: string }

/** Made against the head as it is now. @throws RefusedError if it could not be published as it is. */
export async function createDraft(domain: Domain, request: CreateDraft): Promise<DraftView> {
  const { config, author, message = '' } = request
  requireText(author, 'author', 1, 256)
  requireText(message, 'message', 0, 4096)
  editValue(request)
  const head = await domain.store.read((read) => {
    const found = configIn(read, config)
    return { config: found, content: found.head === null ? undefined : read.content(config, found.head.number) }
  })
  const content = await edited(head.config.schema, head.content, request, domain.limits)
  await requireValid(head.config, content)
  const at = domain.now().toISOString()
  const draft: DraftRecord = {
    id: randomUUID(),
    config,
    base: head.config.head?.number ?? null,
    digest: digest(content, head.content),
    author,
    message,
    createdAt: at,
    updatedAt: at,
    status: 'open',
    approvals: [],
  }
  return await domain.store.transaction((tx) => save(domain, tx, draft, author, 'draft-created', content))
}

export type EditDraft = Partial<Edit> & {
  readonly id: string
  readonly by: string
  readonly message?: string
  /** The draft was brought up to this release, which must be the head. Left out: the base stays. */
  readonly base?: number
}

/** Voids all approvals. @throws RefusedError `denied` for others than the author; ConflictError if `base` is not the head. */
export async function editDraft(domain: Domain, request: EditDraft): Promise<DraftView> {
  const { id, by, message, base } = request
  if (message !== undefined) requireText(message, 'message', 0, 4096)
  const edit = hasEdit(request) ? request : undefined
  if (edit !== undefined) editValue(edit)
  for (;;) {
    const before = await domain.store.read((read) => {
      const draft = openDraft(read, id)
      return { draft, config: configIn(read, draft.config), content: draftContentIn(read, id) }
    })
    const { schema } = before.config
    const content = edit === undefined ? before.content : await edited(schema, before.content, edit, domain.limits)
    await requireValid(before.config, content)
    const view = await domain.store.transaction((tx) => {
      const draft = openDraft(tx, id)
      if (draft.digest !== before.draft.digest) return undefined // edited meanwhile: once more, on that
      if (draft.author !== by) {
        throw new RefusedError('denied', `the draft is by ${draft.author}; make your own, so that both can be reviewed`)
      }
      if (base !== undefined) requireHead(headOf(configIn(tx, draft.config)), base === 0 ? 'none' : base)
      const next: DraftRecord = {
        ...draft,
        base: base === undefined ? draft.base : base === 0 ? null : base,
        digest: digest(content, before.content),
        message: message ?? draft.message,
        updatedAt: domain.now().toISOString(),
      }
      return save(domain, tx, next, by, 'draft-edited', content)
    })
    if (view !== undefined) return view
  }
}

function hasEdit(request: EditDraft): request is EditDraft & Edit {
  return 'content' in request || 'patch' in request || 'mergePatch' in request
}

export interface ApproveDraft {
  readonly id: string
  /** `plan` of the `DraftView` that was looked at. */
  readonly digest: string
  readonly by: string
}

/** @throws RefusedError `review` if it is another plan by now, `denied` for the author; ConflictError if the head moved. */
export async function approveDraft(domain: Domain, { id, digest: seen, by }: ApproveDraft): Promise<DraftView> {
  requireText(by, 'approver', 1, 256)
  return await domain.store.transaction((tx) => {
    const draft = openDraft(tx, id)
    if (draft.author === by) throw new RefusedError('denied', 'nobody approves their own draft')
    requireHead(headOf(configIn(tx, draft.config)), draft.base ?? 'none')
    const plan = planOf(draft)
    if (seen !== plan) {
      throw new RefusedError('review', `the draft was edited since: its plan is ${plan}, and not ${String(seen)}`)
    }
    if (approversOf(draft).includes(by)) return viewOf(tx, draft)
    const approval = { by, digest: plan, at: domain.now().toISOString() }
    // Those for other plans no longer count; the audit log remembers them.
    const approvals = [...draft.approvals.filter((one) => one.digest === plan), approval]
    return save(domain, tx, { ...draft, approvals }, by, 'draft-approved')
  })
}

export interface PublishDraft {
  readonly id: string
  readonly by: string
  /** `plan` of the `DraftView` that was looked at; left out: as it is now. */
  readonly digest?: string
  /** Whose idempotency keys these are; by default those of `by`. */
  readonly caller?: string
  readonly idempotencyKey?: string
  /** How it is brought to the nodes. */
  readonly rollout?: RolloutOrder
  /** Publishes without the approvals that are missing. The reason goes into the audit log. */
  readonly breakGlass?: { readonly reason: string }
}

/** @throws as `publish` does; RefusedError `review` if approvals are missing or it is another plan; ConflictError. */
export async function publishDraft(domain: Domain, request: PublishDraft): Promise<PublishResult> {
  const { id, by, caller, idempotencyKey, breakGlass, rollout } = request
  const { draft, content } = await domain.store.read((read) => {
    const found = read.draft(id)
    if (found === undefined) throw new RefusedError('not-found', `there is no draft ${JSON.stringify(id)}`)
    return { draft: found, content: draftContentIn(read, id) }
  })
  const wanted = request.digest ?? planOf(draft)
  return await release(domain, {
    author: draft.author,
    actor: by,
    caller,
    idempotencyKey,
    breakGlass,
    reviewed: true,
    parts: [
      {
        config: draft.config,
        kind: 'publish',
        message: draft.message,
        ifMatch: draft.base ?? 'none',
        edit: { content },
        rollout,
      },
    ],
    require(read) {
      const now = openDraft(read, id)
      if (planOf(now) !== wanted || now.digest !== draft.digest) {
        throw new RefusedError('review', `the draft was edited since: its plan is ${planOf(now)}, and not ${wanted}`)
      }
      const { missing } = viewOf(read, now)
      if (missing === 0 || breakGlass !== undefined) return
      throw new RefusedError('review', `${missing} more must approve the plan ${wanted}, or break the glass`)
    },
    also(tx, published) {
      const [one] = published
      const approvedBy = approversOf(draft)
      tx.putDraft({ ...openDraft(tx, id), status: 'published', updatedAt: domain.now().toISOString() })
      const detail = { draft: id, plan: wanted, number: one?.release.number ?? null, approvedBy }
      log(domain, tx, draft, by, 'draft-published', detail)
    },
  })
}

/** @throws RefusedError `not-found` if it is not open. */
export async function withdrawDraft(domain: Domain, id: string, by: string): Promise<DraftView> {
  requireText(by, 'actor', 1, 256)
  return await domain.store.transaction((tx) =>
    save(domain, tx, { ...openDraft(tx, id), status: 'withdrawn' }, by, 'draft-withdrawn'),
  )
}

export function viewOf(read: StoreRead, draft: DraftRecord): DraftView {
  const config = configIn(read, draft.config)
  const approvedBy = approversOf(draft)
  return {
    draft,
    plan: planOf(draft),
    approvedBy,
    missing: Math.max(0, config.reviewers - approvedBy.length),
    stale: draft.status === 'open' && (config.head?.number ?? null) !== draft.base,
  }
}

function planOf(draft: DraftRecord): string {
  return planDigest(draft.config, draft.base, draft.digest)
}

function approversOf(draft: DraftRecord): string[] {
  const plan = planOf(draft)
  const names = draft.approvals.filter((one) => one.digest === plan && one.by !== draft.author).map(({ by }) => by)
  return [...new Set(names)]
}

function openDraft(read: StoreRead, id: string): DraftRecord {
  const draft = read.draft(id)
  if (draft === undefined) throw new RefusedError('not-found', `there is no draft ${JSON.stringify(id)}`)
  if (draft.status !== 'open') throw new RefusedError('not-found', `the draft ${id} is ${draft.status} already`)
  return draft
}

function draftContentIn(read: StoreRead, id: string): Json {
  const content = read.draftContent(id)
  if (content === undefined) throw new RefusedError('not-found', `the content of the draft ${id} is no longer kept`)
  return content
}

function save(domain: Domain, tx: StoreTx, draft: DraftRecord, by: string, action: string, content?: Json): DraftView {
  tx.putDraft(draft, content)
  log(domain, tx, draft, by, action, { draft: draft.id, plan: planOf(draft) })
  return viewOf(tx, draft)
}

function log(domain: Domain, tx: StoreTx, draft: DraftRecord, actor: string, action: string, detail: Json): void {
  tx.appendAudit({ at: domain.now().toISOString(), actor, action, config: draft.config, detail })
}
