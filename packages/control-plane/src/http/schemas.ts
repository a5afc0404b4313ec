/** The shapes of requests and answers. They validate, and the OpenAPI document is made of them: what it says is what holds. */
import { configNamePattern, maxConfigNameLength, nodeStatus } from 'midflight/protocol'
import Type, { type TSchema } from 'typebox'
import { roles } from '../access.ts'
import { problems } from './problem.ts'

const maxPage = 1000
export const defaultPage = 100

const described = (description: string) => ({ description })

export const ConfigName = Type.String({
  maxLength: maxConfigNameLength,
  pattern: configNamePattern.source,
  description: 'the name of a config, such as shop/gateway/prod (in a path with %2F: shop%2Fgateway%2Fprod)',
})
export const Digest = Type.String({
  pattern: '^sha256:[0-9a-f]{64}$',
  description: '"sha256:" and 64 hexadecimal digits',
})
export const ReleaseNumber = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
export const Time = Type.String({
  pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,9})?Z$',
  description: 'a time such as 2026-11-20T09:30:00.000Z',
})
export const Uuid = Type.String({
  pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
  description: 'a UUID in lower case',
})
export const AnyJson = Type.Unknown({ description: 'any JSON' })
const Message = Type.String({ maxLength: 8192, description: 'why, for people' })
export const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
/** Nothing else may be there: a field that is misspelt is told, not passed over. */
const exact = { additionalProperties: false } as const

export const NameParams = Type.Object({ name: ConfigName })
export const ReleaseParams = Type.Object({
  name: ConfigName,
  number: Type.String({ pattern: '^[1-9]\\d{0,15}$', description: 'the number of a release' }),
})
export const IdParams = Type.Object({ id: Uuid })
const Limit = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: maxPage,
    default: defaultPage,
    description: `how many at most; ${defaultPage} if left out`,
  }),
)

export function pageQuery<P extends Record<string, TSchema>>(fields: P) {
  return Type.Object({ ...fields, limit: Limit }, exact)
}

/** `next` goes into `after` of the next request; it is not there on the last page. */
export function pageOf<T extends TSchema>(items: T, next: TSchema = Type.String()) {
  return Type.Object({ items: Type.Array(items), next: Type.Optional(next) })
}

const HeadOf = Type.Object({ number: ReleaseNumber, digest: Digest })
export const Rule = Type.Object(
  { rule: Type.String() },
  { description: '{"rule": "unique" | "less" | "references", …}: see docs/control-plane.md' },
)
export const Config = Type.Object({
  name: ConfigName,
  createdAt: Time,
  reviewers: Type.Integer({ minimum: 0, maximum: 16 }),
  hasSchema: Type.Boolean(),
  rules: Type.Integer({ minimum: 0, description: 'how many' }),
  head: orNull(HeadOf),
})
const demands = {
  schema: Type.Optional(Type.Unknown({ description: 'JSON Schema; null: everything is taken' })),
  rules: Type.Optional(Type.Array(Rule, { maxItems: 100 })),
  reviewers: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 16, description: 'how many others must approve a publish' }),
  ),
}
export const NewConfig = Type.Object({ name: ConfigName, ...demands }, exact)
export const Demands = Type.Object(demands, { ...exact, minProperties: 1 })
export const DemandsOf = Type.Object({ schema: AnyJson, rules: Type.Array(Rule), reviewers: Type.Integer() })

export const Signature = Type.Object({ keyId: Type.String(), alg: Type.Literal('Ed25519'), value: Type.String() })
export const Release = Type.Object({
  config: ConfigName,
  number: ReleaseNumber,
  digest: Digest,
  parent: orNull(ReleaseNumber),
  createdAt: Time,
  author: Type.String(),
  message: Type.String(),
  kind: Type.Union([Type.Literal('publish'), Type.Literal('rollback')]),
  rollbackOf: Type.Optional(ReleaseNumber),
  signature: Type.Optional(Signature),
})
export const Published = Type.Object({
  release: Release,
  created: Type.Boolean(described('false: the content is that of the head, so there is no new release')),
  replayed: Type.Boolean(described('this is the answer to an earlier request with the same Idempotency-Key')),
  rollout: Type.Optional(
    Type.Object(
      {
        number: ReleaseNumber,
        kind: Type.String(),
        steps: Type.Integer(),
        phase: Type.String(described('when this was answered')),
        advice: Type.Optional(Type.Unknown(described('what is said of the risk'))),
      },
      described('how it is brought to the nodes; not there: to all at once, as nothing else was asked for'),
    ),
  ),
})
export const PublishedAll = Type.Object({
  published: Type.Array(Type.Object({ config: ConfigName, release: Release, created: Type.Boolean() })),
  replayed: Type.Boolean(),
})

export const BatchedUpdate = Type.Object({
  release: Release,
  updates: Type.Integer({ minimum: 1, description: 'how many updates the release was made of, this one counted' }),
  created: Type.Boolean(described('false: together they changed nothing, so there is no new release')),
  replayed: Type.Boolean(described('it was in that release already, by its Idempotency-Key')),
})

const BreakGlass = Type.Object({ reason: Type.String({ minLength: 1, maxLength: 8192 }) }, exact)
export const PatchOperation = Type.Object(
  {
    op: Type.Union(['add', 'remove', 'replace', 'move', 'copy', 'test'].map((op) => Type.Literal(op))),
    path: Type.String(),
  },
  { description: 'RFC 6902' },
)
export const PatchBody = Type.Union([
  Type.Array(PatchOperation, { maxItems: 1_000_000 }),
  Type.Record(Type.String(), Type.Unknown()),
])
/** One of content, patch and mergePatch; that it is one of them the operation says. */
export const edit = {
  content: Type.Optional(Type.Unknown({ description: 'all of it' })),
  patch: Type.Optional(Type.Array(PatchOperation, { maxItems: 1_000_000 })),
  mergePatch: Type.Optional(Type.Unknown({ description: 'RFC 7396' })),
}
export const OfflineSignature = Type.Object(
  {
    number: ReleaseNumber,
    createdAt: Time,
    keyId: Type.String({ maxLength: 128 }),
    value: Type.String({ maxLength: 128 }),
  },
  exact,
)
/** `null`: there is no release yet. A number or a digest: of the head. */
const IfMatchField = Type.Union(
  [Type.Null(), ReleaseNumber, Digest],
  described('the head it is made against: its digest or number; null: there is none yet'),
)
export const PublishMany = Type.Object(
  {
    changes: Type.Array(
      Type.Object(
        {
          config: ConfigName,
          ifMatch: IfMatchField,
          message: Type.Optional(Message),
          force: Type.Optional(Type.Boolean()),
          signed: Type.Optional(OfflineSignature),
          ...edit,
        },
        exact,
      ),
      { minItems: 1, maxItems: 100 },
    ),
    breakGlass: Type.Optional(BreakGlass),
  },
  exact,
)
/** Of PUT and PATCH, whose body is the content itself. */
export const PublishQuery = Type.Object(
  {
    message: Type.Optional(Message),
    force: Type.Optional(Type.Literal('true')),
    breakGlass: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, description: 'the reason' })),
    strategy: Type.Optional(
      Type.String({ minLength: 1, maxLength: 16_384, description: 'one word, such as staged, or a strategy as JSON' }),
    ),
  },
  exact,
)
export const PlanRequest = Type.Object(edit, exact)
export const ShownChange = Type.Object({ kind: Type.String(), path: Type.String() }, described('secrets are covered'))
const IssueOf = Type.Object({
  code: Type.String(),
  path: Type.String(described('as in diffs: an entry of a list with keys goes by its key')),
  pointer: Type.String(described('into the content, RFC 6901')),
  message: Type.String(),
})
export const Difference = Type.Object({
  changes: Type.Array(ShownChange),
  restartPaths: Type.Array(Type.String()),
  shown: Type.Union([Type.Literal('values'), Type.Literal('places')]),
})
export const Plan = Type.Object({
  ...Difference.properties,
  head: Type.Object({ config: ConfigName, number: Type.Integer({ minimum: 0 }), digest: orNull(Digest) }),
  content: Digest,
  digest: Digest,
  issues: Type.Array(IssueOf),
  same: Type.Boolean(),
})
export const RollbackRequest = Type.Object(
  {
    to: ReleaseNumber,
    message: Type.Optional(Message),
    force: Type.Optional(Type.Boolean()),
    breakGlass: Type.Optional(BreakGlass),
  },
  exact,
)
export const Blame = Type.Object({ path: Type.String(), release: Release, kind: Type.String() })

export const NewDraft = Type.Object({ message: Type.Optional(Message), ...edit }, exact)
export const EditedDraft = Type.Object(
  { message: Type.Optional(Message), base: Type.Optional(Type.Integer({ minimum: 0 })), ...edit },
  exact,
)
export const Draft = Type.Object({
  id: Uuid,
  config: ConfigName,
  base: orNull(ReleaseNumber),
  digest: Digest,
  author: Type.String(),
  message: Type.String(),
  createdAt: Time,
  updatedAt: Time,
  status: Type.Union([Type.Literal('open'), Type.Literal('published'), Type.Literal('withdrawn')]),
  plan: Digest,
  approvedBy: Type.Array(Type.String()),
  missing: Type.Integer({ minimum: 0 }),
  stale: Type.Boolean(),
})
export const Approve = Type.Object({ digest: Digest }, exact)
export const PublishDraftRequest = Type.Object(
  { digest: Type.Optional(Digest), breakGlass: Type.Optional(BreakGlass) },
  exact,
)

export const Status = Type.Unsafe<Parameters<typeof String>[0]>(nodeStatus.schema as TSchema)
export const Runs = Type.Object({ number: ReleaseNumber, digest: Digest })
export const Node = Type.Object({
  uid: Uuid,
  config: ConfigName,
  labels: Type.Record(Type.String(), Type.String()),
  agent: Type.Object({ name: Type.String(), version: Type.String() }),
  runs: orNull(Runs),
  seen: orNull(ReleaseNumber),
  status: Status,
  detail: Type.Optional(Type.String()),
  prepared: Type.Optional(
    Type.Object(
      { ...Runs.properties, epoch: Type.Integer() },
      described('two-phase: what it holds ready, and waits for the decision on'),
    ),
  ),
  health: Type.Optional(
    Type.Object(
      { ok: Type.Boolean(), release: ReleaseNumber, detail: Type.Optional(Type.String()) },
      described('what its probe found last, and the release that it ran then'),
    ),
  ),
  firstSeenAt: Time,
  lastSeenAt: Time,
  leaseUntil: Time,
  here: Type.Boolean(described('its lease has not ended')),
  connected: Type.Boolean(described('it has a connection now; one that polls has none')),
  why: Type.Optional(Type.String(described('why it does not run the release that was asked about, or the head'))),
  reason: Type.Optional(Type.String(described('the same for people'))),
})
export const Attempt = Type.Object({
  number: ReleaseNumber,
  digest: Digest,
  status: Status,
  detail: Type.Optional(Type.String()),
  attempt: Type.Integer(),
  at: Time,
})

export const Progress = Type.Object({
  release: orNull(ReleaseNumber),
  nodes: Type.Integer(),
  away: Type.Integer(),
  delivered: Type.Integer(),
  applied: Type.Integer(),
  byStatus: Type.Record(Type.String(), Type.Integer()),
})

export const Role = Type.Union(roles.map((role) => Type.Literal(role)))
export const NewToken = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 256 }),
    role: Role,
    prefix: Type.String({ maxLength: maxConfigNameLength }),
    expiresAt: orNull(Time),
  },
  exact,
)
export const Token = Type.Object({
  id: Uuid,
  name: Type.String(),
  role: Role,
  prefix: Type.String(),
  createdAt: Time,
  createdBy: Type.String(),
  expiresAt: orNull(Time),
  revokedAt: orNull(Time),
})
export const AuditEntry = Type.Object({
  number: ReleaseNumber,
  at: Time,
  actor: Type.String(),
  action: Type.String(),
  config: orNull(Type.String()),
  detail: AnyJson,
  prev: Type.String(),
  hash: Type.String(),
})
export const AuditReport = Type.Object({ kind: Type.Union([Type.Literal('whole'), Type.Literal('broken')]) })

const ProblemAnswer = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Union(Object.keys(problems).map((code) => Type.Literal(code))),
    detail: Type.String(described('where, what was found, and what was wanted')),
    holds: Type.Optional(Type.String(described('what holds now'))),
    requestId: Type.String(),
    issues: Type.Optional(Type.Array(IssueOf)),
    head: Type.Optional(Plan.properties.head),
  },
  described('RFC 9457'),
)

/** `200: schema` and the problems that every route may answer with. */
export function answers(good: Record<number, TSchema>): Record<string, unknown> {
  const problem = { description: 'A problem', content: { 'application/problem+json': { schema: ProblemAnswer } } }
  return { ...good, '4xx': problem, '5xx': problem }
}
