import type { Terminal } from '../terminal.ts'
import type { Sidecar } from './read.ts'
export async function dry(_t: Terminal, _s: Sidecar, _f: { json: boolean }): Promise<void> {}
