/** Nodes: who runs what, and why not. */
import type { NodeStatus } from 'midflight/protocol'
import Type from 'typebox'
import { reasonText, whyNot } from '../../fleet.ts'
import { configIn, releaseIn } from '../../publish.ts'
import { laggards } from '../../laggards.ts'
import type { NodeRecord } from '../../store.ts'
import type { Wanted } from '../../desired.ts'
import { allow, may, principalOf } from '../permit.ts'
import { Problem } from '../problem.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import {
  answers,
  Attempt,
  defaultPage,
  NameParams,
  Node,
  pageOf,
  pageQuery,
  Progress,
  ReleaseNumber,
  Status,
  Uuid,
} from '../schemas.ts'

const tags = ['nodes']

export function nodeRoutes(app: App, { domain, hub, roster }: Parts): void {
  // Out of memory, where it is as it was heard of last: the store has it a moment later, or not at all while the disk is
  // full, and to look is not to need room.
  function viewOf(node: NodeRecord, wanted: Wanted | null): unknown {
    const isAway = roster.isAway(node.uid)
    const why = wanted === null ? undefined : whyNot(wanted, node, isAway)
    return {
      ...node,
      here: !isAway,
      connected: hub.isConnected(node.uid),
      ...(why === undefined ? {} : { why, reason: reasonText(why, node) }),
    }
  }

  app.get(
    '/v1/configs/:name/nodes',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'listNodes',
        summary: 'The nodes of a config, by uid; with `notOn`, those that do not run that release, and why',
        tags,
        params: NameParams,
        querystring: pageQuery({
          status: Type.Optional(Status),
          notOn: Type.Optional(ReleaseNumber),
          after: Type.Optional(Uuid),
        }),
        response: answers({ 200: pageOf(Node) }),
      },
    },
    async (request) => {
      const { name } = request.params
      const { status, notOn, after, limit = defaultPage } = request.query
      const filter = status === undefined ? {} : { status: status as NodeStatus }
      if (notOn !== undefined) {
        const release = await domain.store.read((read) => releaseIn(read, name, notOn))
        const found = await laggards(domain, roster, { config: name, number: notOn, ...filter, after, limit })
        const items = found.laggards.map(({ node }) => viewOf(node, release))
        return { items, ...(found.next === undefined ? {} : { next: found.next }) }
      }
      const { head } = await domain.store.read((read) => configIn(read, name))
      const isOne = (node: NodeRecord): boolean => status === undefined || node.status === status
      return page(
        roster.nodes(name, isOne, after, sizeOf(limit)),
        limit,
        ({ uid }) => uid,
        (node) => viewOf(node, head),
      )
    },
  )

  app.get(
    '/v1/configs/:name/nodes/summary',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'summariseNodes',
        summary: 'How far the nodes are with the head: accepted, delivered, applied, and how many have each status',
        tags,
        params: NameParams,
        response: answers({ 200: Progress }),
      },
    },
    async ({ params: { name } }) => roster.progress(name, await domain.store.read((read) => configIn(read, name).head)),
  )

  app.get(
    '/v1/nodes/:uid',
    {
      config: { access: { for: 'each', permission: 'read' } },
      schema: {
        operationId: 'getNode',
        summary: 'One node, and what it tried, newest first',
        tags,
        params: Type.Object({ uid: Uuid }),
        querystring: pageQuery({}),
        response: answers({ 200: Type.Object({ node: Node, attempts: Type.Array(Attempt) }) }),
      },
    },
    async (request) => {
      const { uid } = request.params
      const found = await domain.store.read((read) => {
        const node = roster.node(uid)
        if (node === undefined) return undefined
        const limit = sizeOf(request.query.limit) - 1
        const attempts = [...roster.recent(uid), ...read.attempts(uid, limit)].slice(0, limit)
        return { node, head: configIn(read, node.config).head, attempts }
      })
      if (found === undefined || !may(principalOf(request), 'read', found.node.config)) {
        throw new Problem('not-found', `there is no node ${uid}`)
      }
      // Of other configs that it once belonged to, nobody asked whether they may be seen.
      const own = found.attempts.filter(({ config }) => config === found.node.config)
      const attempts = own.map(({ uid: _, config: __, ...attempt }) => attempt)
      return { node: viewOf(found.node, found.head), attempts }
    },
  )
  app.delete(
    '/v1/nodes/:uid',
    {
      config: { access: { for: 'each', permission: 'configure' } },
      schema: {
        operationId: 'forgetNode',
        summary: 'Forget a node that will not come back; if it does, it is a new one',
        tags,
        params: Type.Object({ uid: Uuid }),
        response: answers({ 204: Type.Null() }),
      },
    },
    async (request, reply) => {
      const { uid } = request.params
      const node = roster.node(uid)
      const principal = principalOf(request)
      if (node === undefined || !may(principal, 'read', node.config)) {
        throw new Problem('not-found', `there is no node ${uid}`)
      }
      allow(request, 'configure', node.config)
      await roster.forget(uid, principal.name)
      return reply.code(204).send()
    },
  )
}
