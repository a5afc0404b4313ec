/** Configs: made, listed, looked at, and what they demand of their contents. */
import { createConfig, changeDemands, type ConfigDemands } from '../../configs.ts'
import { configIn } from '../../publish.ts'
import type { ConfigRecord } from '../../store.ts'
import { json } from '../body.ts'
import { allow, listedPrefix, may, principalOf } from '../permit.ts'
import { isKnown } from '../precondition.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import {
  answers,
  Config,
  ConfigName,
  Demands,
  DemandsOf,
  NameParams,
  NewConfig,
  pageOf,
  pageQuery,
} from '../schemas.ts'
import Type from 'typebox'

const tags = ['configs']

export function configRoutes(app: App, { domain, live }: Parts): void {
  app.post(
    '/v1/configs',
    {
      config: { access: { for: 'each', permission: 'configure' }, consumes: [json] },
      schema: {
        operationId: 'createConfig',
        summary: 'Make a config',
        tags,
        body: NewConfig,
        response: answers({ 201: Config }),
      },
    },
    async (request, reply) => {
      const { name } = request.body
      allow(request, 'configure', name)
      const made = await createConfig(domain, {
        ...(request.body as ConfigDemands & { name: string }),
        actor: principalOf(request).name,
      })
      live.add('config', name, { name, change: 'created' })
      reply.code(201).header('location', `/v1/configs/${encodeURIComponent(name)}`)
      return viewOf(made)
    },
  )

  app.get(
    '/v1/configs',
    {
      config: { access: { for: 'each', permission: 'read' } },
      schema: {
        operationId: 'listConfigs',
        summary: 'The configs, by name',
        tags,
        querystring: pageQuery({
          prefix: Type.Optional(Type.Union([Type.Literal(''), ConfigName])),
          after: Type.Optional(ConfigName),
        }),
        response: answers({ 200: pageOf(Config) }),
      },
    },
    async (request) => {
      const { prefix = '', after, limit } = request.query
      const principal = principalOf(request)
      const below = listedPrefix(principal, prefix)
      if (below === undefined || !may(principal, 'read', below === '' ? 'any' : below)) return { items: [] }
      const found = await domain.store.read((read) => read.configs(below, after, sizeOf(limit)))
      return page(found, limit, ({ name }) => name, viewOf)
    },
  )

  app.get(
    '/v1/configs/:name',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getConfig',
        summary: 'A config and its head',
        tags,
        params: NameParams,
        response: answers({ 200: Config, 304: Type.Null() }),
      },
    },
    async (request, reply) => {
      const config = await domain.store.read((read) => configIn(read, request.params.name))
      if (config.head !== null && isKnown(request, reply, config.head.digest)) return reply.send()
      return viewOf(config)
    },
  )

  app.get(
    '/v1/configs/:name/schema',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getSchema',
        summary: 'What a config demands of its contents',
        tags,
        params: NameParams,
        response: answers({ 200: DemandsOf }),
      },
    },
    async (request) => {
      const { schema, rules, reviewers } = await domain.store.read((read) => configIn(read, request.params.name))
      return { schema, rules, reviewers }
    },
  )

  app.put(
    '/v1/configs/:name/schema',
    {
      config: { access: { for: 'config', permission: 'configure' }, consumes: [json] },
      schema: {
        operationId: 'putSchema',
        summary: 'Change what a config demands; what is left out stays',
        tags,
        params: NameParams,
        body: Demands,
        response: answers({ 200: Config }),
      },
    },
    async (request) => {
      const { name } = request.params
      const actor = principalOf(request).name
      const changed = await changeDemands(domain, name, request.body as ConfigDemands, actor)
      live.add('config', name, { name, change: 'demands' })
      return viewOf(changed)
    },
  )
}

function viewOf({ name, createdAt, schema, rules, reviewers, head }: ConfigRecord): unknown {
  return { name, createdAt, reviewers, hasSchema: schema !== null, rules: rules.length, head }
}
