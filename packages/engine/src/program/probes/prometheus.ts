/**
 * Prometheus says of itself whether its last reload was successful, and when the last successful one was. The time is
 * compared with the one before, not with our clock.
 */
import { answerOf } from '../request.ts'
import { Final, type Ask } from './ask.ts'

const successful = 'prometheus_config_last_reload_successful'
const succeededAt = 'prometheus_config_last_reload_success_timestamp_seconds'

/** Of a Prometheus with thousands of jobs; the two lines stand before what grows with them. */
const maxMetricsBytes = 8 * 2 ** 20

interface Reported {
  readonly successful: boolean
  readonly succeededAt: string
}

export async function beginPrometheus(metricsUrl: string, signal: AbortSignal): Promise<Ask> {
  // Not there yet: then whatever it says once it is there is new.
  const before = await reported(metricsUrl, signal).catch(() => undefined)
  return async (asked) => {
    const now = await reported(metricsUrl, asked)
    if (!now.successful) {
      const why = 'Prometheus says that its last reload was not successful; its log says why'
      throw before?.successful ? new Final(why) : new Error(why)
    }
    if (now.succeededAt === before?.succeededAt) throw new Error('Prometheus has not reloaded since it was told')
  }
}

async function reported(url: string, signal: AbortSignal): Promise<Reported> {
  const response = await answerOf(
    'the probe (metrics of Prometheus)',
    { url, method: 'GET', maxBytes: maxMetricsBytes },
    signal,
  )
  if (response.status !== 200)
    throw new Error(`the metrics of Prometheus were answered with ${response.status}; want 200`)
  const value = (name: string): string => {
    const found = new RegExp(`^${name} (\\S+)`, 'm').exec(response.body)?.[1]
    if (found === undefined) throw new Error(`there is no ${name} at the URL of the metrics; want those of Prometheus`)
    return found
  }
  return { successful: Number(value(successful)) === 1, succeededAt: value(succeededAt) }
}
