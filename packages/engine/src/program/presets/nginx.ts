/** nginx: `nginx -t` on the staged tree, SIGHUP to its master, and its workers as the probe. */
import type { FileOptions, Probe, ProgramOptions } from '../options.ts'

export interface NginxOptions extends Pick<ProgramOptions, 'after' | 'limits' | 'othersMayWrite'> {
  /** Default `nginx`. */
  readonly name?: string
  /** Default `/etc/nginx`. Includes within it have to be relative for the check to see the staged files. */
  readonly directory?: string
  /** The main file, declared or not, relative to the directory; default `nginx.conf`. */
  readonly main?: string
  readonly files: readonly FileOptions[]
  /** Default `/run/nginx.pid`. */
  readonly pidFile?: string
  /** The program, default `nginx`. */
  readonly binary?: string
  /** With more old workers that are still shutting down a change is refused before anything is touched; default 64. */
  readonly maxDraining?: number
  /** Asked besides, such as a page that only the new configuration serves. */
  readonly probes?: readonly Probe[]
}

export function nginx(options: NginxOptions): ProgramOptions {
  const { name = 'nginx', directory = '/etc/nginx', main = 'nginx.conf', binary = 'nginx', ...rest } = options
  const { pidFile = '/run/nginx.pid', maxDraining, probes = [], ...others } = rest
  return {
    ...others,
    name,
    directory,
    check: [binary, '-t', '-q', '-c', `{staged}/${main}`],
    reload: { signal: 'SIGHUP', pidFile, process: 'nginx' },
    probes: [{ nginx: { pidFile, ...(maxDraining !== undefined && { maxDraining }) } }, ...probes],
  }
}
