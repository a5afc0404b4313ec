/** The messages between agents and control plane: shapes, limits, texts. What nodes do with them is `agent*.test.ts`. */
import { hash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { canonicalText } from '../src/canonical.ts'
import type { Json } from '../src/json.ts'
import type { Outcome } from '../src/outcome.ts'
import {
  BadMessageError,
  closeCodes,
  decodeFromAgent,
  decodeFromServer,
  encode,
  maxMessageBytes,
} from '../src/protocol/codec.ts'
import { agentMessage, busMessage, serverMessage, type ReleaseMessage, type Report } from '../src/protocol/messages.ts'
import { configNameProblem, isBelow, isConfigName } from '../src/protocol/names.ts'
import { signedText, type ReleaseInfo } from '../src/protocol/release.ts'
import {
  dictionary,
  integer,
  list,
  mismatchText,
  nullable,
  optional,
  record,
  tagged,
  text,
} from '../src/protocol/shape.ts'
import { cut, detailOf, statusOf } from '../src/protocol/status.ts'

const digest = `sha256:${'0'.repeat(64)}`
const uid = '00000000-0000-4000-8000-000000000001'
const info: ReleaseInfo = {
  config: 'shop/gateway/prod',
  number: 7,
  digest,
  parent: 6,
  createdAt: '2026-11-20T09:30:00.000Z',
  author: 'ada',
  message: 'raise the limit',
  kind: 'publish',
}

const refused = (run: () => unknown): BadMessageError => {
  try {
    run()
  } catch (error) {
    if (error instanceof BadMessageError) return error
    throw error
  }
  throw new Error('was taken')
}

describe('the wire', () => {
  test('has not changed: whoever changes it changes this hash, docs/protocol.md, and thinks of agents in the field', () => {
    const schemas = canonicalText({
      agent: agentMessage.schema,
      server: serverMessage.schema,
      bus: busMessage.schema,
    })
    expect(hash('sha256', schemas)).toBe('cea7239d7ef4312de992f8cb703fad59c4bbc10f8d0c04a2866ca4f1893a6f07')
  })

  test('the types follow from the shapes', () => {
    expectTypeOf<Report['detail']>().toEqualTypeOf<string | undefined>()
    expectTypeOf<ReleaseMessage['release']['kind']>().toEqualTypeOf<'publish' | 'rollback'>()
    expectTypeOf<Extract<ReleaseMessage['body'], { kind: 'whole' }>['content']>().toEqualTypeOf<Json>()
  })

  test('what is encoded is decoded to the same', () => {
    const hello = {
      type: 'hello',
      uid,
      config: 'shop/gateway/prod',
      labels: { zone: 'a' },
      agent: { name: 'midflight', version: '0.1.0' },
      runs: { number: 6, digest },
      seen: 7,
      status: 'APPLIED',
      components: [{ name: 'http', hot: 'partial', restartFor: ['http.port'] }],
    } as const
    expect(decodeFromAgent(encode(hello))).toEqual(hello)
    expect(decodeFromAgent(Buffer.from(encode(hello)))).toEqual(hello)
    const release = {
      type: 'release',
      release: info,
      body: { kind: 'delta', base: 6, baseDigest: digest, patch: [{ op: 'replace', path: '/a', value: 1 }] },
    } as const
    expect(decodeFromServer(encode(release))).toEqual(release)
  })

  test('fields that are not known are passed over, so that a later version may add some', () => {
    expect(decodeFromServer('{"type":"pace","pollMs":1000,"later":true}')).toMatchObject({ pollMs: 1000 })
  })

  test.each([
    [
      'unknown type',
      '{"type":"reboot"}',
      'shape',
      'type is "reboot"; want one of "hello", "heartbeat", "report", "whole"',
    ],
    ['no type', '{}', 'shape', 'type is nothing; want one of'],
    ['a type that objects inherit', '{"type":"constructor"}', 'shape', 'type is "constructor"; want one of'],
    ['not an object', '[]', 'shape', 'the message is []; want an object'],
    ['not JSON', '{"type":', 'syntax', 'the message is not JSON'],
    ['nothing', '', 'syntax', 'the message is not JSON'],
    ['a number of zero', '{"type":"whole","number":0}', 'shape', 'number is 0; want an integer from 1 to'],
    ['a number as text', '{"type":"whole","number":"7"}', 'shape', 'number is "7"; want an integer'],
    ['a number beyond 2^53', '{"type":"whole","number":9007199254740993}', 'shape', 'want an integer'],
    ['a missing field', '{"type":"whole"}', 'shape', 'number is missing'],
    [
      'a status that is none',
      `{"type":"heartbeat","runs":null,"status":"FINE"}`,
      'shape',
      'status is "FINE"; want one of',
    ],
    [
      'a digest that is none',
      `{"type":"heartbeat","runs":{"number":1,"digest":"x"},"status":"APPLIED"}`,
      'shape',
      'runs.digest is "x"',
    ],
  ])('refused from an agent: %s', (_, frame, code, message) => {
    const error = refused(() => decodeFromAgent(frame))
    expect(error.code).toBe(code)
    expect(error.message).toContain(message)
    expect(closeCodes[error.code]).toBe(1008)
  })

  test('refused: bytes that are not UTF-8, with close code 1007', () => {
    const error = refused(() => decodeFromAgent(Buffer.from([0x22, 0xff, 0x22])))
    expect([error.code, closeCodes[error.code]]).toEqual(['encoding', 1007])
  })

  test('refused: 16 MiB from an agent, with close code 1009, before anything is parsed', () => {
    const error = refused(() => decodeFromAgent('x'.repeat(16 * 1024 * 1024)))
    expect([error.code, closeCodes[error.code]]).toEqual(['too-large', 1009])
    expect(error.message).toContain(`want at most ${maxMessageBytes}`)
  })

  test('a release may be large, and nothing else from the server', () => {
    const content = 'x'.repeat(maxMessageBytes)
    const release = { type: 'release', release: info, body: { kind: 'whole', content } } as const
    expect(decodeFromServer(encode(release))).toEqual(release)
    const padded = `{"type":"pace","pollMs":1000,"pad":${JSON.stringify(content)}}`
    expect(refused(() => decodeFromServer(padded)).code).toBe('too-large')
  })

  test('sizes are counted in bytes, not characters', () => {
    const error = { type: 'error', code: 'x', message: 'y', pad: '€'.repeat(maxMessageBytes / 3) } as const
    expect(() => encode(error)).toThrow(RangeError)
    expect(refused(() => decodeFromServer(JSON.stringify(error))).code).toBe('too-large')
  })

  test.each([
    ['depth 100,000', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'nested more than 100 deep'],
    ['__proto__', '{"__proto__":{"polluted":true}}', '__proto__ is a key that would set a prototype'],
    ['half of a surrogate pair', '"\\ud800"', 'half of a surrogate pair'],
    ['an integer that is not exact', '9007199254740993', 'integers are no longer exact'],
  ])('refused as content: %s', (_, content, message) => {
    const frame = `{"type":"release","release":${JSON.stringify(info)},"body":{"kind":"whole","content":${content}}}`
    const error = refused(() => decodeFromServer(frame))
    expect(error.code).toBe('shape')
    expect(error.message).toContain(message)
  })

  test('whatever comes, it is taken as it is or refused by name; nothing else is ever thrown', () => {
    const messages = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record({ type: fc.constantFrom('hello', 'heartbeat', 'report', 'whole'), number: fc.anything() })
        .map((m) => JSON.stringify(m)),
      fc.uint8Array(),
    )
    fc.assert(
      fc.property(messages, (frame) => {
        for (const decode of [decodeFromAgent, decodeFromServer]) {
          try {
            decode(frame)
          } catch (error) {
            if (!(error instanceof BadMessageError)) throw error
          }
        }
      }),
    )
  })
})

describe('shapes', () => {
  const found = (shape: { mismatch(value: unknown, path: []): ReturnType<typeof integerMismatch> }, value: unknown) => {
    const wrong = shape.mismatch(value, [])
    return wrong && mismatchText(wrong)
  }
  const integerMismatch = integer(0, 9).mismatch

  test('say where, what was found, and what was wanted', () => {
    expect(found(integer(0, 9), 10)).toBe('the message is 10; want an integer from 0 to 9')
    expect(found(integer(0, 9), 1.5)).toBe('the message is 1.5; want an integer from 0 to 9')
    expect(found(text(3), 'abcd')).toBe('the message has more than 3 characters; want at most 3')
    expect(found(text(3), '😀😀😀')).toBeUndefined()
    expect(found(list(integer(0, 9), 2), [1, 'x'])).toBe('1 is "x"; want an integer from 0 to 9')
    expect(found(list(integer(0, 9), 2), [1, 2, 3])).toBe('the message has 3 entries; want at most 2')
    expect(found(record({ a: record({ b: text(1) }) }), { a: {} })).toBe('a.b is missing')
    expect(found(record({ a: optional(text(1)) }), {})).toBeUndefined()
    expect(found(record({ a: nullable(text(1)) }), { a: null })).toBeUndefined()
    expect(found(record({ toString: text(1) }), {})).toBe('toString is missing')
    expect(found(dictionary(text(2), text(1), 1), { abc: '' })).toContain('has the key "abc", which has more than 2')
    expect(found(dictionary(text(2), text(1), 1), { a: '', b: '' })).toBe('the message has 2 entries; want at most 1')
    expect(found(tagged('op', { add: record({}) }), { op: 'del' })).toBe('op is "del"; want one of "add"')
  })

  test('print themselves as JSON Schema', () => {
    expect(tagged('op', { add: record({ n: integer(0, 9), t: optional(text(2)) }) }).schema).toEqual({
      oneOf: [
        {
          type: 'object',
          required: ['op', 'n'],
          properties: {
            op: { const: 'add' },
            n: { type: 'integer', minimum: 0, maximum: 9 },
            t: { type: 'string', maxLength: 2 },
          },
        },
      ],
    })
  })
})

describe('names of configs', () => {
  test.each(['a', 'shop/gateway/prod', '0', 'a.b_c-d/e', 'a/b/c/d/e/f/g/h', 'x'.repeat(64)])('%s is one', (name) => {
    expect(configNameProblem(name)).toBeUndefined()
    expect(isConfigName(name)).toBe(true)
  })

  test.each([
    ['', 'is empty'],
    ['a/b/c/d/e/f/g/h/i', '9 segments'],
    ['/a', 'empty segment'],
    ['a/', 'empty segment'],
    ['a//b', 'empty segment'],
    ['..', 'two dots'],
    ['a/../b', 'two dots'],
    ['a..b', 'two dots'],
    ['A', 'lower-case'],
    ['a b', 'lower-case'],
    ['a\n', 'lower-case'],
    ['.a', 'lower-case'],
    ['ä', 'lower-case'],
    ['x'.repeat(65), 'more than 64'],
  ])('%j is none: %s', (name, why) => {
    expect(configNameProblem(name)).toContain(why)
    expect(isConfigName(name)).toBe(false)
  })

  test('a prefix covers whole segments', () => {
    expect(isBelow('', 'shop/a')).toBe(true)
    expect(isBelow('shop', 'shop/a')).toBe(true)
    expect(isBelow('shop/a', 'shop/a')).toBe(true)
    expect(isBelow('shop/a', 'shop/ab')).toBe(false)
    expect(isBelow('shop/a', 'shop')).toBe(false)
  })
})

describe('texts', () => {
  test('what a signature is over is the canonical text of eight fields', () => {
    expect(signedText(info)).toBe(
      `{"author":"ada","config":"shop/gateway/prod","createdAt":"2026-11-20T09:30:00.000Z","digest":"${digest}",` +
        `"kind":"publish","message":"raise the limit","number":7,"parent":6}`,
    )
    const more = { ...info, rollbackOf: 3, signature: { keyId: 'k', alg: 'Ed25519', value: 'x' } } as const
    expect(signedText(more)).toBe(signedText(info))
  })

  const base = { run: 1, triggers: [], startedAt: '', durationMs: 0, durationsMs: {}, retries: 0, pendingRestart: [] }
  const plan = { components: [], unread: [], changeCount: 0 }

  test.each([
    [{ ...base, kind: 'unchanged' }, 'APPLIED'],
    [{ ...base, kind: 'committed', plan, components: [], warnings: [] }, 'APPLIED'],
    [{ ...base, kind: 'committed', plan, components: [], warnings: [], pendingRestart: ['port'] }, 'RESTART_REQUIRED'],
    [{ ...base, kind: 'rejected', phase: 'validate', issues: [] }, 'FAILED'],
    [{ ...base, kind: 'restart-required', paths: ['port'], plan }, 'RESTART_REQUIRED'],
    [
      { ...base, kind: 'rolled-back', failed: 'http', phase: 'commit', cause: 'no', plan, components: [] },
      'ROLLED_BACK',
    ],
    [{ ...base, kind: 'degraded', failed: 'http', cause: 'no', plan, components: [] }, 'DEGRADED'],
    [{ ...base, kind: 'closed' }, undefined],
  ] satisfies [Outcome, string | undefined][])('outcome %o is the status %s', (outcome, status) => {
    expect(statusOf(outcome)).toBe(status)
    expect(detailOf(outcome) === undefined).toBe(status === 'APPLIED' || status === undefined)
  })

  test('a long reason is cut between characters', () => {
    const long = cut(`x${'😀'.repeat(4096)}`)
    expect(long.length).toBeLessThanOrEqual(4096)
    expect(long.isWellFormed()).toBe(true)
    expect(cut('short')).toBe('short')
  })
})
