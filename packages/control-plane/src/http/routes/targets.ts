/** Targets of a config and their deployments: planned, set, looked at, and what people do with them. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import Type from 'typebox'
import { configIn } from '../../publish.ts'
import { RefusedError } from '../../release.ts'
import { stepText, type DeploymentRecord } from '../../targets/deployment.ts'
import type { Asked, Control, Ordered } from '../../targets/orders.ts'
import { shownDiff, targetsOf, type TargetsPlan } from '../../targets/plan.ts'
import { shownTargets } from '../../targets/secrets.ts'
import { json } from '../body.ts'
import { may, principalOf } from '../permit.ts'
import { etagOf, tagsIn } from '../precondition.ts'
import { Problem } from '../problem.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import { answers, NameParams, pageOf, pageQuery, ReleaseNumber } from '../schemas.ts'
import {
  Asking,
  Deployed,
  DeploymentOf,
  DeployStatus,
  RollbackTargets,
  TargetsBody,
  TargetsOf,
  TargetsPlanOf,
  TargetsQuery,
} from '../target-schemas.ts'

const tags = ['targets']
const controls: readonly (readonly [Control, string])[] = [
  ['start', 'Let it work on its nodes again'],
  ['stop', 'It stays on its nodes and does not work'],
  ['uninstall', 'Take it off its nodes; it must be stopped'],
  ['retry', 'Try again on the nodes that failed or wait; or go on with a deployment that is held'],
  ['revoke', 'Undo the deployment that is under way, as long as what was there before is whole'],
]

export function targetRoutes(app: App, parts: Parts): void {
  const { domain, deployer, contentLimit } = parts

  async function viewOf(config: string) {
    return await domain.store.read((read) => {
      configIn(read, config)
      const pointer = read.deployments.pointer(config)
      const [open] = read.deployments.open(config)
      return {
        number: pointer?.number ?? null,
        targets: pointer === undefined ? null : shownTargets(targetsOf(read, config, pointer.number)),
        subscription: pointer?.subscription.id ?? null,
        enabled: pointer?.enabled ?? false,
        inspected: pointer?.inspected ?? false,
        status: pointer?.status ?? 'UNKNOWN',
        underWay: open === undefined ? null : deploymentView(open),
      }
    })
  }

  app.get(
    '/v1/configs/:name/targets',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getTargets',
        summary: 'The targets that hold, secrets not shown; their ETag goes into If-Match of a change',
        tags,
        params: NameParams,
        response: answers({ 200: TargetsOf }),
      },
    },
    async (request, reply) => {
      const view = await viewOf(request.params.name)
      reply.header('etag', etagOf(tagOf(view.number))).header('cache-control', 'no-store')
      return view
    },
  )

  app.put(
    '/v1/configs/:name/targets',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'publish' }, consumes: [json] },
      schema: {
        operationId: 'putTargets',
        summary: 'Bring these targets about; If-Match names the ones that were seen. 200: nothing is to be done',
        tags,
        params: NameParams,
        querystring: TargetsQuery,
        body: TargetsBody,
        response: answers({ 200: Deployed, 202: Deployed }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const { message } = request.query
      const asked = { ...askedBy(request, message), ...ifMatchOf(request) }
      return answered(reply, name, await deployer.set(name, request.body, asked))
    },
  )

  app.post(
    '/v1/configs/:name/targets/plan',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'read' }, consumes: [json] },
      schema: {
        operationId: 'planTargets',
        summary: 'What these targets would mean; nothing is stored, and nobody outside is asked',
        tags,
        params: NameParams,
        body: TargetsBody,
        response: answers({ 200: TargetsPlanOf }),
      },
    },
    async (request) => planView(await deployer.plan(request.params.name, request.body)),
  )

  app.post(
    '/v1/configs/:name/targets/rollback',
    {
      config: { access: { for: 'config', permission: 'rollback' }, consumes: [json] },
      schema: {
        operationId: 'rollbackTargets',
        summary:
          'Bring back the targets of an earlier deployment that held; without `to` those before the ones that hold',
        tags,
        params: NameParams,
        body: RollbackTargets,
        response: answers({ 200: Deployed, 202: Deployed }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const { to, message } = request.body
      const asked = { ...askedBy(request, message), ...optionalIfMatchOf(request) }
      return answered(reply, name, await deployer.rollBack(name, to, asked))
    },
  )

  app.post(
    '/v1/configs/:name/targets/rollback/plan',
    {
      config: { access: { for: 'config', permission: 'read' }, consumes: [json] },
      schema: {
        operationId: 'planRollbackTargets',
        summary: 'What a rollback would mean; nothing is stored, and nobody outside is asked',
        tags,
        params: NameParams,
        body: Type.Pick(RollbackTargets, ['to']),
        response: answers({ 200: TargetsPlanOf }),
      },
    },
    async (request) => planView(await deployer.planRollback(request.params.name, request.body.to)),
  )

  for (const [control, summary] of controls) {
    app.post(
      `/v1/configs/:name/targets/${control}`,
      {
        config: { access: { for: 'config', permission: 'publish' }, consumes: [json] },
        schema: {
          operationId: `${control}Targets`,
          summary,
          tags,
          params: NameParams,
          body: Asking,
          response: answers({ 202: DeploymentOf }),
        },
      },
      async (request, reply) => {
        const { name } = request.params
        const record = await deployer.control(name, control, askedBy(request, request.body.message))
        reply.code(202).header('location', locationOf(name, record.number))
        return deploymentView(record)
      },
    )
  }

  app.get(
    '/v1/configs/:name/targets/status',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'deployStatus',
        summary: 'How the nodes are, asked now, and how far the deployment is',
        tags,
        params: NameParams,
        response: answers({ 200: DeployStatus }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      reply.header('cache-control', 'no-store')
      for (let before = await viewOf(name), tries = 1; ; tries++) {
        const found = await deployer.nodes(name).then(
          (nodes) => ({ nodes, trouble: null }),
          (error: unknown) => ({ nodes: null, trouble: error instanceof Error ? error.message : String(error) }),
        )
        const [last] = await domain.store.read((read) => read.deployments.list(name, undefined, 1))
        const view = await viewOf(name)
        // A deployment that ended meanwhile is not shown with the nodes as they were before its end.
        const isOne = before.number === view.number && before.underWay?.number === view.underWay?.number
        if (isOne || tries === 3) return { ...view, ...found, last: last === undefined ? null : deploymentView(last) }
        before = view
      }
    },
  )

  app.get(
    '/v1/configs/:name/deployments',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'listDeployments',
        summary: 'The deployments, newest first; `after` is the number of the last one seen',
        tags,
        params: NameParams,
        querystring: pageQuery({ after: Type.Optional(ReleaseNumber) }),
        response: answers({ 200: pageOf(DeploymentOf, ReleaseNumber) }),
      },
    },
    async (request) => {
      const { name } = request.params
      const { after, limit } = request.query
      const found = await domain.store.read((read) => {
        configIn(read, name)
        return read.deployments.list(name, after, sizeOf(limit))
      })
      return page(found, limit, (last) => last.number, deploymentView)
    },
  )

  app.get(
    '/v1/configs/:name/deployments/:number',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getDeployment',
        summary: 'One deployment and the targets it brought, secrets not shown',
        tags,
        params: Type.Object({ ...NameParams.properties, number: Type.String({ pattern: '^[1-9]\\d{0,15}$' }) }),
        response: answers({ 200: Type.Object({ ...DeploymentOf.properties, targets: Type.Unknown() }) }),
      },
    },
    async (request) => {
      const { name, number } = request.params
      const found = await domain.store.read((read) => {
        configIn(read, name)
        return read.deployments.get(name, Number(number))
      })
      if (found === undefined) throw new RefusedError('not-found', `${name} has no deployment ${number}`)
      return { ...deploymentView(found), targets: found.targets && shownTargets(found.targets) }
    },
  )
}

function answered(reply: FastifyReply, config: string, { plan, deployment }: Ordered): unknown {
  reply.code(deployment === null ? 200 : 202)
  if (deployment !== null) reply.header('location', locationOf(config, deployment.number))
  return { plan: planView(plan), deployment: deployment && deploymentView(deployment) }
}

export function planView(plan: TargetsPlan): unknown {
  return { operation: plan.operation, diff: shownDiff(plan) }
}

export function deploymentView(record: DeploymentRecord) {
  const { config, number, action, why, parent, by, message, createdAt, endedAt, state, after, rollbackOf } = record
  const { phase, held, note, failure, done, steps, step, begun } = state
  const stateOf = (i: number): string => (i < step ? 'done' : i === step && begun ? 'begun' : 'waiting')
  return {
    config,
    number,
    action,
    why,
    phase,
    held,
    note,
    failure,
    steps: steps.map((one, i) => ({ step: stepText(one), state: stateOf(i) })),
    done,
    subscription: after?.subscription.id ?? null,
    parent,
    ...(rollbackOf !== undefined && { rollbackOf }),
    by,
    message,
    createdAt,
    endedAt,
  }
}

function locationOf(config: string, number: number): string {
  return `/v1/configs/${encodeURIComponent(config)}/deployments/${number}`
}

function askedBy(request: FastifyRequest, message: string | undefined): Asked {
  const principal = principalOf(request)
  const mayPublishNodes = may(principal, 'publish', 'nodes')
  return { by: principal.name, mayPublishNodes, ...(message !== undefined && { message }) }
}

/** The entity tag of targets is the number of the deployment that brought them. */
function tagOf(number: number | null): string {
  return number === null ? 'none' : String(number)
}

/** @throws Problem `precondition-required`: who changes what was not seen undoes what another has done. */
function ifMatchOf(request: FastifyRequest): Pick<Asked, 'ifMatch'> {
  if (request.headers['if-none-match']?.trim() === '*') return { ifMatch: 0 }
  if (request.headers['if-match'] !== undefined) return optionalIfMatchOf(request)
  throw new Problem(
    'precondition-required',
    'If-Match is missing; want the ETag of the targets, or If-None-Match: * for the first',
    {
      holds: 'nothing was changed',
    },
  )
}

function optionalIfMatchOf(request: FastifyRequest): Pick<Asked, 'ifMatch'> {
  const match = request.headers['if-match']
  if (match === undefined || match.trim() === '*') return {}
  const [tag = ''] = tagsIn(match)
  // What is no number is no tag of ours, and fits no targets.
  return { ifMatch: tag === 'none' ? 0 : /^[1-9]\d{0,15}$/.test(tag) ? Number(tag) : -1 }
}
