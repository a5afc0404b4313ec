/** The shapes of targets and deployments on the wire. What targets may be, `targets/targets.ts` says, place by place. */
import Type, { type TSchema } from 'typebox'
import { nodeStates } from '../targets/installer.ts'
import { AnyJson, ConfigName, orNull, Time } from './schemas.ts'

const exact = { additionalProperties: false } as const
const described = (description: string) => ({ description })
const DeploymentNumber = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'the number of a deployment',
})

export const TargetsBody = Type.Unsafe<unknown>({
  type: 'object',
  description:
    '{kind: INSTANCE | LABELS | TOPO, nodes: […], package: {name, version, files}, parameters, secrets, remoteHost, ' +
    'autoInspection, onVersionChange, installer}: see docs/targets.md',
})
const Host = Type.Object({
  id: Type.Optional(Type.String()),
  ip: Type.Optional(Type.String()),
  cloud: Type.Optional(Type.String()),
})
const Node = Type.Object({
  key: Type.String(described('the same for the same node, however it was written')),
  ...Host.properties,
  by: Type.Optional(Type.String(described('the selector or group that means it'))),
  unknown: Type.Optional(Type.Literal(true, described('no node is known: it stands for all that may come'))),
})
const section = (schema: TSchema) =>
  Type.Object({ before: orNull(schema), after: orNull(schema), changed: Type.Boolean() })
const Nodes = Type.Array(Node)
export const TargetsPlanOf = Type.Object(
  {
    operation: Type.Object({
      kind: Type.String(described('create, update, replace or nothing')),
      why: Type.String(),
      reaches: Type.Boolean(described('nodes have to be told')),
    }),
    diff: Type.Object({
      version: section(Type.String()),
      parameters: section(AnyJson),
      remoteHost: section(Host),
      targets: section(Type.Object({ kind: Type.String(), nodes: Type.Array(AnyJson) })),
      nodes: Type.Object({ added: Nodes, updated: Nodes, removed: Nodes, unchanged: Nodes }),
    }),
  },
  described('what the targets would mean: node by node, and as an operation'),
)
const Aggregate = Type.String(described('UNKNOWN, SUCCESS, WARNING or FAILED'))
export const DeploymentOf = Type.Object({
  config: ConfigName,
  number: DeploymentNumber,
  action: Type.String(described('create, update, replace, start, stop, uninstall or retry')),
  why: Type.String(),
  phase: Type.String(described('going, returning, applied, failed or revoked')),
  held: orNull(Type.String(described('nothing goes on until somebody says retry'))),
  note: orNull(Type.String(described('what was last found to be in the way, or was left behind'))),
  failure: orNull(Type.String()),
  steps: Type.Array(Type.Object({ step: Type.String(), state: Type.String(described('done, begun or waiting')) })),
  done: Type.Array(
    Type.Object({
      step: Type.String(),
      at: Time,
      note: Type.Optional(Type.String(described('what was found at its end: who was away, who had failed'))),
    }),
    described('every step that was taken, also those that undid others'),
  ),
  subscription: orNull(Type.String(described('where it leads to'))),
  parent: orNull(DeploymentNumber),
  rollbackOf: Type.Optional(DeploymentNumber),
  by: Type.String(),
  message: Type.String(),
  createdAt: Time,
  endedAt: orNull(Time),
})
const NodeStates = Type.Array(
  Type.Object({
    node: Type.String(),
    state: Type.Unsafe<(typeof nodeStates)[number]>({ enum: nodeStates }),
    detail: Type.Optional(Type.String()),
  }),
)
export const TargetsOf = Type.Object({
  number: orNull(DeploymentNumber),
  targets: orNull(AnyJson),
  subscription: orNull(Type.String()),
  enabled: Type.Boolean(),
  inspected: Type.Boolean(),
  status: Aggregate,
  underWay: orNull(DeploymentOf),
})
export const DeployStatus = Type.Object({
  ...TargetsOf.properties,
  nodes: orNull(NodeStates),
  trouble: orNull(Type.String(described('why the nodes could not be looked at'))),
  last: orNull(DeploymentOf),
})
export const Deployed = Type.Object({ deployment: orNull(DeploymentOf), plan: TargetsPlanOf })
export const TargetsQuery = Type.Object(
  { message: Type.Optional(Type.String({ maxLength: 4096, description: 'why, for people' })) },
  exact,
)
export const Asking = Type.Object({ message: Type.Optional(Type.String({ maxLength: 4096 })) }, exact)
export const RollbackTargets = Type.Object({ ...Asking.properties, to: Type.Optional(DeploymentNumber) }, exact)
