/**
 * Health as somebody else's program sees it: told what is rolled out, it answers `{"healthy": true}`, and everything
 * else is a no. Which programs there are is the operator's configuration; where they may be, the engine's rule for
 * webhooks: public addresses, unless a host is allowed by name.
 */
import { webhookTarget } from 'midflight'
import { ask, checkHeaders, fieldOf, statusProblem } from './ask.ts'
import { checkedLimitMs, defaultLimitMs, gateOf, noData, type Gate, type WebhookSpec } from './gate.ts'

export interface GateWebhookOptions {
  /** `http:` or `https:`. Its path and query may be secret, and are never shown. */
  readonly url: string
  /** Sent with each question, such as `Authorization`. Never shown. */
  readonly headers?: Readonly<Record<string, string>>
  /** For a question with its answer; milliseconds, 1 to 300,000, default 10,000. */
  readonly timeoutMs?: number
  /** Hosts (`checks.internal`), or hosts with a port, that may be reached although their addresses are not public. */
  readonly allowHosts?: readonly string[]
}

/** Makes gates that ask there. @throws TypeError naming the hook, for options that cannot be used. */
export function gateWebhook(hook: string, options: GateWebhookOptions): (spec: WebhookSpec) => Gate {
  const { headers = {} } = options
  const limitMs = checkedLimitMs(options.timeoutMs ?? defaultLimitMs, `webhook ${hook} timeoutMs`)
  checkHeaders(headers, `webhook ${hook} headers`)
  const { url, lookup } = webhookTarget(options.url, options.allowHosts ?? [])
  return ({ name }) =>
    gateOf(name, limitMs, async (context, signal) => {
      const { config, release, step, nodes } = context
      const body = JSON.stringify({ gate: name, config, release, step, nodes })
      const { status, json } = await ask({ url, headers, type: 'application/json', body, lookup, signal })
      const problem = statusProblem(status)
      if (problem !== undefined) return noData(`${name}: ${hook} ${problem}`)
      const healthy = fieldOf(json, 'healthy')
      if (typeof healthy !== 'boolean') {
        return noData(`${name}: ${hook} answers something else; want {"healthy": true or false}`)
      }
      const reason = fieldOf(json, 'reason')
      const why = typeof reason === 'string' && reason !== '' ? `: ${reason.slice(0, 400)}` : ''
      return { ok: healthy, found: `${name}: ${healthy ? 'healthy' : 'not healthy'}${why}` }
    })
}
