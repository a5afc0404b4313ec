/**
 * Health as Prometheus measures it, or what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics): an instant query,
 * and a bound that every series in the answer must fulfil. Which server is asked is the operator's configuration.
 */
import { ask, checkHeaders, fieldOf, statusProblem } from './ask.ts'
import { parseBound, type Bound } from './bound.ts'
import { checkedLimitMs, defaultLimitMs, gateOf, noData, type Gate, type GateResult, type PromqlSpec } from './gate.ts'
import { filledQuery } from './query.ts'

export interface PrometheusOptions {
  /** `http://127.0.0.1:9090`. A path is kept, for those behind a proxy. */
  readonly url: string
  /** Sent as `Authorization: Bearer`. A function is asked before each query. */
  readonly token?: string | (() => string | Promise<string>)
  /** Sent with each query, such as `X-Scope-OrgID`. Never shown. */
  readonly headers?: Readonly<Record<string, string>>
  /** For a query with its answer; milliseconds, 1 to 300,000, default 10,000. */
  readonly timeoutMs?: number
}

/** Makes gates that ask the Prometheus of these options. @throws TypeError for options that cannot be used. */
export function prometheus(options: PrometheusOptions): (spec: PromqlSpec) => Gate {
  const url = queryUrl(options.url)
  const { token, headers = {} } = options
  const limitMs = checkedLimitMs(options.timeoutMs ?? defaultLimitMs, 'prometheus timeoutMs')
  checkHeaders(headers, 'prometheus headers')
  if (typeof token === 'string') authorization(token)
  return (spec) => {
    const bound = parseBound(spec.want)
    return gateOf(spec.name, limitMs, async (context, signal) => {
      if (typeof bound === 'string') throw new Error(`its bound is ${JSON.stringify(spec.want)}; ${bound}`)
      const query = filledQuery(spec.query, context)
      const answer = await ask({
        url,
        headers: { ...headers, ...authorization(typeof token === 'function' ? await token() : token) },
        type: 'application/x-www-form-urlencoded',
        // Nor shall Prometheus work on what nobody waits for any more.
        body: new URLSearchParams({ query, timeout: `${limitMs}ms` }).toString(),
        signal,
      })
      return verdict(spec.name, bound, answer.status, answer.json)
    })
  }
}

function queryUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new TypeError('prometheus url is not one; want http:// or https://')
  }
  if (url.username !== '' || url.password !== '') {
    throw new TypeError(`prometheus url for ${url.host} has a user or a password in it; use token or headers`)
  }
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/api/v1/query`
  url.search = ''
  url.hash = ''
  return url
}

function authorization(token: string | undefined): { authorization?: string } {
  if (token === undefined) return {}
  if (/^[\x21-\x7e]{1,8192}$/.test(token)) return { authorization: `Bearer ${token}` }
  throw new TypeError('prometheus token is empty, too long, or holds other than visible ASCII characters')
}

interface Sample {
  readonly series: string
  readonly value: number
}

function verdict(name: string, bound: Bound, status: number, json: unknown): GateResult {
  const no = (why: string): GateResult => noData(`${name}: ${why}; want ${bound.text}`)
  const refused = textOf(fieldOf(json, 'error'))
  const problem = statusProblem(status)
  if (problem !== undefined) return no(`Prometheus ${problem}${refused === undefined ? '' : `: ${refused}`}`)
  if (json === undefined) return no('what Prometheus answers is not JSON')
  if (fieldOf(json, 'status') !== 'success') return no(`Prometheus has no answer: ${refused ?? 'it does not say why'}`)
  // A part of the stores did not answer, or the query does not fit the data: what is missing may be what is bad.
  const warnings = fieldOf(json, 'warnings')
  if (Array.isArray(warnings) && warnings.length > 0) return no(`Prometheus warns: ${String(warnings[0])}`)
  const samples = samplesOf(name, fieldOf(json, 'data'))
  if (typeof samples === 'string') return no(samples)
  const [first] = samples
  if (first === undefined) return no('no data')
  const bad = samples.filter(({ value }) => !bound.holds(value))
  const of = `of ${samples.length} series`
  // What is measured says more than what could not be: 0/0 is NaN.
  const worst = bad.find(({ value }) => Number.isFinite(value)) ?? bad[0]
  if (worst !== undefined) {
    const others = samples.length > 1 ? ` (${bad.length} ${of})` : ''
    const found = `${worst.series} = ${worst.value}; want ${bound.text}${others}`
    return Number.isFinite(worst.value) ? { ok: false, found } : noData(found)
  }
  if (samples.length === 1) return { ok: true, found: `${first.series} = ${first.value}; want ${bound.text}` }
  const values = samples.map(({ value }) => value).sort((a, b) => a - b)
  return { ok: true, found: `${name} = ${values[0]} to ${values.at(-1)} ${of}; want ${bound.text}` }
}

/** The numbers in the answer, or why there are none. */
function samplesOf(name: string, data: unknown): readonly Sample[] | string {
  const type = fieldOf(data, 'resultType')
  const result = fieldOf(data, 'result')
  if (type === 'scalar') {
    const value = numberOf(result)
    return value === undefined ? 'the scalar has no value' : [{ series: name, value }]
  }
  if (type !== 'vector' || !Array.isArray(result)) {
    return `the answer is a ${textOf(type) ?? 'thing without a type'}; want a query for an instant vector or a scalar`
  }
  const samples: Sample[] = []
  for (const entry of result as unknown[]) {
    const series = `${name}${labelsText(fieldOf(entry, 'metric'))}`
    const value = numberOf(fieldOf(entry, 'value'))
    if (value === undefined) return `${series} has no number`
    samples.push({ series, value })
  }
  return samples
}

/** Of `[time, "0.31"]`. Prometheus writes `NaN`, `+Inf` and `-Inf` too, for which no bound holds. */
function numberOf(value: unknown): number | undefined {
  const text: unknown = Array.isArray(value) ? value[1] : undefined
  if (typeof text !== 'string' || text.trim() === '') return undefined
  return Number(text.replace(/^([+-]?)Inf$/, '$1Infinity'))
}

function labelsText(metric: unknown): string {
  if (typeof metric !== 'object' || metric === null) return ''
  const labels = Object.entries(metric)
    .filter(([label]) => label !== '__name__')
    .slice(0, 8)
    .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
  return labels.length === 0 ? '' : `{${labels.join(',').slice(0, 200)}}`
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value.slice(0, 300) : undefined
}
