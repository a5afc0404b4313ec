/** Real stores to run the operations on, and the config that the scenarios start from. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Json } from 'midflight'
import { onTestFinished } from 'vitest'
import { createConfig, type ConfigDemands } from '../src/configs.ts'
import { domainOf, type Domain, type DomainOptions } from '../src/domain.ts'
import { publish, type PublishRequest } from '../src/publish.ts'
import type { ConfigChange, Edit, Published, RefusedError } from '../src/release.ts'
import type { Store } from '../src/store.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { openSqlite } from '../src/stores/sqlite.ts'

export const config = 'shop/limits/prod'

/** Closed when the test is over. */
export async function memory(): Promise<Store> {
  const store = memoryStore()
  onTestFinished(() => store.close())
  return store
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'midflight-domain-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export async function sqlite(): Promise<Store> {
  const directory = await temporaryFolder()
  const store = await openSqlite({ directory })
  onTestFinished(() => store.close())
  return store
}

export const stores = [
  ['memory', memory],
  ['SQLite', sqlite],
] as const

/** A clock that is moved by hand. */
export class HandClock {
  atMs = Date.parse('2026-11-20T09:00:00.000Z')
  readonly now = (): Date => new Date(this.atMs)
}

/** The rules of scenarios R. */
export const limits: Json = {
  rules: [
    { id: 'r1', resource: 'api:GET:/api/users', limit: 1000, unit: 'second' },
    { id: 'r2', resource: 'service:order', limit: 200, unit: 'second' },
  ],
}

export const limitsSchema: Json = {
  type: 'object',
  required: ['rules'],
  additionalProperties: false,
  properties: {
    rules: {
      type: 'array',
      'x-midflight-key': 'id',
      items: {
        type: 'object',
        required: ['id', 'resource', 'limit'],
        properties: {
          id: { type: 'string' },
          resource: { type: 'string' },
          limit: { type: 'integer', minimum: 1 },
          unit: { enum: ['second', 'minute'] },
          expiresAt: { type: 'string' },
        },
      },
    },
    note: { type: 'string' },
    password: { type: 'string', 'x-midflight-secret': true },
  },
}

/** A domain with the config of the scenarios, which has no release yet. */
export async function ready(
  store: Store,
  demands: ConfigDemands = { schema: limitsSchema },
  options: Partial<DomainOptions> = {},
): Promise<Domain> {
  const domain = domainOf({ store, ...options })
  await createConfig(domain, { name: config, actor: 'root', ...demands })
  return domain
}

export async function publishOne(
  domain: Domain,
  change: Edit & Partial<Pick<ConfigChange, 'config' | 'ifMatch' | 'message' | 'force' | 'signed'>>,
  request: Partial<PublishRequest> = {},
): Promise<Published> {
  const { published } = await publish(domain, {
    author: 'ada',
    ...request,
    changes: [{ config, ...change } as ConfigChange],
  })
  return published[0] as Published
}

/** What `work` was refused with. */
export async function refusal(work: Promise<unknown>): Promise<RefusedError> {
  return await work.then(
    () => {
      throw new Error('it was not refused')
    },
    (error: RefusedError) => error,
  )
}

export async function headContent(domain: Domain, name: string = config): Promise<Json | undefined> {
  return await domain.store.read((read) => {
    const head = read.config(name)?.head
    return head ? read.content(name, head.number) : undefined
  })
}

export async function releaseCount(domain: Domain, name: string = config): Promise<number> {
  return await domain.store.read((read) => read.releases(name, undefined, 10_000).length)
}
