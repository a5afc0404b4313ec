/**
 * Reports that wait for their turn. The answers to a release come while the release is still being written to others;
 * to take each at once would cost the last nodes of a fan-out more than the fan-out itself. So they are taken when it
 * is over, and of one node only the last of what it says on its way to a final status.
 */
import type { NodeStatus, Report } from 'midflight/protocol'
import type { Link } from './websocket.ts'

export interface Inbox {
  put(link: Link, report: Report): void
  /** Takes at once what waits of one link. */
  takeFrom(link: Link): void
  /** Takes at once what waits of all. */
  takeAll(): void
}

export interface InboxOptions {
  take(link: Link, report: Report): void
  isBusy(): boolean
  /** Resolves when it is no longer busy. */
  idle(): Promise<void>
}

const takenPerTurn = 250
const onTheWay: ReadonlySet<NodeStatus> = new Set<NodeStatus>(['RECEIVED', 'PREPARED', 'APPLYING'])

export function createInbox({ take, isBusy, idle }: InboxOptions): Inbox {
  const waiting = new Map<Link, Report>()
  let isScheduled = false

  function schedule(): void {
    if (isScheduled || waiting.size === 0) return
    isScheduled = true
    if (isBusy()) void idle().then(() => setImmediate(takeSome))
    else setImmediate(takeSome)
  }

  function takeSome(): void {
    isScheduled = false
    let left = isBusy() ? 0 : takenPerTurn
    for (const link of waiting.keys()) {
      // What each leads to is done for all of them together, afterwards.
      if (left-- === 0) break
      takeFrom(link)
    }
    schedule()
  }

  function takeFrom(link: Link): void {
    const report = waiting.get(link)
    if (!report) return
    waiting.delete(link)
    take(link, report)
  }

  return {
    put(link, report) {
      const before = waiting.get(link)
      const isOvertaken = before && onTheWay.has(before.status) && before.number <= report.number
      if (before && !isOvertaken) takeFrom(link)
      waiting.set(link, report)
      schedule()
    },
    takeFrom,
    takeAll() {
      for (const link of [...waiting.keys()]) takeFrom(link)
    },
  }
}
