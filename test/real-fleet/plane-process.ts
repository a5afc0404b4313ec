/** The control plane of the fleet: `<data directory> <port> <URL of the gate> <hosts that stand for it>`. SQLite, patience shorter than usual. Says where it listens. */
import { flushCompileCache } from 'node:module'
import { serve } from '@midflight/control-plane'
import { pino } from 'pino'

const [dataDir = '', port = '0', gate = '', hosts = ''] = process.argv.slice(2)
const plane = await serve({
  dataDir,
  port: Number(port),
  authentication: 'none',
  allowedHosts: hosts.split(','),
  logger: pino({ level: 'warn' }, pino.destination({ dest: 2, sync: true })),
  limits: { hub: { heartbeatMs: 1_000, leaseMs: 5_000, pollMs: 3_000, helloMs: 3_000, answerMs: 4_000 } },
  gates: { webhooks: { fleet: { url: gate, timeoutMs: 1_000, allowHosts: [new URL(gate).host] } } },
})
process.stdout.write(`${JSON.stringify({ url: plane.url })}\n`)
flushCompileCache()
const parent = process.ppid
setInterval(() => {
  // The test is gone, and nobody is left to end this.
  if (process.ppid !== parent) process.exit()
}, 1_000)
