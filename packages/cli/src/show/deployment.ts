/** Targets, plans and deployments for people. */
import type { Json } from 'midflight'
import {
  exitCodeOf,
  type DeployedNode,
  type DeploymentView,
  type DeployStatus,
  type PlannedNode,
  type TargetsPlan,
} from '../fleet/deployment.ts'
import { printable } from '../printable.ts'
import type { Look, Paint } from '../terminal.ts'
import { plural } from './changes.ts'
import { tableLines, type Row } from './table.ts'

const marks = { added: '+', updated: '~', removed: '-', unchanged: '=' } as const
type Kind = keyof typeof marks
const kinds = Object.keys(marks) as Kind[]
/** More nodes than these are a number. */
const maxRows = 200

/** A plan, or what is alike: of something else than targets. */
interface Planned {
  readonly operation: { readonly kind: string; readonly why: string }
  readonly diff: TargetsPlan['diff']
}

/** The plan as a table of nodes; what changes them stands above. */
export function planLines(config: string, { operation, diff }: Planned, { paint, columns }: Look): string[] {
  const { nodes, version, remoteHost, parameters, targets } = diff
  const colour: Readonly<Record<Kind, (text: string) => string>> = {
    added: paint.green,
    updated: paint.yellow,
    removed: paint.red,
    unchanged: paint.dim,
  }
  const rows = kinds.flatMap((kind) => nodes[kind].map((node): Row => rowOf(kind, node, colour[kind])))
  const counts = kinds.filter((kind) => nodes[kind].length > 0).map((kind) => `${nodes[kind].length} ${kind}`)
  return [
    `${paint.bold(printable(config))}: ${paint.bold(operation.kind)}, ${printable(operation.why)}`,
    ...section('version', version, (text) => text, paint),
    ...section('parameters', parameters, (value) => JSON.stringify(value), paint),
    ...section('remote host', remoteHost, (host) => host.id ?? `${host.ip}@${host.cloud}`, paint),
    ...(targets.before?.kind !== targets.after?.kind ? section('kind', targets, ({ kind }) => kind, paint) : []),
    '',
    ...(rows.length === 0 ? [] : tableLines(['', 'node', 'address', 'by'], rows.slice(0, maxRows), columns, paint)),
    ...(rows.length > maxRows ? [paint.dim(`  and ${rows.length - maxRows} more; --json has them all`)] : []),
    ...(rows.length === 0 ? ['no nodes'] : ['', counts.join(', ')]),
  ]
}

const same = { before: null, after: null, changed: false } as const

/** What a control would mean for the nodes as they are: as the plan of targets is shown. */
export function controlLines(config: string, control: string, why: string, found: DeployStatus, look: Look): string[] {
  const { nodes, trouble, underWay } = found
  const nodesOf = (states: (node: DeployedNode) => boolean): PlannedNode[] =>
    (nodes ?? []).filter(states).map(({ node }) => ({ key: node }))
  const goesTo = control === 'uninstall' ? 'removed' : 'updated'
  // Whoever has it well is not tried again, unless it is a deployment that goes on.
  const isTouched = ({ state }: DeployedNode) => control !== 'retry' || underWay !== null || state !== 'success'
  const kept = nodesOf((node) => !isTouched(node))
  const sections = { version: same, parameters: same, remoteHost: same, targets: same }
  const touched = { added: [], updated: [], removed: [], [goesTo]: nodesOf(isTouched), unchanged: kept }
  const lines = planLines(config, { operation: { kind: control, why }, diff: { ...sections, nodes: touched } }, look)
  return trouble === null
    ? lines
    : [...lines, `${look.paint.yellow('▲')} the nodes cannot be looked at: ${printable(trouble)}`]
}

function rowOf(kind: Kind, { key, ip, cloud, by, unknown }: PlannedNode, colour: (text: string) => string): Row {
  const address = ip === undefined ? '' : `${ip}@${cloud ?? '0'}`
  const note = unknown === true ? 'no node is known yet' : (by ?? '')
  return {
    cells: [{ text: `${marks[kind]} ${kind}`, colour }, { text: key, whole: true }, { text: address }, { text: note }],
  }
}

function section<T extends Json | object>(
  name: string,
  { before, after, changed }: { readonly before: T | null; readonly after: T | null; readonly changed: boolean },
  text: (value: T) => string,
  paint: Paint,
): string[] {
  const shown = (value: T | null): string => (value === null ? 'none' : printable(text(value)))
  if (!changed || (before === null && after === null)) return []
  return [`  ${paint.dim(name.padEnd(11))}  ${before === null ? '' : `${shown(before)} → `}${shown(after)}`]
}

const stateMarks = { done: '✔', begun: '▸', waiting: '·' } as const

function deploymentLines(deployment: DeploymentView, { paint }: Look): string[] {
  const { config, number, action, phase, held, note, failure, steps, by, message } = deployment
  const isBad = phase === 'failed' || phase === 'revoked' || held !== null
  const mark = isBad ? paint.red('✖') : phase === 'applied' ? paint.green('✔') : paint.cyan('▸')
  const how = held === null ? phase : `${phase}, held`
  return [
    `${mark} ${printable(config)} deployment ${number}: ${action}, ${how} (by ${printable(by)})${message === '' ? '' : `: ${printable(message)}`}`,
    ...steps.map(
      ({ step, state }) => `  ${state === 'waiting' ? paint.dim(`· ${step}`) : `${stateMarks[state]} ${step}`}`,
    ),
    ...(failure === null ? [] : [`  ${paint.red('why')}   ${printable(failure)}`]),
    ...(held === null && note !== null ? [`  ${paint.dim('note')}  ${printable(note)}`] : []),
    ...(held === null ? [] : [`  ${paint.red('held')}  ${printable(held)}; midflight deploy retry goes on`]),
  ]
}

export function statusLines(config: string, found: DeployStatus, look: Look): string[] {
  const { paint, columns } = look
  const { number, enabled, inspected, status, nodes, trouble, underWay, last } = found
  const shown = underWay ?? last
  const words = [enabled ? 'started' : 'stopped', ...(inspected ? ['inspected'] : [])].join(', ')
  const head =
    number === null
      ? `${paint.dim('○')} ${paint.bold(printable(config))} has nothing on any node`
      : `${exitCodeOf(found) === 0 ? paint.green('●') : paint.yellow('●')} ${paint.bold(printable(config))} ${status}, targets of deployment ${number}, ${words}`
  return [
    head,
    ...(shown === null ? [] : deploymentLines(shown, look)),
    ...(trouble === null ? [] : [`${paint.yellow('▲')} the nodes cannot be looked at: ${printable(trouble)}`]),
    ...(nodes === null || nodes.length === 0 ? [] : ['', ...nodeLines(nodes, columns, paint)]),
  ]
}

function nodeLines(nodes: readonly DeployedNode[], columns: number, paint: Paint): string[] {
  const isBad = ({ state }: DeployedNode): boolean => state === 'failed' || state === 'absent'
  // Those that want looking at come first.
  const sorted = [...nodes].sort((a, b) => Number(isBad(b)) - Number(isBad(a)))
  const rows = sorted.slice(0, maxRows).map((node): Row => {
    const colour = node.state === 'success' ? paint.green : isBad(node) ? paint.red : paint.yellow
    return { cells: [{ text: node.node, whole: true }, { text: node.state, colour }, { text: node.detail ?? '' }] }
  })
  const rest = nodes.length - rows.length
  return [
    ...tableLines(['node', 'state', 'detail'], rows, columns, paint),
    ...(rest > 0 ? [paint.dim(`  and ${plural(rest, 'node')} more; --json has them all`)] : []),
  ]
}
