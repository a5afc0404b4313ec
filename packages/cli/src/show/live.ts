/** What happens in a fleet as lines. */
import type { Json, JsonObject } from 'midflight'
import { printable } from '../printable.ts'
import type { Paint } from '../terminal.ts'
import { nameOf } from './node-names.ts'
import { phaseText } from './rollout.ts'
import { clockText } from './time.ts'

export function liveLine(type: string, data: Json, paint: Paint): string {
  const fields = typeof data === 'object' && data !== null && !Array.isArray(data) ? (data as JsonObject) : {}
  const text = (name: string): string => (fields[name] === undefined ? '' : printable(String(fields[name])))
  return `${paint.dim(clockText(new Date().toISOString()))}  ${told(type, text, fields, paint)}`
}

function told(type: string, text: (name: string) => string, fields: JsonObject, paint: Paint): string {
  switch (type) {
    case 'release': {
      const back = text('kind') === 'rollback' ? ', a rollback' : ''
      const why = text('message') === '' ? '' : `: ${text('message')}`
      return `${paint.green('●')} ${paint.bold(`${text('config')} ${text('number')}`)} published by ${text('author')}${back}${why}`
    }
    case 'node': {
      const status = text('status')
      const bad = ['FAILED', 'ROLLED_BACK', 'DEGRADED'].includes(status)
      const colour = bad ? paint.red : status === 'APPLIED' ? paint.green : paint.yellow
      const runs = fields['runs'] as { number?: number } | null | undefined
      return `  node ${whoIn(fields)} ${colour(status)}${runs == null ? '' : `, runs ${runs.number ?? '?'}`}`
    }
    case 'node-joined':
      return `  node ${whoIn(fields)} ${paint.green('came')}`
    case 'node-left':
      return `  node ${whoIn(fields)} ${paint.yellow('left')}`
    case 'rollout': {
      const { phase, step, steps } = {
        phase: text('phase'),
        step: Number(fields['step']),
        steps: Number(fields['steps']),
      }
      const failure = fields['failure'] as { found?: string } | null | undefined
      const why = failure == null ? '' : `: ${printable(failure.found ?? '')}`
      const made = text('event') === 'rollback-made' ? ` as release ${text('rollback')}` : ''
      const colour = phase === 'completed' ? paint.green : failure == null ? paint.cyan : paint.red
      return `${colour('▸')} rollout ${text('config')} ${text('number')} ${colour(phaseText({ phase, step, steps }))}${made}${why}`
    }
    case 'deployment': {
      const phase = text('phase')
      const isBad = phase === 'failed' || phase === 'revoked' || typeof fields['held'] === 'string'
      const colour = isBad ? paint.red : phase === 'applied' ? paint.green : paint.cyan
      const why = ['held', 'failure'].find((name) => typeof fields[name] === 'string')
      return `${colour('▸')} deployment ${text('config')} ${text('number')} ${text('action')} ${colour(phase)}${why === undefined ? '' : `: ${text(why)}`}`
    }
    case 'draft':
      return `${paint.cyan('◆')} draft ${text('id')} ${text('change')}${text('author') === '' ? '' : ` (of ${text('author')})`}`
    case 'config':
      return `${paint.cyan('◆')} config ${text('name')} ${configChanges[text('change')] ?? text('change')}`
    default:
      // From a newer version than this one.
      return printable(type)
  }
}

function whoIn({ uid, labels }: JsonObject): string {
  const name = nameOf({ uid: '', labels: labelsIn(labels) })
  return [name, printable(String(uid ?? '').slice(0, 8))].filter((part) => part !== '').join(' ')
}

const configChanges: Readonly<Record<string, string>> = {
  demands: 'demands something else',
  'rollout-policy': 'has other rollouts or freezes',
}

function labelsIn(value: Json | undefined): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([name, label]) => [name, String(label)]))
}
