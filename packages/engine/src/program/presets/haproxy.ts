/** HAProxy in master-worker mode: `haproxy -c` on the staged tree, SIGUSR2 to its master, its stats socket as the probe. */
import type { FileOptions, Probe, ProgramOptions } from '../options.ts'

export interface HaproxyOptions extends Pick<ProgramOptions, 'after' | 'limits' | 'othersMayWrite'> {
  /** Default `haproxy`. */
  readonly name?: string
  /** Default `/etc/haproxy`. For the check to see other staged files, `default-path config` and relative names. */
  readonly directory?: string
  /** The main file, declared or not, relative to the directory; default `haproxy.cfg`. */
  readonly main?: string
  readonly files: readonly FileOptions[]
  /** With the number of the master (`-W`); default `/run/haproxy.pid`. */
  readonly pidFile?: string
  /** As `stats socket` in its configuration has it; default `/run/haproxy/admin.sock`. */
  readonly statsSocket?: string
  /** The program, default `haproxy`. */
  readonly binary?: string
  /** Asked besides. */
  readonly probes?: readonly Probe[]
}

export function haproxy(options: HaproxyOptions): ProgramOptions {
  const { name = 'haproxy', directory = '/etc/haproxy', main = 'haproxy.cfg', binary = 'haproxy', ...rest } = options
  const { pidFile = '/run/haproxy.pid', statsSocket = '/run/haproxy/admin.sock', probes = [], ...others } = rest
  return {
    ...others,
    name,
    directory,
    check: [binary, '-c', '-f', `{staged}/${main}`],
    reload: { signal: 'SIGUSR2', pidFile, process: 'haproxy' },
    probes: [{ haproxy: { statsSocket, pidFile } }, ...probes],
  }
}
