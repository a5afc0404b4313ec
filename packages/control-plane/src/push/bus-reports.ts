/**
 * What nodes report over a bus. Whoever may write there could have said it, so each report is proven with a key that its
 * node alone was given, when it said hello as itself; and it is taken as if that caller had sent it by HTTP. The key is
 * good for as long as the node is heard of by the way on which it shows who it is, and each count is taken once.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Bus } from 'midflight/buses/bus'
import { decodeFromAgent, reportFormat, reportTopic, unseal, type Report } from 'midflight/protocol'
import { callerOf, type Principal } from '../access.ts'

export interface BusReports {
  /** For a node that has said hello as itself just now. Base64url. `undefined` while a bus is not heard: by HTTP, then. */
  keyFor(uid: string, config: string, identity: Principal): string | undefined
  readonly counts: { readonly taken: number; readonly refused: number }
}

export interface BusReportOptions {
  readonly buses: readonly Bus[]
  nowMs(): number
  /** How long a key is good after the hello that it was given for. */
  readonly leaseMs: number
  tell(config: string, uid: string, report: Report, identity: Principal): Promise<unknown>
  problem(error: unknown): void
  /** What is reported over a bus is not heard any more, and why; it is again. */
  readonly onHeard?: ((bus: string, unheard: string | undefined) => void) | undefined
}

interface Key {
  readonly bytes: Buffer
  /** The highest count that was taken. */
  count: number
}

interface Known {
  readonly config: string
  readonly identity: Principal
  readonly saidHelloAtMs: number
  /** The newest, and the one before it: what was said just before a hello may come just after it. */
  readonly keys: readonly Key[]
}

/** Nodes that report at the same moment, of which more are not waited for: what they say comes again with their hello. */
const maxUnderWay = 1_000

export function createBusReports(options: BusReportOptions): BusReports {
  const known = new Map<string, Known>()
  const counts = { taken: 0, refused: 0 }
  let underWay = 0

  function take(bytes: Uint8Array): void {
    const found = proven(bytes)
    if (!found || underWay >= maxUnderWay) {
      counts.refused++
      return
    }
    const { uid, node, report } = found
    underWay++
    options
      .tell(node.config, uid, report, node.identity)
      .then(() => counts.taken++, options.problem)
      .finally(() => underWay--)
  }

  /** `undefined` for what is not from the node that it names, or was taken before. */
  function proven(bytes: Uint8Array): { uid: string; node: Known; report: Report } | undefined {
    try {
      const { fields, proof, proven: text, body } = unseal(bytes, reportFormat)
      const [uid = '', countText = ''] = fields
      const node = known.get(uid)
      if (!node || options.nowMs() - node.saidHelloAtMs > options.leaseMs) return undefined
      const key = node.keys.find(({ bytes: secret }) => isProof(proof, secret, text))
      const count = Number(countText)
      if (!key || !Number.isSafeInteger(count) || count <= key.count) return undefined
      const report = decodeFromAgent(body)
      if (report.type !== 'report') return undefined
      key.count = count
      return { uid, node, report }
    } catch {
      // Anybody may write there: what is no message is nobody's.
      return undefined
    }
  }

  const heard = new Set<Bus>()
  const lost = new Set<Bus>()
  for (const bus of options.buses) {
    bus.subscribe(reportTopic, {
      message: take,
      listening() {
        heard.add(bus)
        if (lost.delete(bus)) options.onHeard?.(bus.name, undefined)
      },
      lost({ message }) {
        heard.delete(bus)
        if (!lost.has(bus)) options.onHeard?.(bus.name, message)
        lost.add(bus)
      },
    })
  }

  return {
    keyFor(uid, config, identity) {
      // Which of them the node is on is not known.
      if (heard.size < options.buses.length) return undefined
      const before = known.get(uid)
      const isSame = before?.config === config && callerOf(before.identity) === callerOf(identity)
      const bytes = randomBytes(32)
      known.delete(uid)
      known.set(uid, {
        config,
        identity,
        saidHelloAtMs: options.nowMs(),
        keys: [{ bytes, count: 0 }, ...(isSame ? before.keys.slice(0, 1) : [])],
      })
      // The one that has not said hello for the longest time stands first.
      for (const [oldest, { saidHelloAtMs }] of known) {
        if (options.nowMs() - saidHelloAtMs <= options.leaseMs) break
        known.delete(oldest)
      }
      return bytes.toString('base64url')
    },
    counts,
  }
}

function isProof(proof: string, key: Buffer, text: Uint8Array): boolean {
  const found = Buffer.from(proof, 'base64url')
  const wanted = createHmac('sha256', key).update(text).digest()
  return found.length === wanted.length && timingSafeEqual(found, wanted)
}
