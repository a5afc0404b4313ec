/**
 * A process for the command line to talk to: a real engine on the files of its working directory. Prints a line of
 * JSON with its addresses when it is ready. Options as JSON in the first argument.
 */
import { componentsFor, jsonSchema, start } from 'midflight'
import { file } from 'midflight/sources/file'
import { adminHttp } from 'midflight/triggers/admin-http'
import { onSignal } from 'midflight/triggers/signal'

interface Options {
  readonly token?: string
  readonly lifecycle?: boolean
  readonly port?: number
  readonly hold?: boolean
  readonly signal?: boolean
}

const options = JSON.parse(process.argv[2] ?? '{}') as Options
const schema = jsonSchema({
  type: 'object',
  additionalProperties: false,
  required: ['server', 'log'],
  properties: {
    server: { type: 'object', properties: { port: { type: 'integer', minimum: 1, maximum: 65535 } } },
    log: {
      type: 'object',
      additionalProperties: false,
      properties: {
        level: { enum: ['debug', 'info', 'warn', 'crash'] },
        format: { enum: ['text', 'json'] },
        output: { type: 'string' },
      },
    },
    db: {
      type: 'object',
      properties: { host: { type: 'string' }, password: { type: 'string', 'x-midflight-secret': true } },
    },
    rules: {
      type: 'array',
      'x-midflight-key': 'id',
      items: {
        type: 'object',
        required: ['id', 'limit'],
        properties: {
          id: { type: 'string' },
          resource: { type: 'string' },
          limit: { type: 'integer', minimum: 1 },
        },
      },
    },
    note: { type: 'string' },
    zone: { type: 'string', 'x-midflight-restart': true },
  },
} as const)
const { value, keyed } = componentsFor(schema)
let isStuck = false

const source = file('gateway.yaml', { settleMs: 0 })
const engine = await start({
  schema,
  // Only what is asked for here reloads: no watcher.
  sources: [{ name: source.name, load: (signal) => source.load(signal) }],
  triggers: options.signal === false ? [] : [onSignal()],
  endpoints: [
    adminHttp({
      port: options.port ?? 0,
      socket: 'admin.sock',
      lifecycle: options.lifecycle ?? true,
      ...(options.token === undefined ? {} : { token: options.token }),
    }),
  ],
  components: [
    value({ name: 'server', path: 'server', restartFor: ['server.port'], apply: () => {} }),
    value({
      name: 'log',
      path: 'log',
      apply(next) {
        if (next.level === 'crash') throw new Error('the log file \u001b[31mcannot\u001b[0m be opened')
      },
    }),
    value({
      name: 'db',
      path: 'db',
      prepare(next) {
        // As a program that checks files does: what matters comes last.
        if (next?.host === 'lost')
          throw new Error('the check ended with 1:\n  SUCCESS: a\n\n  FAILED:\n\tno host lost\n')
      },
      apply(next) {
        // The way back fails too.
        isStuck ||= next?.host === 'stuck'
        if (isStuck) throw new Error('the pool is stuck')
      },
    }),
    keyed({ name: 'rules', path: 'rules', key: 'id', start: (rule) => rule, update: () => {}, stop: () => {} }),
  ],
  restartPolicy: options.hold ? 'hold' : 'refuse',
  logger: false,
})
console.log(JSON.stringify({ pid: process.pid, addresses: engine.addresses }))
process.on('SIGTERM', () => void engine.close().then(() => process.exit(0)))
