/** A URL, and beside the source a loop of fetch, by long poll or by events. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ended } from '../../../test/rig/ended.ts'
import { looping, nameOf, type Store } from './store.ts'

export async function http(how: 'long poll' | 'events'): Promise<Store> {
  const { http: source } = await import('midflight/sources/http')
  const child = fork(join(import.meta.dirname, '../source-http-server.ts'))
  const [port] = (await once(child, 'message')) as [number]
  const url = `http://127.0.0.1:${port}`
  return {
    separator: '/',
    put: (key, value) => fetch(`${url}/${key}`, { method: 'PUT', body: value }).then((answer) => answer.text()),
    source(place) {
      const options = how === 'events' ? { events: `${url}/events` } : { waitMs: 60_000 }
      return source(`${url}/${nameOf(place)}`, options)
    },
    async watch(place, onValue) {
      const over = new AbortController()
      const { signal } = over
      const key = nameOf(place)
      let etag = ''
      const look = async () => {
        const headers = { 'if-none-match': etag, ...(how === 'long poll' && etag !== '' && { prefer: 'wait=60' }) }
        const answer = await fetch(`${url}/${key}`, { headers, signal })
        const body = new Uint8Array(await answer.arrayBuffer())
        if (!answer.ok) return
        etag = answer.headers.get('etag') ?? ''
        onValue(key, body)
      }
      await look()
      if (how === 'long poll') return looping(look, over)
      const events = await fetch(`${url}/events`, { signal })
      const reader = events.body?.getReader()
      return looping(async () => {
        await reader?.read()
        await look()
      }, over)
    },
    close: () => ended(child),
  }
}
