/** A strict reader of the part of OpenMetrics 1.0 that we write. Throws at the first thing that the standard forbids. */

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly type: string
  readonly unit: string
  readonly samples: readonly Sample[]
}

const suffixes: Record<string, readonly string[]> = {
  gauge: [''],
  counter: ['_total'],
  histogram: ['_bucket', '_count', '_sum'],
}

export function parseOpenMetrics(text: string): Map<string, Family> {
  const families = new Map<string, { type: string; unit: string; help: boolean; samples: Sample[] }>()
  const lines = text.split('\n')
  want(lines.pop() === '', 'the text ends in a newline')
  want(lines.pop() === '# EOF', 'the last line is # EOF')
  const seen = new Set<string>()
  let name = ''
  for (const line of lines) {
    const meta = /^# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (meta) {
      const [, kind, family, rest] = meta as unknown as [string, string, string, string]
      if (kind === 'TYPE') {
        want(!families.has(family), `one family ${family}, not interleaved`)
        want(rest in suffixes, `a known type, not ${rest}`)
        families.set(family, { type: rest, unit: '', help: false, samples: [] })
        name = family
      }
      want(family === name, `metadata of ${family} directly after its TYPE`)
      const found = families.get(name)!
      want(found.samples.length === 0, `metadata of ${family} before its samples`)
      if (kind === 'UNIT') {
        want(family.endsWith(`_${rest}`), `${family} to end in its unit`)
        found.unit = rest
      }
      if (kind === 'HELP') {
        want(!found.help && /^(?:[^"\\]|\\[\\n"])*$/.test(rest), `one escaped HELP for ${family}`)
        found.help = true
      }
      continue
    }
    const sample = sampleOf(line)
    const found = families.get(name)
    want(
      found !== undefined && suffixes[found.type]!.some((suffix) => sample.name === name + suffix),
      `${line} to belong to ${name}`,
    )
    const key = [sample.name, ...Object.entries(sample.labels).map(String).sort()].join('\n')
    want(!seen.has(key), `one sample of ${key}`)
    seen.add(key)
    if (found!.type !== 'gauge') want(sample.value >= 0, `${line} to be 0 or more`)
    found!.samples.push(sample)
  }
  for (const [family, { type, samples }] of families) if (type === 'histogram') checkHistogram(family, samples)
  return families
}

function sampleOf(line: string): Sample {
  const parts = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(line)
  want(parts !== null, `a sample, not ${JSON.stringify(line)}`)
  const [, name, inner = '', value] = parts as unknown as [string, string, string | undefined, string]
  const labels: Record<string, string> = {}
  let at = 0
  while (at < inner.length) {
    const label = /^(?:,)?([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"/.exec(inner.slice(at))
    want(label !== null && label[0].startsWith(',') === at > 0, `labels, not ${inner}`)
    want(!(label![1]! in labels), `each label once in ${line}`)
    labels[label![1]!] = label![2]!.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c))
    at += label![0].length
  }
  return { name, labels, value: Number(value) }
}

/** Buckets in order, cumulative, ending in +Inf, which equals the count; all samples of one label set together. */
function checkHistogram(family: string, samples: readonly Sample[]): void {
  for (let i = 0; i < samples.length;) {
    const group = samples.slice(i, samples.findIndex((sample, at) => at > i && sample.name === `${family}_sum`) + 1)
    const keys = group.map(({ labels: { le: _, ...rest } }) => JSON.stringify(rest))
    want(new Set(keys).size === 1, `${family} to keep a label set together`)
    const buckets = group.slice(0, -2)
    const bounds = buckets.map(({ labels }) => labels['le']!)
    want(bounds.at(-1) === '+Inf', 'a last bucket of +Inf')
    want(
      bounds.slice(0, -1).every((le) => /^\d+\.\d+$/.test(le)),
      'each le as a float',
    )
    for (let b = 1; b < buckets.length; b++) {
      want(b === buckets.length - 1 || Number(bounds[b]) > Number(bounds[b - 1]), 'buckets in order')
      want(buckets[b]!.value >= buckets[b - 1]!.value, 'buckets to be cumulative')
    }
    want(
      group.at(-2)?.name === `${family}_count` && group.at(-2)?.value === buckets.at(-1)?.value,
      'the count to be that of +Inf',
    )
    i += group.length
  }
}

function want(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`OpenMetrics: want ${what}`)
}
