/**
 * Live views: server-sent events of what happens to the configs that the reader may see. Resumed by `Last-Event-ID`;
 * what is no longer kept is told by an event `reset`, after which everything is to be read anew. A reader that does not
 * keep up is dropped, and comes back.
 */
import type { ServerResponse } from 'node:http'
import { isBelow } from 'midflight/protocol'
import Type from 'typebox'
import type { Principal } from '../../access.ts'
import type { LiveEvent } from '../live.ts'
import { may, principalOf } from '../permit.ts'
import { Problem } from '../problem.ts'
import type { App, Parts } from '../route.ts'
import { answers, ConfigName } from '../schemas.ts'

export function eventRoutes(app: App, { live, metrics, limits, identify }: Parts): void {
  const readers = new Set<ServerResponse>()
  app.addHook('preClose', async () => {
    for (const reader of readers) reader.end()
  })

  app.get(
    '/v1/events',
    {
      config: { access: { for: 'each', permission: 'read' } },
      schema: {
        operationId: 'readEvents',
        summary: 'Server-sent events: config, release, rollout, draft, node, node-joined, node-left; reset after a gap',
        tags: ['events'],
        produces: ['text/event-stream'],
        querystring: Type.Object(
          {
            prefix: Type.Optional(ConfigName),
            after: Type.Optional(Type.String({ maxLength: 64, description: 'as Last-Event-ID' })),
          },
          { additionalProperties: false },
        ),
        response: answers({ 200: Type.String() }),
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      if (!may(principal, 'read', principal.prefix || 'any')) {
        throw new Problem('denied', `needs "read"; the role is ${principal.role}`)
      }
      const { maxReaders, maxWaitingBytes, beatMs } = limits.events
      if (readers.size >= maxReaders) {
        throw new Problem('busy', `there are ${maxReaders} readers already`, { headers: { 'retry-after': '10' } })
      }
      const { prefix = '' } = request.query
      const after = request.headers['last-event-id'] ?? request.query.after
      const shown = shownTo(principal, prefix)
      reply.hijack()
      const out = reply.raw
      for (const [name, value] of Object.entries(reply.getHeaders()))
        if (value !== undefined) out.setHeader(name, value)
      out.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      })
      readers.add(out)
      metrics.liveClients(1)
      const since = typeof after === 'string' ? live.since(after) : { gap: false, events: [] }
      out.write(`retry: 2000\n${since.gap ? `event: reset\nid: ${live.last}\ndata: {}\n` : `: at ${live.last}\n`}\n`)
      const send = (event: LiveEvent): void => {
        if (!shown(event)) return
        if (out.writableLength > maxWaitingBytes) out.destroy()
        else out.write(frameOf(event))
      }
      for (const event of since.events) send(event)
      const stop = live.listen(send)
      const beat = setInterval(() => {
        if (out.writableLength > maxWaitingBytes) out.destroy()
        else out.write(': beat\n\n')
        identify(request.raw).then(
          (now) => (now?.role === principal.role && now.prefix === principal.prefix ? undefined : out.end()),
          () => out.end(),
        )
      }, beatMs)
      out.on('close', () => {
        stop()
        clearInterval(beat)
        readers.delete(out)
        metrics.liveClients(-1)
      })
    },
  )
}

function shownTo(principal: Principal, prefix: string): (event: LiveEvent) => boolean {
  return ({ config }) => isBelow(prefix, config) && may(principal, 'read', config)
}

/** JSON has no line breaks of its own, so the data is one line. */
function frameOf({ id, type, data }: LiveEvent): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`
}
