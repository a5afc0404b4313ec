/** A release as a node holds it. */
import type { Held } from '../src/agent/node-state.ts'

/** @param twist makes it another with the same number. */
export function held(number: number, twist = ''): Held {
  const digest = `sha256:${number}${twist}`
  const release = {
    config: 'shop',
    number,
    digest,
    parent: null,
    createdAt: '',
    author: '',
    message: '',
    kind: 'publish',
  } as const
  return { release, content: { number } }
}
