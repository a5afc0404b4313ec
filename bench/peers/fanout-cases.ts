/** What is published in the fan-out benchmark. */
import type { Json, JsonObject, PatchOperation } from 'midflight'

/** `1k`: a value of 1 KiB, new in all of it. `64k`: 64 KiB of settings, one changed. `rules`: 100,000 rules, ten changed. */
export type Case = '1k' | '64k' | 'rules'

const ruleCount = 100_000

export function contentOf(which: Case, seq: number): Json {
  if (which === '1k') return { value: letters(seq).repeat(1000) }
  if (which === '64k') {
    const settings: Record<string, Json> = {}
    for (let i = 0; i < 640; i++) settings[`setting-${i}`] = `value ${i} ${'v'.repeat(78)}`
    return { version: seq, settings }
  }
  return { rules: Array.from({ length: ruleCount }, (_, i) => ruleOf(i, 1)) }
}

export function editOf(which: Case, seq: number): { content: Json } | { patch: PatchOperation[] } {
  if (which === '1k') return { content: contentOf(which, seq) }
  if (which === '64k') return { patch: [{ op: 'replace', path: '/version', value: seq }] }
  const patch = Array.from({ length: 10 }, (_, i): PatchOperation => {
    const index = (i * 9_973 + seq) % ruleCount
    return { op: 'replace', path: `/rules/${index}/limit`, value: seq * 100 + i }
  })
  return { patch }
}

function letters(seq: number): string {
  return String.fromCharCode(97 + (seq % 26))
}

function ruleOf(i: number, seq: number): JsonObject {
  return {
    id: `rule-${i}`,
    resource: `api:GET:/v1/resource/${i}`,
    limit: seq,
    window: 'second',
    burst: 10,
    key: 'client',
    enabled: true,
    action: 'reject',
  }
}
