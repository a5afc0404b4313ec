/** What was said of a program, looked over: what can never work is refused before anything is touched. */
import { isAbsolute, normalize } from 'node:path'
import { constants } from 'node:os'
import { parsePath } from '../json.ts'
import { checkOf } from '../agent/probe-check.ts'
import { inRange } from '../range.ts'
import type { Command, FileOptions, Probe, ProgramLimits, ProgramOptions, Reload } from './options.ts'

export interface ProgramSettings extends ProgramOptions {
  readonly limits: ProgramLimits
}

const defaults: ProgramLimits = { checkMs: 30_000, reloadMs: 10_000, probeMs: 15_000 }
const formats = ['raw', 'json', 'yaml', 'toml', 'properties', 'env']
/** Each character of a template takes some hundred bytes while it is read; values may be of any length. */
const maxTemplateLength = 1_000_000
const escapes = ['none', 'line', 'word', 'json']

/** @throws TypeError or RangeError that says what was found and what is wanted. */
export function programSettings(options: ProgramOptions): ProgramSettings {
  const { name, directory, files, check, reload, probes = [] } = options
  if (!/^[\w-]{1,64}$/.test(name)) {
    throw new TypeError(`program: name is ${JSON.stringify(name)}; want 1 to 64 letters, digits, - and _`)
  }
  const refuse = (what: string): never => {
    throw new TypeError(`program ${name}: ${what}`)
  }
  if (!isPlainAbsolute(directory) || directory === '/') {
    refuse(`directory is ${JSON.stringify(directory)}; want an absolute path below /, without . and ..`)
  }
  if (files.length === 0) refuse('files is empty; want at least one')
  const paths = new Set<string>()
  for (const file of files) {
    const wrong = wrongWith(file)
    if (wrong !== undefined) refuse(`file ${JSON.stringify(file.path)} ${wrong}`)
    if (paths.has(file.path)) refuse(`file ${file.path} is there twice`)
    paths.add(file.path)
  }
  const command = (where: string, argv: Command) => {
    if (!isCommand(argv)) refuse(`${where} is no command; want a list of texts such as ["nginx", "-t"]`)
  }
  if (check) {
    command('check', check)
    for (const [whole, path] of check.join('\0').matchAll(/\{file:([^}]*)\}/g)) {
      if (path === undefined || !paths.has(path)) refuse(`check has ${whole}; want the path of one of its files`)
    }
  }
  if (reload) checkReload(reload, paths, command, refuse)
  for (const [i, probe] of probes.entries()) checkProbe(`probes.${i}`, probe, command, refuse)
  if (!reload && probes.length > 0) refuse('has probes and no reload; a probe is what shows that a reload has worked')
  const limits = { ...defaults, ...options.limits }
  for (const [key, value] of Object.entries(limits)) {
    inRange(`program ${name}`, `limits.${key}`, value, 1, 3_600_000)
  }
  return { ...options, limits }
}

/** Whether it names a place below a directory and cannot leave it. */
export function isPathBelow(path: string): boolean {
  if (path === '' || path.includes('\0') || path.includes('\\')) return false
  return path
    .split('/')
    .every((part) => part !== '' && part !== '.' && part !== '..' && !part.startsWith('.midflight-'))
}

function isPlainAbsolute(path: string): boolean {
  return isAbsolute(path) && !path.includes('\0') && normalize(path) === path && (path === '/' || !path.endsWith('/'))
}

function wrongWith(file: FileOptions): string | undefined {
  if (typeof file.path !== 'string' || !isPathBelow(file.path)) {
    return 'is not a path below the directory; want one such as conf.d/site.conf, without . and ..'
  }
  if (/[{}]/.test(file.path)) return 'has { or } in its name, which are for placeholders'
  const { mode, uid, gid } = file
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o777)) {
    return `has mode ${String(mode)}; want permission bits from 0 to 0o777`
  }
  for (const [key, id] of Object.entries({ uid, gid })) {
    if (id !== undefined && !(Number.isInteger(id) && id >= 0 && id <= 0xfffffffe))
      return `has ${key} ${id}; want a number`
  }
  if ('template' in file) {
    if (typeof file.template !== 'string') return 'has a template that is not a text'
    if (file.template.length > maxTemplateLength) {
      const found = `has a template of ${file.template.length.toLocaleString('en')} characters`
      return `${found}; want at most ${maxTemplateLength.toLocaleString('en')}, and long texts as values`
    }
    if (file.escape !== undefined && !escapes.includes(file.escape)) {
      return `has escape ${JSON.stringify(file.escape)}; want ${escapes.join(', ')}`
    }
  } else if (!formats.includes(file.as))
    return `is to be written as ${JSON.stringify(file.as)}; want ${formats.join(', ')}`
  else if (typeof file.from !== 'string') return 'does not say from which part of the configuration it is made: from'
  parsePath(file.from ?? '')
  return undefined
}

function isCommand(command: Command): boolean {
  if (!Array.isArray(command)) return false
  const [file] = command
  return file !== undefined && file !== '' && command.every((one) => typeof one === 'string' && !one.includes('\0'))
}

type Refuse = (what: string) => never
type CheckCommand = (where: string, argv: Command) => void

function checkReload(reload: Reload, paths: ReadonlySet<string>, command: CheckCommand, refuse: Refuse): void {
  if ('command' in reload) return command('reload.command', reload.command)
  if ('http' in reload) {
    const { url, method = 'POST', file, contentType } = reload.http
    if (!isHttp(url))
      refuse('reload.http.url is no URL that can be asked; want http:// or https://, without a password')
    if (!['POST', 'PUT', 'GET'].includes(method)) refuse(`reload.http.method is ${method}; want POST, PUT or GET`)
    if (file !== undefined && !paths.has(file))
      refuse(`reload.http.file is ${JSON.stringify(file)}; want one of its files`)
    if (file !== undefined && method === 'GET')
      refuse('reload.http has a file to send and the method GET; want POST or PUT')
    if (contentType !== undefined && !/^[ -~]+$/.test(contentType)) refuse('reload.http.contentType is no media type')
    return
  }
  if (!Object.hasOwn(constants.signals, reload.signal))
    refuse(`reload.signal is ${reload.signal}; want one such as SIGHUP`)
  if (!isPlainAbsolute(reload.pidFile)) refuse('reload.pidFile is no absolute path')
}

function checkProbe(where: string, probe: Probe, command: CheckCommand, refuse: Refuse): void {
  if ('command' in probe) command(`${where}.command`, probe.command)
  else if ('http' in probe) checkOf({ http: probe.http.url, ...(probe.http.status && { expect: probe.http.status }) })
  else if ('prometheus' in probe) {
    if (!isHttp(probe.prometheus.metricsUrl))
      refuse(`${where}.prometheus.metricsUrl is no URL that can be asked; want http:// or https://, without a password`)
  } else if ('haproxy' in probe) {
    for (const [key, path] of Object.entries(probe.haproxy))
      if (!isPlainAbsolute(path)) refuse(`${where}.haproxy.${key} is no absolute path`)
  } else if ('nginx' in probe) {
    if (!isPlainAbsolute(probe.nginx.pidFile)) refuse(`${where}.nginx.pidFile is no absolute path`)
  } else if ('tcp' in probe) {
    const { port } = probe.tcp
    if (!(Number.isInteger(port) && port >= 1 && port <= 65_535))
      refuse(`${where}.tcp.port is ${port}; want 1 to 65535`)
  } else refuse(`${where} is of no known kind; want http, tcp, command, prometheus, haproxy or nginx`)
}

function isHttp(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { protocol, username, password } = new URL(url)
  return /^https?:$/.test(protocol) && username === '' && password === ''
}
