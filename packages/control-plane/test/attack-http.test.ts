/** What clients send that nobody thought of. */
import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { rig, type Rig } from './http-rig.ts'

let plane: Rig
beforeAll(async () => {
  plane = await rig()
})
afterAll(async () => await plane.close())

const knows = 'shouldUpgradeCallback' in createServer()
const h2c = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAARAAAAAAAIAAAAA' }

test.skipIf(!knows)(
  'a request that offers HTTP/2 besides is answered as any other (skipped: this Node cannot)',
  async () => {
    expect((await plane.ask('/v1/configs', { headers: h2c })).status).toBe(200)
    const made = await plane.ask('/v1/configs', { method: 'POST', headers: h2c, body: { name: 'shop' } })
    expect([made.status, made.json().name]).toEqual([201, 'shop'])
    expect((await plane.ask('/v1/configs', { headers: h2c, token: null })).status).toBe(401)
  },
)
