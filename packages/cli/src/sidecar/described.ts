/**
 * What may stand in a sidecar.yaml, as a JSON Schema: it gives each mistake its place and what was wanted. What only
 * code can tell (a path that leaves its directory, a command that is none) is said by the engine, in `read.ts`.
 */
import type { JsonObject } from 'midflight'

const text = { type: 'string', minLength: 1 } as const
const texts = { type: 'array', items: text } as const
const number = { type: 'integer', minimum: 0 } as const
const port = { type: 'integer', minimum: 1, maximum: 65_535 } as const
const command = { type: 'array', minItems: 1, items: { type: 'string' } } as const
const ms = { type: 'integer', minimum: 1, maximum: 3_600_000 } as const

/** All of an object's names are known: another one is a slip, and is told which was meant. */
function only(properties: JsonObject, more: JsonObject = {}): JsonObject {
  return { type: 'object', additionalProperties: false, properties, ...more }
}

/** Exactly one of these names: each has a shape of its own. */
function oneOf(kinds: JsonObject): JsonObject {
  return only(kinds, { minProperties: 1, maxProperties: 1 })
}

const probe = oneOf({
  http: only({ url: text, status: { type: 'integer', minimum: 100, maximum: 599 } }, { required: ['url'] }),
  tcp: only({ host: text, port }, { required: ['port'] }),
  command,
  prometheus: only({ metricsUrl: text }, { required: ['metricsUrl'] }),
  haproxy: only({ statsSocket: text, pidFile: text }, { required: ['statsSocket'] }),
  nginx: only({ pidFile: text, maxDraining: number }, { required: ['pidFile'] }),
})

const file = only(
  {
    path: text,
    from: { type: 'string' },
    as: { enum: ['raw', 'json', 'yaml', 'toml', 'properties', 'env'] },
    template: { type: 'string' },
    templateFile: text,
    escape: { enum: ['none', 'line', 'word', 'json'] },
    // Not a number: 0644 and 644 are different ones, and YAML has changed its mind about which is which.
    mode: { type: 'string', pattern: '^0?[0-7]{3}$' },
    uid: number,
    gid: number,
  },
  { required: ['path'] },
)

const ofAll = {
  name: text,
  directory: text,
  files: { type: 'array', minItems: 1, items: file },
  probes: { type: 'array', items: probe },
  after: texts,
  limits: only({ checkMs: ms, reloadMs: ms, probeMs: ms }),
  othersMayWrite: { type: 'boolean' },
} as const

const reload = only(
  {
    command,
    signal: text,
    pidFile: text,
    process: text,
    http: only(
      { url: text, method: { enum: ['POST', 'PUT', 'GET'] }, file: text, contentType: text },
      { required: ['url'] },
    ),
  },
  { minProperties: 1, dependentRequired: { signal: ['pidFile'], pidFile: ['signal'], process: ['signal'] } },
)

const presets = {
  nginx: only({ ...ofAll, main: text, pidFile: text, binary: text, maxDraining: number }, { required: ['files'] }),
  prometheus: only({ ...ofAll, main: text, url: text, pidFile: text, promtool: text }, { required: ['files'] }),
  haproxy: only({ ...ofAll, main: text, pidFile: text, statsSocket: text, binary: text }, { required: ['files'] }),
  caddy: only({ ...ofAll, main: text, admin: text, binary: text }, { required: ['files'] }),
  systemd: only(
    { ...ofAll, unit: text, check: command, systemctl: text },
    { required: ['unit', 'directory', 'files'] },
  ),
  generic: only({ ...ofAll, check: command, reload }, { required: ['name', 'directory', 'files'] }),
} as const

export type PresetName = keyof typeof presets

export const sidecarSchema = only(
  {
    sources: { type: 'array', minItems: 1, items: text },
    controlPlane: only(
      {
        url: text,
        config: text,
        tokenFile: text,
        labels: { type: 'object', maxProperties: 64, additionalProperties: { type: 'string', maxLength: 256 } },
        ca: text,
        cert: text,
        key: text,
        bus: text,
        busReports: { type: 'boolean' },
        websocket: { type: 'boolean' },
      },
      { required: ['url', 'config'] },
    ),
    schema: text,
    secrets: texts,
    stateDir: text,
    wait: only({ minMs: ms, maxMs: ms }, { required: ['minMs'] }),
    admin: only(
      { port, host: text, socket: text, lifecycle: { type: 'boolean' }, tokenFile: text },
      { minProperties: 1 },
    ),
    programs: { type: 'array', minItems: 1, items: oneOf(presets) },
  },
  { required: ['programs'] },
)
