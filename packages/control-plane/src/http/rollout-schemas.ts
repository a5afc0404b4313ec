/** The shapes of rollouts, strategies and freezes on the wire; the rest is in `schemas.ts`. What a strategy may be in numbers, `strategies/spec.ts` says. */
import Type, { type TSchema } from 'typebox'
import { strategyKinds } from '../strategy.ts'
import { AnyJson, ConfigName, Digest, pageOf, ReleaseNumber, Runs, Time } from './schemas.ts'

const exact = { additionalProperties: false } as const
const described = (description: string) => ({ description })
const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const milliseconds = Type.Number(described('milliseconds'))

export const specKinds = [...strategyKinds, 'by-risk', 'instant'] as const

const Labels = Type.Record(Type.String({ maxLength: 128 }), Type.String({ maxLength: 256 }), { maxProperties: 32 })
export const Strategy = Type.Object(
  {
    kind: Type.Unsafe<(typeof specKinds)[number]>({ enum: specKinds }),
    steps: Type.Optional(
      Type.Array(
        Type.Object(
          { percent: Type.Optional(Type.Number()), labels: Type.Optional(Labels), bakeMs: Type.Optional(milliseconds) },
          exact,
        ),
        { maxItems: 99 },
      ),
    ),
    percent: Type.Optional(Type.Number(described('linear: of each step; exponential: of the first'))),
    factor: Type.Optional(Type.Number(described('exponential: how many times as many nodes with each step'))),
    label: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'by-zone: its value is the zone' })),
    bakeMs: Type.Optional(milliseconds),
    twoPhase: Type.Optional(Type.Boolean()),
    absent: Type.Optional(
      Type.Union(
        [
          Type.Object({ kind: Type.Literal('count'), max: Type.Number() }, exact),
          Type.Object({ kind: Type.Literal('percent'), max: Type.Number() }, exact),
          Type.Object(
            {
              kind: Type.Literal('per-zone'),
              max: Type.Number(),
              label: Type.String({ minLength: 1, maxLength: 128 }),
            },
            exact,
          ),
        ],
        described('two-phase: how many nodes may be missing when it is decided'),
      ),
    ),
    prepareMs: Type.Optional(milliseconds),
    applyMs: Type.Optional(milliseconds),
    maxFailed: Type.Optional(Type.Integer(described('so many nodes may fail'))),
    probes: Type.Optional(Type.Unsafe<'if-present' | 'required'>({ enum: ['if-present', 'required'] })),
    gates: Type.Optional(Type.Array(Type.Unknown(), { maxItems: 64, description: 'see docs/gates.md' })),
    gateMs: Type.Optional(milliseconds),
    confirmMs: Type.Optional(orNull(milliseconds)),
    revertMs: Type.Optional(orNull(milliseconds)),
    whenBusy: Type.Optional(Type.Unsafe<'wait' | 'supersede'>({ enum: ['wait', 'supersede'] })),
  },
  { ...exact, description: 'how a release is brought to its nodes; see docs/rollouts.md' },
)
const Freeze = Type.Union([
  Type.Object({ from: Time, to: Time, reason: Type.String({ maxLength: 1024 }) }, exact),
  Type.Object(
    {
      weekly: Type.Object(
        { days: Type.Array(Type.Integer(), { maxItems: 7 }), from: Type.String(), to: Type.String() },
        { ...exact, description: 'days from 0 (Sunday) to 6, times of the day in UTC such as 16:00' },
      ),
      reason: Type.String({ maxLength: 1024 }),
    },
    exact,
  ),
])
export const PolicyChange = Type.Object(
  {
    strategy: Type.Optional(orNull(Strategy)),
    freezes: Type.Optional(Type.Array(Freeze, { maxItems: 200 })),
  },
  { ...exact, minProperties: 1 },
)
const ActiveFreeze = Type.Object({ reason: Type.String(), endsAt: Time })
export const Policy = Type.Object({
  strategy: orNull(AnyJson),
  freezes: Type.Array(AnyJson),
  frozen: orNull(ActiveFreeze),
})

const Advice = Type.Object(
  {
    score: Type.Integer({ minimum: 0, maximum: 100 }),
    level: Type.String(),
    recommended: Type.String(),
    factors: Type.Record(Type.String(), Type.Integer()),
  },
  described('what was said of the risk before'),
)
const NodeReasons = Type.Array(Type.Object({ node: Type.String(), reason: Type.String() }))
export const RolloutSummary = Type.Object({
  config: ConfigName,
  number: Type.Integer({ ...described('of the release'), minimum: 1 }),
  digest: Digest,
  kind: Type.String(),
  phase: Type.String(),
  step: Type.Integer(described('counting from 0')),
  steps: Type.Integer(described('how many')),
  by: Type.String(),
  createdAt: Time,
  startedAt: orNull(Time),
  endedAt: orNull(Time),
  pauses: Type.Array(Type.Object({ reason: Type.String(), by: Type.String() })),
  failure: orNull(
    Type.Object({
      kind: Type.String(),
      step: Type.Integer(),
      found: Type.String(),
      gate: Type.Optional(Type.String()),
      nodes: NodeReasons,
    }),
  ),
  from: orNull(Runs),
  rollback: orNull(Runs),
  mixedMs: Type.Number(described('two-phase: from the first commit to the last, at most')),
  advice: Type.Optional(Advice),
  urgent: Type.Optional(Type.Literal(true)),
})
const Counted = Type.Record(Type.String(), Type.Integer())
export const RolloutDetail = Type.Object({
  ...RolloutSummary.properties,
  strategy: AnyJson,
  epoch: Type.Integer(),
  spentMs: Type.Number(described('how long the phase has lasted, pauses left out')),
  decided: Type.Integer(described('the nodes of so many steps are to run the release')),
  confirmed: Type.Integer(described('so many steps are through')),
  passed: Type.Array(Type.String(described('gates that have passed at the end of this bake'))),
  counts: Type.Object({ reasons: NodeReasons }, described('nodes of the steps that were begun, by how far they are')),
  progress: Type.Array(
    Type.Object({ select: AnyJson, bakeMs: Type.Number(), counts: orNull(Counted) }),
    described('each step; counts only while it is under way'),
  ),
  events: pageOf(
    Type.Object({ seq: Type.Integer(), at: Time, epoch: Type.Integer(), event: Type.Object({ kind: Type.String() }) }),
    Type.Integer(),
  ),
})
export const Control = Type.Object({ reason: Type.String({ minLength: 1, maxLength: 1024 }) }, exact)
export const RiskOf = Type.Object({
  score: Type.Integer(),
  level: Type.String(),
  reasons: Type.Array(Type.Object({ factor: Type.String(), points: Type.Integer(), text: Type.String() })),
  recommended: Type.Object({ strategy: Type.String(), why: Type.String() }),
})
export const FleetOf = Type.Object(
  { present: Type.Integer(), restarts: Type.Integer(), kinds: Type.Array(AnyJson), zones: Type.Array(AnyJson) },
  described('which nodes follow, and what their components would do'),
)
export const RolloutForecast = Type.Object(
  {
    from: Type.String(),
    kind: Type.String(),
    twoPhase: Type.Boolean(),
    steps: Type.Array(Type.Object({ select: AnyJson, bakeMs: Type.Number(), nodes: Type.Integer() })),
    gates: Type.Array(Type.String()),
    confirmMs: orNull(Type.Number()),
    frozen: orNull(ActiveFreeze),
    waitsFor: orNull(ReleaseNumber),
  },
  described('what would happen'),
)
export const RiskReport = Type.Object({
  report: Type.Object({ releases: Type.Integer(), bad: Type.Integer(), pending: Type.Integer() }),
  records: Type.Array(
    Type.Object({
      number: ReleaseNumber,
      risk: AnyJson,
      strategy: Type.String(),
      outcome: orNull(Type.String()),
    }),
  ),
})
