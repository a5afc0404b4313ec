/**
 * Any mixture of lost, doubled, late and reordered frames, cut connections and restarts of the control plane, over real
 * sockets: what is applied only ever goes up, and in the end the newest runs. A failing run prints its seed.
 */
import * as fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())

const act = fc.oneof(
  { weight: 6, arbitrary: fc.constant('publish' as const) },
  { weight: 1, arbitrary: fc.constantFrom('cut', 'restart', 'no-websocket', 'websocket', 'bad' as const) },
  { weight: 2, arbitrary: fc.constant('wait' as const) },
)
const fate = fc.constantFrom('pass', 'pass', 'pass', 'drop', 'double', 'late' as const)

const runs = process.env['MIDFLIGHT_LONG'] === undefined ? 25 : 500

test(
  'I5, I6, R7, F24, F27: whatever the wire does, numbers only go up and the newest is reached',
  { timeout: 60_000 + runs * 2_000 },
  async () => {
    const series = fc.record({
      acts: fc.array(act, { minLength: 3, maxLength: 14 }),
      fates: fc.array(fate, { minLength: 5, maxLength: 40 }),
    })
    await fc.assert(
      fc
        .asyncProperty(series, async ({ acts, fates }) => {
          const pacing = { heartbeatMs: 100, leaseMs: 1_000, pollMs: 100 }
          let fake = rig.add(await FakeControlPlane.listen({ pacing }))
          let limit = 1
          fake.publish({ limit })
          const { engine, applied, source } = await rig.program(fake, { engine: { logger: false } })
          let frame = 0
          const late: string[] = []
          const misbehave = () => {
            fake.frames = (text) => {
              if (!text.includes('"type":"release"')) return [text]
              switch (fates[frame++ % fates.length]) {
                case 'drop':
                  return []
                case 'double':
                  return [text, text]
                case 'late':
                  late.push(text)
                  return []
                default:
                  // What was held back comes behind what is newer.
                  return [text, ...late.splice(0)]
              }
            }
          }
          misbehave()
          for (const one of acts) {
            if (one === 'publish') fake.publish({ limit: ++limit })
            else if (one === 'bad') fake.publish({ limit: 0 })
            else if (one === 'cut') for (const ws of fake.sockets) ws.terminate()
            else if (one === 'no-websocket' || one === 'websocket') fake.upgrades = one === 'websocket' || 404
            else if (one === 'restart') {
              const { port, releases } = fake
              await fake.close()
              fake = rig.add(await FakeControlPlane.listen({ pacing, port, releases }))
              misbehave()
            } else await new Promise((resolve) => setTimeout(resolve, 30))
          }
          fake.frames = (text) => [text]
          fake.upgrades = true
          const { release } = fake.publish({ limit: ++limit })
          await until(() => source.status().runs?.number === release.number)
          expect(engine.live.limit).toBe(limit)
          expect(applied).toEqual([...new Set(applied)].toSorted((a, b) => a - b))
        })
        .afterEach(() => rig.close()),
      { numRuns: runs },
    )
  },
)
