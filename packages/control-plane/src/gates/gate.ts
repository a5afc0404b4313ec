/**
 * A health gate: what a rollout asks before it goes on. The rule (I12): no data is a failure. Whatever a source of
 * health says, or does not say, `check` comes to an answer in time, and only a clear yes is one. What a gate means for
 * a rollout is the rollout's affair.
 */
/** As those who publish write it. Where it is asked is the server's configuration, never theirs: `sources.ts`. */
export type GateSpec = PromqlSpec | WebhookSpec

export interface PromqlSpec {
  readonly kind: 'promql'
  readonly name: string
  /** `$config`, `$release`, `$step` and `$nodes` stand for quoted texts: `http_errors{node=~$nodes}`. */
  readonly query: string
  /** `< 0.05`, `>= 0.99`, `== 0`: what each series in the answer must fulfil. */
  readonly want: string
}

export interface WebhookSpec {
  readonly kind: 'webhook'
  readonly name: string
  /** The name of one that is configured on the server. */
  readonly hook: string
}

export interface GateContext {
  readonly config: string
  readonly release: number
  readonly step: number
  /** Uids of the nodes in the step, or the first of them. */
  readonly nodes: readonly string[]
}

export interface GateResult {
  readonly ok: boolean
  /** Nothing could be found out: no pass, but no sign of harm either while there is time to ask again. */
  readonly noData?: boolean
  /** For people: `error_ratio = 0.31; want < 0.05`. One line of at most 512 characters. */
  readonly found: string
}

export interface Gate {
  readonly name: string
  /** Never rejects: what cannot be found out is `ok: false`, with why. */
  check(context: GateContext, signal: AbortSignal): Promise<GateResult>
}

export const defaultLimitMs = 10_000
const longestLimitMs = 300_000
const longestFound = 512

/** @throws TypeError naming `what`. */
export function checkedLimitMs(limitMs: number, what: string): number {
  if (limitMs >= 1 && limitMs <= longestLimitMs) return limitMs
  throw new TypeError(`${what} is ${limitMs}; want 1 to ${longestLimitMs} milliseconds`)
}

export function noData(found: string): GateResult {
  return { ok: false, noData: true, found }
}

/** The gate that asks so: over when the limit passes or `signal` aborts, even if `ask` is not, and never a throw. */
export function gateOf(
  name: string,
  limitMs: number,
  ask: (context: GateContext, signal: AbortSignal) => Promise<GateResult>,
): Gate {
  return {
    name,
    check: (context, stop) =>
      new Promise((resolve) => {
        const over = new AbortController()
        const end = ({ ok, noData: none, found }: GateResult): void => {
          clearTimeout(timer)
          stop.removeEventListener('abort', onStop)
          // Not only truthy: this is where what was meant to be a yes becomes one.
          const isOk = ok === true && none !== true
          resolve({ ok: isOk, ...(none === true && { noData: true }), found: oneLine(found) })
          over.abort()
        }
        const fail = (why: string): void => end(noData(`${name}: ${why}`))
        const onStop = (): void => fail('was stopped before there was an answer')
        const timer = setTimeout(() => fail(`no answer within ${limitMs} ms`), limitMs)
        if (stop.aborted) return onStop()
        stop.addEventListener('abort', onStop)
        const asked = async (): Promise<GateResult> => await ask(context, over.signal)
        asked()
          .then(end)
          .catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)))
      }),
  }
}

/** The gate for a spec that nobody can answer. */
export function deadGate(name: string, why: string): Gate {
  return { name, check: async () => noData(oneLine(`${name}: ${why}`)) }
}

function oneLine(text: string): string {
  const line = text.slice(0, 2 * longestFound).replace(/[\s\p{Cc}]+/gu, ' ')
  return line.length > longestFound ? `${line.slice(0, longestFound - 1)}…` : line
}
