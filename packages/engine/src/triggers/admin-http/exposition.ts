/**
 * OpenMetrics text in the older Prometheus text format 0.0.4, for scrapers that do not ask for OpenMetrics. What is
 * measured is `metrics.ts`.
 */

export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * In the older format the family of a counter bears the name of its samples, `…_total`; there is no end mark, no
 * unit, no `_created` sample and no exemplar.
 */
export function prometheusText(openMetrics: string): string {
  const types = new Map<string, string>()
  for (const [, name = '', type = ''] of openMetrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)) types.set(name, type)
  const lines: string[] = []
  for (const line of openMetrics.split('\n')) {
    const comment = /^# (TYPE|HELP) (\S+)(.*)$/.exec(line)
    if (comment) {
      const [, word = '', name = '', rest = ''] = comment
      const type = types.get(name)
      const suffix = type === 'counter' ? '_total' : type === 'info' ? '_info' : ''
      lines.push(`# ${word} ${name}${suffix}${word === 'TYPE' ? ` ${olderTypes[rest.trim()] ?? rest.trim()}` : rest}`)
      continue
    }
    const sample = /^([^\s{#]+)_created[{ ]/.exec(line)
    if (line === '' || line.startsWith('#') || (sample && types.has(sample[1] ?? ''))) continue
    lines.push(line.replace(/ # \{.*$/, ''))
  }
  return `${lines.join('\n')}\n`
}

const olderTypes: Record<string, string> = {
  unknown: 'untyped',
  info: 'gauge',
  stateset: 'gauge',
  gaugehistogram: 'histogram',
}
