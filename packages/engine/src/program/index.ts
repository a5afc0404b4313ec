/** The door to `midflight/program`: a program that is not ours as a component of the engine. */
export { caddy, type CaddyOptions } from './presets/caddy.ts'
export { haproxy, type HaproxyOptions } from './presets/haproxy.ts'
export { nginx, type NginxOptions } from './presets/nginx.ts'
export { prometheus, type PrometheusOptions } from './presets/prometheus.ts'
export { systemd, type SystemdOptions } from './presets/systemd.ts'
export { preview, type FilePreview } from './preview.ts'
export { program, type ProgramComponent, type Settled } from './program.ts'
export { templateFault, type TemplateFault } from './template.ts'
export type {
  Command,
  Escape,
  FileContent,
  FileFormat,
  FileOptions,
  FileTarget,
  HttpReload,
  Probe,
  ProgramLimits,
  ProgramOptions,
  Reload,
} from './options.ts'
