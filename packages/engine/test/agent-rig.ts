/** A program in a fleet, for tests: a real engine on a `controlPlane()`, with a component that can be made to fail. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { controlPlane, type ControlPlane, type ControlPlaneOptions } from '../src/agent/index.ts'
import { componentsFor } from '../src/components-for.ts'
import { start } from '../src/engine.ts'
import type { Engine, StartOptions } from '../src/options.ts'
import type { FakeControlPlane } from './fake-control-plane.ts'

export const schema = z.object({ limit: z.number().min(1), text: z.string().optional() })
type Config = z.infer<typeof schema>

const { value } = componentsFor(schema)

export interface Program {
  readonly engine: Engine<Config>
  readonly source: ControlPlane
  /** Every limit that was applied, in order. */
  readonly applied: number[]
  readonly warnings: string[]
  close(): Promise<void>
}

export class Rig {
  readonly #open: { close(): Promise<void> }[] = []
  readonly #directories: string[] = []

  add<T extends { close(): Promise<void> }>(one: T): T {
    this.#open.push(one)
    return one
  }

  async directory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'midflight-agent-'))
    this.#directories.push(path)
    return path
  }

  async close(): Promise<void> {
    for (const one of this.#open.splice(0).reverse()) await one.close()
    for (const path of this.#directories.splice(0)) await rm(path, { recursive: true, force: true })
  }

  /** @param failOn limits that the component does not take. */
  async program(
    plane: FakeControlPlane | string,
    options: Partial<ControlPlaneOptions> & {
      readonly failOn?: (limit: number) => boolean | Promise<boolean>
      readonly engine?: Partial<StartOptions<typeof schema>>
    } = {},
  ): Promise<Program> {
    const { failOn, engine: more, ...given } = options
    const url = typeof plane === 'string' ? plane : plane.url
    const source = controlPlane({ url, config: 'shop/gateway/prod', ...given })
    const applied: number[] = []
    const warnings: string[] = []
    const limit = value({
      name: 'limit',
      path: 'limit',
      apply: async (next) => {
        if (await failOn?.(next)) throw new Error(`does not take ${next}`)
        applied.push(next)
      },
    })
    const engine = await start({
      schema,
      sources: [source],
      components: [limit],
      logger: { info() {}, warn: (message) => warnings.push(message), error() {} },
      retries: { limit: 0 },
      ...more,
    })
    let closed: Promise<void> | undefined
    return this.add({ engine, source, applied, warnings, close: () => (closed ??= engine.close()) })
  }
}

/** Waits for what another process or a socket will bring about; the test's own time limit is the bound. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}
