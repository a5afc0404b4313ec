/**
 * What the gateway can be told, and what of it can change while it serves. The only description of the configuration:
 * the types in every other file follow from it, and `midflight --schema examples/gateway/src/config.ts` reads it too.
 */
import { jsonSchema, type ConfigOf, type Frozen } from 'midflight'

/** Marked `x-midflight-restart`: a reload that changes it is refused, with the path. */
const restart = { 'x-midflight-restart': true } as const

export const schema = jsonSchema({
  type: 'object',
  additionalProperties: false,
  required: ['server', 'upstreams', 'routes'],
  properties: {
    server: {
      description: 'Where the gateway listens. Clients hold connections to it, so it cannot move.',
      type: 'object',
      additionalProperties: false,
      required: ['port'],
      properties: {
        host: { type: 'string', minLength: 1, default: '127.0.0.1', ...restart },
        port: { type: 'integer', minimum: 0, maximum: 65535, ...restart, description: '0 takes a free one.' },
      },
    },
    log: {
      type: 'object',
      additionalProperties: false,
      default: {},
      properties: {
        level: { enum: ['trace', 'debug', 'info', 'warn', 'error', 'silent'], default: 'info' },
        format: { enum: ['json', 'text'], default: 'text' },
        destination: {
          type: 'string',
          minLength: 1,
          default: 'stderr',
          description: 'stdout, stderr, or a file, counted from the directory of the configuration.',
        },
      },
    },
    upstreams: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['url'],
        properties: {
          url: { type: 'string', pattern: '^https?://[^/?#\\s]+$', description: 'Scheme, host and port; no path.' },
          connections: { type: 'integer', minimum: 1, maximum: 10_000, default: 64 },
          timeoutMs: {
            type: 'integer',
            minimum: 1,
            maximum: 600_000,
            default: 10_000,
            description: 'For connecting, for the first byte of an answer, and between two pieces of it.',
          },
          authorization: { type: 'string', writeOnly: true, description: 'Sent as the Authorization header.' },
        },
      },
    },
    routes: {
      type: 'array',
      'x-midflight-key': 'path',
      description: 'The longest path that a request begins with decides.',
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['path', 'upstream'],
        properties: {
          path: { type: 'string', pattern: '^/[^?#\\s]*$' },
          upstream: { type: 'string', minLength: 1 },
        },
      },
    },
    rules: {
      type: 'array',
      default: [],
      'x-midflight-key': 'id',
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['id', 'resource', 'limit', 'per'],
        properties: {
          id: { type: 'string', minLength: 1 },
          resource: { type: 'string', description: 'api:GET:/api/users, or service:<name of an upstream>.' },
          limit: { type: 'integer', minimum: 1 },
          per: { enum: ['second', 'minute', 'hour'] },
          effect: { const: 429, default: 429 },
          expiresAt: { type: 'string', format: 'date-time', description: 'Holds by the clock, without a reload.' },
        },
      },
    },
    plugins: {
      type: 'object',
      default: {},
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['enabled'],
        properties: {
          enabled: { type: 'boolean', ...restart },
          header: { type: 'string', pattern: '^[A-Za-z0-9-]+$' },
          value: { type: 'string', pattern: '^[ -~]*$' },
        },
      },
    },
  },
})

export default schema

export type Config = Frozen<ConfigOf<typeof schema>>
