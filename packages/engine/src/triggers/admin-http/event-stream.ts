/**
 * Events as Server-Sent Events. Nothing is queued per client: each is told from the journal, at its own pace, what
 * came after the last id it was sent. So a slow reader costs no memory; one that falls behind what the journal still
 * holds is told so (`event: gap`); one that stops reading is dropped and may come back with Last-Event-ID.
 */
import type { ServerResponse } from 'node:http'
import type { Journal } from '../../event.ts'

export interface StreamTimes {
  /** A comment is sent this often, so that both sides notice when the other has gone. Milliseconds. */
  readonly heartbeatMs: number
  /** A reader that takes nothing for this long is dropped. Milliseconds. */
  readonly stallMs: number
}

/** Sends events with an id above `after` until the reader or the server closes. Resolves then. */
export async function streamEvents(
  response: ServerResponse,
  journal: Journal,
  after: number,
  times: StreamTimes,
): Promise<void> {
  let sent = after
  let stalled: NodeJS.Timeout | undefined

  const write = (frame: string): boolean => {
    if (response.writableEnded || response.destroyed) return false
    if (response.write(frame)) return true
    stalled ??= setTimeout(() => response.destroy(), times.stallMs)
    return false
  }
  const pump = () => {
    if (stalled !== undefined) return
    for (const event of journal.recent({ after: sent, limit: Number.MAX_SAFE_INTEGER })) {
      const missed = event.id - sent - 1
      if (missed > 0) write(`event: gap\ndata: ${JSON.stringify({ missed })}\n\n`)
      sent = event.id
      if (!write(`id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`)) return
    }
  }
  const onDrain = () => {
    clearTimeout(stalled)
    stalled = undefined
    pump()
  }

  if (response.closed) return
  const closed = new Promise<void>((resolve) => response.once('close', resolve))
  const unsubscribe = journal.subscribe(pump)
  const heartbeat = setInterval(() => {
    if (stalled === undefined) write(': still here\n\n')
  }, times.heartbeatMs)
  response.on('drain', onDrain)
  try {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    write('retry: 1000\n\n')
    pump()
    await closed
  } finally {
    unsubscribe()
    clearInterval(heartbeat)
    clearTimeout(stalled)
  }
}
