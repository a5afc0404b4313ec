/** The schema of the configuration that `rules.ts` makes. */
const text = { type: 'string' } as const
const whole = { type: 'integer', minimum: 0 } as const
const closed = <const P extends Record<string, unknown>>(properties: P) =>
  ({ type: 'object', additionalProperties: false, required: Object.keys(properties), properties }) as const

export const rulesSchema = closed({
  version: whole,
  rules: {
    type: 'array',
    items: closed({
      id: { type: 'string', minLength: 1 },
      name: text,
      enabled: { type: 'boolean' },
      priority: whole,
      match: closed({
        host: text,
        pathPrefix: { type: 'string', pattern: '^/' },
        methods: { type: 'array', items: { enum: ['GET', 'POST', 'PUT', 'DELETE'] } },
        headers: { type: 'object', additionalProperties: text },
      }),
      limit: closed({
        rps: whole,
        burst: whole,
        windowMs: { type: 'integer', minimum: 1 },
        by: { enum: ['ip', 'user', 'tenant'] },
      }),
      action: closed({ type: { enum: ['reject', 'queue', 'log'] }, status: whole, retryAfterMs: whole }),
      targets: { type: 'array', items: closed({ host: text, port: whole, weight: whole }) },
      tags: { type: 'array', items: text },
      timeoutMs: whole,
      ratio: { type: 'number', minimum: 0, maximum: 1 },
      owner: text,
    }),
  },
})
