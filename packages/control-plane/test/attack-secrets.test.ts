/** Secrets put where they do not belong: nothing that is said shows them. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { at, rig, type Rig } from './http-rig.ts'

let plane: Rig
beforeAll(async () => {
  plane = await rig()
  const password = { type: 'string', writeOnly: true, minLength: 1000 }
  const db = { type: 'object', properties: { user: { type: 'string' }, password } }
  const tokens = { type: 'object', additionalProperties: { type: 'string', writeOnly: true } }
  const schema = {
    type: 'object',
    properties: { db, tokens, dbs: { type: 'array', items: db }, name: { type: 'integer' } },
  }
  const made = await plane.ask('/v1/configs', { method: 'POST', body: { name: 'shop', schema } })
  if (made.status !== 201) throw new Error(made.text)
})
afterAll(async () => await plane.close())

const canary = 'canary-7f3a'

test.each([
  ['in the place of the object that has it in a field', { db: canary }],
  ['as a URL in its place', { db: `postgres://u:${canary}@db` }],
  ['with quotes and the words of a message', { db: `x"; want y ${canary}` }],
  ['in the place of a map of secrets', { tokens: `${canary}` }],
  ['in an entry of a list', { dbs: [`${canary}; want more`] }],
  ['in a list where an object is wanted', { db: [canary] }],
  ['of another kind', { db: { password: [canary] } }],
  ['that is too short', { db: { password: canary } }],
])('%s', async (_, body) => {
  const headers = { 'if-none-match': '*' }
  const put = await plane.ask(at('shop', '/content'), { method: 'PUT', headers, body })
  const plan = await plane.ask(at('shop', '/plan'), { method: 'POST', body: { content: body } })
  expect(put.status).toBe(422)
  for (const text of [put.text, plan.text, plane.log()]) expect(text).not.toContain(canary)
  expect(put.json().issues[0].message).toContain('want')
})

test('what is above no secret is shown as ever', async () => {
  const put = await plane.ask(at('shop', '/content'), {
    method: 'PUT',
    headers: { 'if-none-match': '*' },
    body: { name: 'text' },
  })
  expect(put.json().issues[0].message).toContain('is "text"')
})
