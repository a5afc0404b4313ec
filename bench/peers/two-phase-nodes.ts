/**
 * All nodes of the two-phase benchmark in one process. Each does what the protocol asks of a node: it checks the digest,
 * votes, commits when that was decided, and says so. What an engine does with a content is left out on all sides.
 */
import { randomUUID } from 'node:crypto'
import { applyPatch, digest, type Json } from 'midflight'
import { encode, subprotocol, type AgentMessage, type ServerMessage } from 'midflight/protocol'
import { WebSocket } from 'ws'

export interface NodesSetup {
  readonly contender: 'midflight' | 'ws'
  readonly count: number
  readonly port: number
}

const setup = JSON.parse(process.argv[2] ?? '') as NodesSetup
const at = new Date().toISOString()
/** When each node committed the newest release, in milliseconds of one clock. */
let commits: number[] = []
let up = 0
/** As all hold the same, the same bytes are checked once. */
const checked = new Map<string, { readonly message: ServerMessage; readonly content: Json | undefined }>()
const contents = new Map<number, Json>()

function read(text: string): ServerMessage {
  const known = checked.get(text)
  if (known) return known.message
  const message = JSON.parse(text) as ServerMessage
  if (message.type === 'release') {
    const { release, body } = message
    const content = body.kind === 'whole' ? body.content : applyPatch(contents.get(body.base) as Json, body.patch)
    if (digest(content) !== release.digest) throw new Error(`release ${release.number} has another digest`)
    contents.set(release.number, content)
  }
  if (checked.size > 100) checked.clear()
  checked.set(text, { message, content: undefined })
  return message
}

function open(): void {
  const path = setup.contender === 'ws' ? '' : 'v1/agent/connect'
  const socket = new WebSocket(`ws://127.0.0.1:${setup.port}/${path}`, setup.contender === 'ws' ? [] : [subprotocol])
  const say = (message: AgentMessage): void => socket.send(encode(message))
  const report = (number: number, digestText: string, status: 'PREPARED' | 'APPLIED', epoch?: number): void =>
    say({ type: 'report', number, digest: digestText, status, attempt: 1, at, ...(epoch && { epoch }) })
  const isUp = (): void => {
    if (++up === setup.count) process.send?.({ type: 'up' })
  }
  socket.on('open', () => {
    if (setup.contender === 'ws') return isUp()
    const agent = { name: 'bench', version: '1' }
    const config = 'bench/two-phase'
    say({ type: 'hello', uid: randomUUID(), config, labels: {}, agent, runs: null, seen: null, status: 'UNSET' })
  })
  let isFirst = true
  socket.on('message', (data: Buffer) => {
    if (setup.contender === 'ws') return socket.send('{"ok":true}')
    const message = read(data.toString())
    if (message.type === 'release') {
      const { number, digest: text } = message.release
      if (message.prepare) return report(number, text, 'PREPARED', message.prepare.epoch)
      commits.push(performance.now())
      report(number, text, 'APPLIED')
      if (isFirst) isUp()
      isFirst = false
    } else if (message.type === 'decision') {
      commits.push(performance.now())
      report(message.number, message.digest, 'APPLIED')
    } else if (message.type === 'error') throw new Error(message.message)
  })
  socket.on('error', (error) => {
    throw error
  })
}

for (let i = 0; i < setup.count; i++) {
  open()
  if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 20))
}
process.on('message', () => {
  process.send?.({ type: 'commits', commits })
  commits = []
})
