/** How a delivery is counted and told of, by what a control plane answers. With one and with agents it is `cli-fleet.test.ts`. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { deliveryOf } from '../src/fleet/delivery.ts'
import { deliveryLines } from '../src/show/delivery.ts'
import type { Paint } from '../src/terminal.ts'

const paint = new Proxy({}, { get: () => (text: string) => text }) as Paint
const look = { paint, columns: 100, wrapAt: Infinity }

function node(name: string, here: boolean): object {
  const at = '2026-11-20T09:00:00.000Z'
  const runs = { number: 1, digest: `sha256:${'1'.repeat(64)}` }
  const uid = `00000000-0000-4000-8000-00000000000${name.slice(1)}`
  return {
    uid,
    labels: { name },
    agent: { name: 't', version: '1' },
    runs,
    seen: 1,
    status: 'APPLIED',
    lastSeenAt: at,
    here,
  }
}

async function found(behind: readonly object[], nodes: number) {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.url?.includes('/summary') ? { release: 2, nodes } : { items: behind }))
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const base = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const address = { name: base.href, at: { kind: 'url', base }, token: undefined, timeoutMs: 5_000 } as const
  return await deliveryOf(address, 'shop/gateway', 2)
}

test('a release that no node is here to run has not reached the fleet, though nobody refuses it', async () => {
  const away = await found([node('n1', false), node('n2', false)], 2)
  expect(away).toMatchObject({ converged: false, settled: true, counts: { applied: 0, away: 2 } })
  expect(deliveryLines(away, undefined, look)[0]).toBe('▲ no node is here to run release 2: 2 away')
  expect(await found([node('n1', false)], 2)).toMatchObject({ converged: true, counts: { applied: 1, away: 1 } })
  expect(await found([], 0)).toMatchObject({ converged: true })
})

test('a node that knows a newer release than there is has come to an end with this one', async () => {
  const ahead = { ...node('n1', true), seen: 3 }
  expect(await found([ahead], 2)).toMatchObject({ settled: true, converged: false, counts: { applied: 1, failed: 1 } })
  expect(await found([node('n1', true)], 2)).toMatchObject({ settled: false, counts: { waiting: 1 } })
})
