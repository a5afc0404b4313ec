/** A unit of systemd that knows how to reload: `systemctl reload`, and whether it is active afterwards. */
import type { Command, FileOptions, Probe, ProgramOptions } from '../options.ts'

export interface SystemdOptions extends Pick<ProgramOptions, 'after' | 'limits' | 'othersMayWrite'> {
  /** `dnsmasq.service`. It needs an ExecReload, or to be of the type notify-reload. */
  readonly unit: string
  /** Default: the unit without what it ends in. */
  readonly name?: string
  readonly directory: string
  readonly files: readonly FileOptions[]
  readonly check?: Command
  /** The program, default `systemctl`. */
  readonly systemctl?: string
  /** Asked besides. */
  readonly probes?: readonly Probe[]
}

/** @throws TypeError for what is no name of a unit. */
export function systemd(options: SystemdOptions): ProgramOptions {
  const { unit, systemctl = 'systemctl', probes = [], ...others } = options
  if (!/^[\w:@][\w:.@\\-]*$/.test(unit)) {
    throw new TypeError(`program: unit is ${JSON.stringify(unit)}; want one such as dnsmasq.service`)
  }
  return {
    name: unit.replace(/\.\w+$/, '').replace(/[^\w-]/g, '-'),
    ...others,
    reload: { command: [systemctl, 'reload', unit] },
    probes: [{ command: [systemctl, 'is-active', '--quiet', unit] }, ...probes],
  }
}
