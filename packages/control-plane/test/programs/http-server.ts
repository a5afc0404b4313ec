/** A control plane in a process of its own, with `limits` as JSON: says where it is and its first token in one line, and runs until it is killed. */
import { pino } from 'pino'
import { serve } from '../../src/index.ts'

let secret: string | null = null
const plane = await serve({
  dataDir: process.argv[2] as string,
  port: 0,
  logger: pino({ level: 'silent' }),
  onAdminToken: (shown) => (secret = shown),
  limits: JSON.parse(process.argv[3] ?? '{}'),
})
process.stdout.write(`${JSON.stringify({ url: plane.url, secret })}\n`)
