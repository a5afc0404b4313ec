/**
 * What the targets of a config are: which nodes get a package, with which parameters, read from which host. Here is how
 * they are written and what may be wrong with them; which nodes they come to is `directory.ts`. Pure.
 *
 * A node, a group and a host may be written as a node-management API of the BlueKing family writes them
 * (`bk_host_id`, `bk_cloud_id`, `bk_obj_id`, `bk_inst_id`); what is kept is one form.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { check, parsePath, type Issue, type Json, type JsonObject, type Path } from 'midflight'

const targetKinds = ['INSTANCE', 'LABELS', 'TOPO'] as const
export type TargetKind = (typeof targetKinds)[number]

/** A host: by its id, by its address, or by both, which says that they are one. */
export interface Host {
  readonly id?: string
  readonly ip?: string
  /** Which network the address is of; `0` where nothing was said. Only with an `ip`. */
  readonly cloud?: string
}

/** All nodes that have these labels. */
export interface LabelSelector {
  readonly labels: Readonly<Record<string, string>>
}

/** All nodes below a place in a topology: those whose label of the name `object` has the value `instance`. */
export interface Group {
  readonly object: string
  readonly instance: string
}

export type Target = Host | LabelSelector | Group

export interface Targets {
  /** All targets are of one kind: hosts, label selectors or groups. */
  readonly kind: TargetKind
  readonly nodes: readonly Target[]
  /** Where it runs, if that is not on the nodes themselves. */
  readonly remoteHost: Host | null
  readonly package: {
    readonly name: string
    readonly version: string
    /** Path below the package's folder → what it holds, as text. */
    readonly files: Readonly<Record<string, string>>
  }
  readonly parameters: JsonObject
  /** Places in the parameters that are never shown, dotted, `*` for one step. All that is below is secret too. */
  readonly secrets: readonly string[]
  /** Nodes are looked at now and then, and what has drifted is put right. */
  readonly autoInspection: boolean
  /** What a change of the version means for what is there. */
  readonly onVersionChange: 'update' | 'replace'
  /** Who brings it to the nodes: `agents`, or the name of an installer that is configured. */
  readonly installer: string
}

export const ownAgents = 'agents'
const maxTargets = 20_000
const maxFiles = 1000
const maxFileBytes = 1024 * 1024
const maxSecrets = 100
const parameterLimits = { maxDepth: 32, maxNodes: 100_000 }

const named = /^[A-Za-z0-9][\w.:-]{0,127}$/
const label = /^[^\p{Cc}]{1,256}$/u
const filePath = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[\w.-][\w. -]{0,99}(?:\/[\w.-][\w. -]{0,99}){0,7}$/

/** What was read, or what is wrong with it. */
export type Reading = { readonly targets: Targets } | { readonly issues: readonly Issue[] }

/** Reads targets as somebody wrote them. Values of parameters are never in what is said against them. */
export function readTargets(value: unknown): Reading {
  const reader = new Reader()
  const targets = reader.targets(value)
  return targets === undefined || reader.issues.length > 0 ? { issues: reader.issues } : { targets }
}

const known = [
  'kind',
  'nodes',
  'remoteHost',
  'package',
  'parameters',
  'secrets',
  'autoInspection',
  'onVersionChange',
  'installer',
]

class Reader {
  readonly issues: Issue[] = []

  targets(value: unknown): Targets | undefined {
    if (!isObject(value)) return this.wrong([], `is ${kindOf(value)}; want an object`)
    this.only(value, [], known)
    const { kind, nodes, autoInspection = false, onVersionChange = 'update', installer = ownAgents } = value
    if (!targetKinds.includes(kind as TargetKind)) {
      return this.wrong(['kind'], `is ${shown(kind)}; want ${targetKinds.join(', ')}`)
    }
    if (typeof autoInspection !== 'boolean')
      this.wrong(['autoInspection'], `is ${kindOf(autoInspection)}; want a boolean`)
    if (onVersionChange !== 'update' && onVersionChange !== 'replace') {
      this.wrong(['onVersionChange'], `is ${shown(onVersionChange)}; want update or replace`)
    }
    return {
      kind: kind as TargetKind,
      nodes: this.nodes(kind as TargetKind, nodes),
      remoteHost: value['remoteHost'] == null ? null : (this.host(value['remoteHost'], ['remoteHost']) ?? null),
      package: this.package(value['package']),
      parameters: this.parameters(value['parameters']),
      secrets: this.secrets(value['secrets']),
      autoInspection: autoInspection === true,
      onVersionChange: onVersionChange as Targets['onVersionChange'],
      installer: this.name(installer, ['installer']) ?? '',
    }
  }

  private nodes(kind: TargetKind, value: unknown): Target[] {
    if (!Array.isArray(value)) {
      this.wrong(['nodes'], `is ${kindOf(value)}; want a list`)
      return []
    }
    if (value.length > maxTargets) {
      this.wrong(['nodes'], `has ${value.length} entries; want at most ${maxTargets}`)
      return []
    }
    const read: Readonly<Record<TargetKind, (one: unknown, path: Path) => Target | undefined>> = {
      INSTANCE: (one, path) => this.host(one, path),
      LABELS: (one, path) => this.selector(one, path),
      TOPO: (one, path) => this.group(one, path),
    }
    return value.flatMap((one: unknown, i) => read[kind](one, ['nodes', i]) ?? [])
  }

  private host(value: unknown, path: Path): Host | undefined {
    if (!isObject(value)) return this.wrong(path, `is ${kindOf(value)}; want {"id": …} or {"ip": …, "cloud": …}`)
    this.only(value, path, ['id', 'bk_host_id', 'ip', 'cloud', 'bk_cloud_id'])
    const id = this.either(value, path, 'id', 'bk_host_id')
    const cloud = this.either(value, path, 'cloud', 'bk_cloud_id')
    const { ip } = value
    if (ip === undefined && value['id'] === undefined && value['bk_host_id'] === undefined) {
      return this.wrong(path, 'names no host; want {"id": …}, {"ip": …, "cloud": …}, or both')
    }
    if (ip === undefined && cloud !== undefined) return this.wrong(path, 'has a cloud and no ip; want both')
    const address = ip === undefined ? undefined : addressIn(ip)
    if (ip !== undefined && address === undefined) {
      return this.wrong([...path, 'ip'], `is ${shown(ip)}; want an address such as 10.0.1.1 or 2001:db8::1`)
    }
    return {
      ...(id !== undefined && { id }),
      ...(address !== undefined && { ip: address, cloud: cloud ?? '0' }),
    }
  }

  private selector(value: unknown, path: Path): LabelSelector | undefined {
    const labels = isObject(value) ? value['labels'] : undefined
    if (!isObject(value) || !isObject(labels) || Object.keys(labels).length === 0) {
      return this.wrong(path, 'is no selector; want {"labels": {"zone": "a"}} with one label or more')
    }
    this.only(value, path, ['labels'])
    const entries = Object.entries(labels)
    for (const [key, text] of entries) {
      if (key === '__proto__' || !label.test(key) || typeof text !== 'string' || !label.test(text)) {
        return this.wrong([...path, 'labels', key], 'is no text of 1 to 256 characters')
      }
    }
    return { labels: Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))) as Record<string, string> }
  }

  private group(value: unknown, path: Path): Group | undefined {
    if (!isObject(value)) return this.wrong(path, `is ${kindOf(value)}; want {"object": "module", "instance": 33}`)
    this.only(value, path, ['object', 'instance', 'bk_obj_id', 'bk_inst_id'])
    const object = this.either(value, path, 'object', 'bk_obj_id')
    const instance = this.either(value, path, 'instance', 'bk_inst_id')
    if (object !== undefined && instance !== undefined) return { object, instance }
    return this.wrong(path, 'is no group; want {"object": "module", "instance": 33}')
  }

  private package(value: unknown): Targets['package'] {
    const nothing = { name: '', version: '', files: {} }
    if (!isObject(value)) {
      return this.wrong(['package'], `is ${kindOf(value)}; want {"name": …, "version": …}`) ?? nothing
    }
    this.only(value, ['package'], ['name', 'version', 'files'])
    const { files = {} } = value
    return {
      name: this.name(value['name'], ['package', 'name']) ?? '',
      version: this.name(value['version'], ['package', 'version']) ?? '',
      files: this.files(files),
    }
  }

  private files(value: unknown): Record<string, string> {
    const path = ['package', 'files']
    if (!isObject(value)) return this.wrong(path, `is ${kindOf(value)}; want an object of path and text`) ?? {}
    const entries = Object.entries(value)
    if (entries.length > maxFiles) this.wrong(path, `has ${entries.length} files; want at most ${maxFiles}`)
    const bytes = entries.reduce((sum, [, text]) => sum + (typeof text === 'string' ? Buffer.byteLength(text) : 0), 0)
    if (bytes > maxFileBytes) this.wrong(path, `has ${bytes} bytes; want at most ${maxFileBytes}`)
    for (const [name, text] of entries) {
      if (name === '__proto__' || !filePath.test(name))
        this.wrong([...path, name], 'is no path below the folder of the package')
      if (typeof text !== 'string') this.wrong([...path, name], `is ${kindOf(text)}; want a text`)
    }
    // Some file systems do not tell the cases apart.
    const names = new Map<string, string>()
    for (const [name] of entries) {
      const other = names.get(name.toLowerCase())
      if (other !== undefined) this.wrong([...path, name], `differs from ${other} by the case of letters only`)
      names.set(name.toLowerCase(), name)
    }
    for (const [name] of entries) {
      const above = name
        .toLowerCase()
        .split('/')
        .slice(0, -1)
        .map((_, i, all) => all.slice(0, i + 1).join('/'))
      if (above.some((one) => names.has(one))) this.wrong([...path, name], 'lies in what is a file itself')
    }
    return Object.fromEntries(entries) as Record<string, string>
  }

  private parameters(value: unknown = {}): JsonObject {
    if (!isObject(value)) return this.wrong(['parameters'], `is ${kindOf(value)}; want an object`) ?? {}
    for (const issue of check(value as Json, undefined, parameterLimits)) {
      this.issues.push({ ...issue, path: ['parameters', ...issue.path] })
    }
    return value as JsonObject
  }

  private secrets(value: unknown = []): string[] {
    if (!Array.isArray(value) || value.length > maxSecrets) {
      return this.wrong(['secrets'], `is no list of at most ${maxSecrets} paths`) ?? []
    }
    return value.flatMap((one: unknown, i) => {
      const isPath = typeof one === 'string' && one.length <= 512 && pathIn(one) !== undefined
      return isPath ? [one] : (this.wrong(['secrets', i], 'is no path in the parameters, such as login.password') ?? [])
    })
  }

  /** One thing under its own name, or under the one that others have for it. Numbers are taken as texts. */
  private either(value: JsonObject, path: Path, name: string, other: string): string | undefined {
    if (value[name] !== undefined && value[other] !== undefined) {
      return this.wrong(path, `has ${name} and ${other}, which are one; want either`)
    }
    const used = value[name] === undefined ? other : name
    return value[used] === undefined ? undefined : this.name(value[used], [...path, used])
  }

  private name(value: unknown, path: Path): string | undefined {
    const text = Number.isSafeInteger(value) ? String(value) : value
    if (typeof text === 'string' && named.test(text)) return text
    return this.wrong(path, `is ${shown(value)}; want a text of 1 to 128 letters, digits, ".", "_", ":" and "-"`)
  }

  private only(value: JsonObject, path: Path, names: readonly string[]): void {
    for (const name of Object.keys(value)) {
      if (!names.includes(name)) this.wrong([...path, name], `is not known here; want ${names.join(', ')}`)
    }
  }

  private wrong(path: Path, message: string): undefined {
    if (this.issues.length < 100) this.issues.push({ code: 'schema', path, message })
    return undefined
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing'
  return value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'object'
        ? 'an object'
        : `a ${typeof value}`
}

/** For what can be no secret. */
function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? JSON.stringify(value).slice(0, 100) : kindOf(value)
}

function pathIn(text: string): Path | undefined {
  try {
    const path = parsePath(text)
    return path.length === 0 ? undefined : path
  } catch {
    // What is wrong with it, the caller says: it is one of two things that may be.
    return undefined
  }
}

/** In one form: `2001:DB8::1` and `2001:db8:0::1` are the same. */
function addressIn(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > 45) return undefined
  if (isIPv4(value)) return value
  if (!isIPv6(value) || value.includes('%')) return undefined
  return new URL(`http://[${value}]/`).hostname.slice(1, -1)
}
