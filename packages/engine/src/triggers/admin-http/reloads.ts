/** Reloads that someone asked for without waiting, by id, until they have been looked up or newer ones push them out. */
import { randomUUID } from 'node:crypto'
import type { Outcome } from '../../outcome.ts'

export type AskedReload =
  | { readonly id: string; readonly state: 'running' }
  | { readonly id: string; readonly state: 'done'; readonly outcome: Outcome }
  | { readonly id: string; readonly state: 'error'; readonly error: string }

const maxKept = 100

export interface AskedReloads {
  /** The id under which the outcome can be asked for; `undefined` if too many are running already. */
  add(outcome: Promise<Outcome>): string | undefined
  get(id: string): AskedReload | undefined
}

export function askedReloads(): AskedReloads {
  const byId = new Map<string, AskedReload>()
  const settle = (reload: AskedReload) => {
    byId.delete(reload.id)
    byId.set(reload.id, reload)
  }
  return {
    add(outcome) {
      const running = [...byId.values()].filter((reload) => reload.state === 'running').length
      if (running >= maxKept) return undefined
      const id = randomUUID()
      byId.set(id, { id, state: 'running' })
      outcome.then(
        (result) => settle({ id, state: 'done', outcome: result }),
        (error: unknown) => settle({ id, state: 'error', error: String(error) }),
      )
      for (const [old, { state }] of byId) {
        if (byId.size <= maxKept) break
        if (state !== 'running') byId.delete(old)
      }
      return id
    },
    get: (id) => byId.get(id),
  }
}
