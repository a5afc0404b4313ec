/**
 * Caddy: `caddy validate` on the staged tree, and its admin API, which is given the configuration: JSON by ourselves, a
 * Caddyfile, whose imports count from its place, by `caddy reload`. The API answers when the new one runs; if it cannot,
 * Caddy has kept the old one, and says why.
 */
import type { FileOptions, Probe, ProgramOptions, Reload } from '../options.ts'

export interface CaddyOptions extends Pick<ProgramOptions, 'after' | 'limits' | 'othersMayWrite'> {
  /** Default `caddy`. */
  readonly name?: string
  /** Default `/etc/caddy`. Imports within it have to be relative for the check to see the staged files. */
  readonly directory?: string
  /** The main file, declared or not, relative to the directory; default `Caddyfile`. JSON if it ends in `.json`. */
  readonly main?: string
  readonly files: readonly FileOptions[]
  /** Host and port of the admin API; default `127.0.0.1:2019`. */
  readonly admin?: string
  /** The program, default `caddy`. */
  readonly binary?: string
  /** Asked besides. */
  readonly probes?: readonly Probe[]
}

export function caddy(options: CaddyOptions): ProgramOptions {
  const { name = 'caddy', directory = '/etc/caddy', main = 'Caddyfile', binary = 'caddy', ...rest } = options
  const { admin = '127.0.0.1:2019', probes = [], ...others } = rest
  const isJson = main.endsWith('.json')
  const adapter = isJson ? [] : ['--adapter', 'caddyfile']
  // By force: what it only names, such as a certificate, may be what has changed.
  const command = [
    binary,
    'reload',
    '--force',
    '--address',
    admin,
    '--config',
    `${directory}/${main}`,
    ...adapter,
  ] as const
  const isOurs = others.files.some(({ path }) => path === main)
  const load: Reload = { http: { url: `http://${admin}/load`, file: main, contentType: 'application/json' } }
  return {
    ...others,
    name,
    directory,
    check: [binary, 'validate', '--config', `{staged}/${main}`, ...adapter],
    reload: isJson && isOurs ? load : { command },
    probes: [{ http: { url: `http://${admin}/config/` } }, ...probes],
  }
}
