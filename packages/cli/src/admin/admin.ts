/**
 * The admin endpoint as the commands see it: reload, plan, status, events. Turns its answers into values, and its
 * refusals into what to do about them. The contract is docs/triggers.md.
 */
import type { Event, Json, JsonObject, Outcome, PlanOutcome, Status } from 'midflight'
import { Refusal } from '../refusal.ts'
import type { Address } from './address.ts'
import { ask, type Answer } from './request.ts'

export interface ReloadAsk {
  readonly force: boolean
}

export async function askReload(address: Address, { force }: ReloadAsk): Promise<Outcome> {
  return outcomeIn(address, await ask(address, `/-/reload${force ? '?force' : ''}`, { method: 'POST' })) as Outcome
}

export async function askPlan(address: Address, { force }: ReloadAsk): Promise<PlanOutcome> {
  return outcomeIn(address, await ask(address, `/-/plan${force ? '?force' : ''}`, { method: 'POST' })) as PlanOutcome
}

export interface Asked {
  readonly id: string
  /** Path at which the outcome will be. */
  readonly location: string
}

/** Asks for a reload and does not wait for it. */
export async function askReloadOnly(address: Address, { force }: ReloadAsk): Promise<Asked> {
  const answer = await ask(address, `/-/reload?wait=0${force ? '&force' : ''}`, { method: 'POST' })
  const body = accepted(address, answer)
  const id = isObject(body) ? body['id'] : undefined
  if (answer.status !== 202 || typeof id !== 'string') throw foreign(address)
  return { id, location: answer.headers.location ?? `/-/reload/${id}` }
}

export async function askStatus(address: Address, signal?: AbortSignal): Promise<Status> {
  const body = accepted(address, await ask(address, '/status', signal ? { signal } : {}))
  const known =
    isObject(body) &&
    typeof body['state'] === 'string' &&
    isObject(body['live'] as Json) &&
    isObject(body['stats'] as Json) &&
    Array.isArray(body['components'])
  if (!known) throw foreign(address)
  return body as unknown as Status
}

export interface EventsAsk {
  readonly after?: number
  readonly limit?: number
}

export async function askEvents(address: Address, { after, limit }: EventsAsk): Promise<readonly Event[]> {
  const query = new URLSearchParams()
  if (after !== undefined) query.set('after', String(after))
  if (limit !== undefined) query.set('limit', String(limit))
  const body = accepted(address, await ask(address, `/events${query.size > 0 ? `?${query.toString()}` : ''}`))
  const events = isObject(body) ? body['events'] : undefined
  if (!Array.isArray(events) || !events.every(isEvent)) throw foreign(address)
  return events
}

export function isEvent(value: unknown): value is Event {
  return isObject(value) && typeof value['id'] === 'number' && typeof value['kind'] === 'string'
}

/** An outcome is an answer, also one of a failed reload. */
function outcomeIn(address: Address, answer: Answer): Outcome | PlanOutcome {
  const body = jsonIn(answer)
  const outcome = answer.status === 200 ? body : isObject(body) ? body['outcome'] : undefined
  if (isObject(outcome) && typeof outcome['kind'] === 'string' && typeof outcome['run'] === 'number') {
    return outcome as unknown as Outcome | PlanOutcome
  }
  throw refusalIn(address, answer)
}

function accepted(address: Address, answer: Answer): Json | undefined {
  if (answer.status < 200 || answer.status > 299) throw refusalIn(address, answer)
  return jsonIn(answer)
}

/** What an answer that is not the wanted one means. */
export function refusalIn(address: Address, answer: Answer): Refusal {
  const body = jsonIn(answer)
  const code = isObject(body) && typeof body['code'] === 'string' ? body['code'] : ''
  const detail = isObject(body) && typeof body['detail'] === 'string' ? body['detail'] : ''
  const { status } = answer
  if (isObject(body) && String(body['type']).startsWith('urn:midflight:problem:')) {
    return new Refusal(
      'not-midflight',
      `${address.name} is a control plane, and this asks a process`,
      'of a fleet: midflight status --config CONFIG, midflight watch --config CONFIG, midflight nodes CONFIG',
    )
  }
  if (status === 401) {
    return address.token === undefined
      ? new Refusal(
          'unauthorized',
          `${address.name} wants a token`,
          'MIDFLIGHT_TOKEN, --token-file or --token gives one',
        )
      : new Refusal('unauthorized', `${address.name} does not accept this token`)
  }
  if (code === 'lifecycle-disabled') {
    return new Refusal(
      'forbidden',
      `${address.name} answers: ${detail}`,
      'the program turns it on with adminHttp({ …, lifecycle: true }); reload --pid works without it',
    )
  }
  if (code === 'foreign-host-or-origin') {
    return new Refusal(
      'forbidden',
      `${address.name} answers: ${detail}`,
      'the program names further hosts in adminHttp({ …, allowedHosts })',
    )
  }
  if (code !== '') return new Refusal('refused', `${address.name} answers ${status}: ${detail}`)
  return foreign(address, status)
}

function foreign(address: Address, status?: number): Refusal {
  const said = status === undefined ? 'answers, but not as' : `answers ${status}, but not as`
  return new Refusal(
    'not-midflight',
    `${address.name} ${said} Midflight's admin endpoint does; is it the right address?`,
  )
}

function jsonIn(answer: Answer): Json | undefined {
  try {
    return JSON.parse(answer.body) as Json
  } catch {
    // Not JSON is one of the answers: a login page, a proxy's error. The caller says so.
    return undefined
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
