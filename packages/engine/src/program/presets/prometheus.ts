/** Prometheus: `promtool check config` on the staged tree, its reload by HTTP or signal, its own metrics as the probe. */
import type { FileOptions, Probe, ProgramOptions } from '../options.ts'

export interface PrometheusOptions extends Pick<ProgramOptions, 'after' | 'limits' | 'othersMayWrite'> {
  /** Default `prometheus`. */
  readonly name?: string
  /** Default `/etc/prometheus`. Rule files and the like are found in the staged tree by relative paths. */
  readonly directory?: string
  /** The main file, declared or not, relative to the directory; default `prometheus.yml`. */
  readonly main?: string
  readonly files: readonly FileOptions[]
  /** Where it listens, with its path prefix; default `http://127.0.0.1:9090`. */
  readonly url?: string
  /** To reload by SIGHUP where `--web.enable-lifecycle` is off: the file with its process number. */
  readonly pidFile?: string
  /** The program that checks, default `promtool`. */
  readonly promtool?: string
  /** Asked besides. */
  readonly probes?: readonly Probe[]
}

export function prometheus(options: PrometheusOptions): ProgramOptions {
  const { name = 'prometheus', directory = '/etc/prometheus', main = 'prometheus.yml', ...rest } = options
  const { url = 'http://127.0.0.1:9090', pidFile, promtool = 'promtool', probes = [], ...others } = rest
  const base = url.endsWith('/') ? url.slice(0, -1) : url
  return {
    ...others,
    name,
    directory,
    check: [promtool, 'check', 'config', `{staged}/${main}`],
    reload:
      pidFile === undefined
        ? { http: { url: `${base}/-/reload` } }
        : { signal: 'SIGHUP', pidFile, process: 'prometheus' },
    probes: [{ prometheus: { metricsUrl: `${base}/metrics` } }, ...probes],
  }
}
