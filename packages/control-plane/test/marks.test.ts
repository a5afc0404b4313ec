/** What is said against contents: exactly where, and no secret in it, whoever asks and however. */
import { at, parsePointer, pointerText, type Json } from 'midflight'
import { describe, expect, test } from 'vitest'
import { Batch, realClock } from '../src/batch.ts'
import { changeDemands } from '../src/configs.ts'
import { createDraft, editDraft } from '../src/drafts.ts'
import { planPublish } from '../src/plan.ts'
import type { Edit } from '../src/release.ts'
import { config, memory, publishOne, ready, refusal } from './domain-rig.ts'

const secret = 'CANARY-5ecret'
const pin = 918273645
const rule = { type: 'object', properties: { id: { type: 'string' }, key: { type: 'string', writeOnly: true } } }
const schema: Json = {
  $defs: { secrets: { type: 'object', writeOnly: true, maxProperties: 2, additionalProperties: { type: 'string' } } },
  type: 'object',
  properties: {
    db: {
      type: 'object',
      properties: {
        password: { type: 'string', writeOnly: true, maxLength: 20 },
        pin: { type: 'integer', writeOnly: true, minimum: 10, maximum: 1e12, not: { const: pin } },
      },
    },
    tokens: { $ref: '#/$defs/secrets' },
    rules: { type: 'array', 'x-midflight-key': 'id', items: rule },
    names: { type: 'array' },
    limit: { type: 'integer' },
  },
}
const rules = [
  { rule: 'unique', path: 'rules', field: 'key' },
  { rule: 'less', path: 'limit', than: 'db.pin' },
  { rule: 'less', path: 'db.pin', than: 'limit' },
  { rule: 'references', path: 'db.password', to: 'names' },
  { rule: 'references', path: 'tokens.*', to: 'names' },
] as const
const head = { db: { password: secret, pin: pin + 1 }, names: [secret], limit: 5, tokens: {} }

const edits: [string, Edit][] = [
  ['a text for the whole', { content: `${secret} and more` }],
  ['a number for the whole', { content: pin }],
  ['a text as a merge patch', { mergePatch: secret }],
  ['a test that fails', { patch: [{ op: 'test', path: '/db/password', value: 'x' }] }],
  [
    'a test with it',
    {
      patch: [
        { op: 'test', path: '/limit', value: 5 },
        { op: 'test', path: '/db', value: { password: `${secret}2` } },
      ],
    },
  ],
  ['a test of the whole', { patch: [{ op: 'test', path: '', value: {} }] }],
  ['a place inside', { patch: [{ op: 'add', path: `/db/password/${secret}`, value: 1 }] }],
  ['a name inside', { mergePatch: { tokens: { [secret]: 5 } } }],
  ['too many names inside', { mergePatch: { tokens: { [secret]: 'a', b: 'b', c: 'c' } } }],
  ['too long', { mergePatch: { db: { password: secret.repeat(3) } } }],
  ['of another kind', { mergePatch: { db: { password: { x: secret } } } }],
  ['a number above', { mergePatch: { db: { pin: pin * 1e6 } } }],
  ['a number below', { mergePatch: { db: { pin: -pin } } }],
  ['a number that must not be', { mergePatch: { db: { pin } } }],
  ['a number with a fraction', { mergePatch: { db: { pin: pin + 0.5 } } }],
  ['above another that is secret', { mergePatch: { limit: pin + 7 } }],
  [
    'twice',
    {
      mergePatch: {
        rules: [
          { id: 'a', key: secret },
          { id: 'b', key: secret },
        ],
      },
    },
  ],
  ['a name that is none', { mergePatch: { names: [] } }],
  ['a name inside that is none', { mergePatch: { tokens: { [secret]: `${secret}-y` } } }],
]

const canaries = new RegExp(`CANARY|${pin}|${pin + 1}|${pin + 7}`)

describe.each(edits)('%s', (_what, edit) => {
  test('is refused by every operation without a secret', async () => {
    // Without the second rule the head is good; with it, nothing is.
    const domain = await ready(await memory(), { schema, rules: rules.filter((_, i) => i !== 2) })
    await publishOne(domain, { content: structuredClone(head) })
    const draft = await createDraft(domain, { config, author: 'ada', mergePatch: { limit: 6 } })
    const batch = new Batch(domain, {
      config,
      author: 'batch',
      windowMs: 1,
      maxUpdates: 1,
      maxQueued: 10,
      clock: realClock,
    })
    const said = [
      await refusal(publishOne(domain, structuredClone(edit))),
      await refusal(createDraft(domain, { config, author: 'ada', ...structuredClone(edit) })),
      await refusal(editDraft(domain, { id: draft.draft.id, by: 'ada', ...structuredClone(edit) })),
      await refusal(batch.add({ author: 'ada', ...structuredClone(edit) })),
      await planPublish(domain, { config, ...structuredClone(edit) }).then(
        (plan) => plan.issues,
        (error: Error) => error,
      ),
    ]
    for (const one of said) {
      const { message = '', issues = one } = one as { message?: string; issues?: unknown }
      expect(`${message} ${JSON.stringify(issues)}`).not.toMatch(canaries)
      expect(JSON.stringify(issues)).toContain('message')
    }
  })
})

test('rules that the head breaks, and a schema that has forgotten what is secret: refused without it', async () => {
  const domain = await ready(await memory(), { schema })
  await publishOne(domain, { content: structuredClone(head) })
  const plain: Json = {
    type: 'object',
    properties: { db: { type: 'object', properties: { password: { const: 'x' } } } },
  }
  const named: Json = { type: 'object', properties: { db: { type: 'string' } } }
  for (const demands of [{ rules }, { schema: plain }, { schema: named }]) {
    const { message, issues } = await refusal(changeDemands(domain, config, demands, 'root'))
    expect(issues.length).toBeGreaterThan(0)
    expect(`${message} ${JSON.stringify(issues)}`).not.toMatch(canaries)
  }
})

test('what is not secret is said as ever, also beside secrets', async () => {
  const domain = await ready(await memory(), {
    schema,
    rules: [{ rule: 'unique', path: 'names' }],
  })
  const error = await refusal(publishOne(domain, { content: { names: ['a', 'a'] } }))
  expect(error.message).toBe('names.1 is "a", which is taken by names.0; want each once')
})

test('every issue has the exact place besides: by indexes, where people are told keys', async () => {
  const number = { type: 'integer', minimum: 1 }
  const item = { type: 'object', properties: { id: { type: 'string' }, n: number }, required: ['id'] }
  const domain = await ready(await memory(), {
    schema: { type: 'object', properties: { 'a/b': { type: 'array', 'x-midflight-key': 'id', items: item } } },
  })
  const content: Json = {
    'a/b': [
      { id: 'x', n: 1 },
      { id: '0', n: 0 },
      { id: 'y~', n: -1 },
    ],
  }
  const { issues } = await refusal(publishOne(domain, { content }))
  expect(issues.map(({ path }) => path.join(' '))).toEqual(['a/b 0 n', 'a/b y~ n'])
  const pointers = issues.map(({ exact = [] }) => pointerText(exact))
  expect(pointers).toEqual(['/a~1b/1/n', '/a~1b/2/n'])
  expect(pointers.map((pointer) => at(content, parsePointer(pointer)))).toEqual([0, -1])
})
