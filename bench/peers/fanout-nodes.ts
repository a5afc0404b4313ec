/**
 * All nodes of the fan-out benchmark in one process, as cheap as this machine can have them: raw sockets, one receive
 * buffer for all, no message parsed twice. A Midflight node does what an agent does: it checks that what it was sent
 * comes to the digest that it should, and reports RECEIVED, APPLYING, APPLIED. As all hold the same, the same bytes
 * need to be checked once only; of the others it is checked that they are the same bytes.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { applyPatch, digest, type Json } from 'midflight'
import { encode, subprotocol, type AgentMessage, type ReleaseMessage, type Runs } from 'midflight/protocol'
import { backoff } from '../../packages/engine/src/agent/connection.ts'
import { contentOf, type Case } from './fanout-cases.ts'

export interface NodesSetup {
  readonly contender: 'midflight' | 'ws' | 'tcp'
  readonly count: number
  readonly port: number
  readonly case: Case
  readonly head: Runs
  readonly reports: 'all' | 'last' | 'none'
  /** How long a node takes to apply a release. */
  readonly applyMs: number
}

const setup = JSON.parse(process.argv[2] ?? '') as NodesSetup
const receive = Buffer.allocUnsafeSlow(1 << 20)
const nowNs = (): number => Number(process.hrtime.bigint())

/** What the newest message came to, once it was checked. */
let checked: { readonly payload: Buffer; readonly runs: Runs; readonly reports: Buffer } | undefined
const contents = new Map<number, Json>()
if (setup.contender === 'midflight') contents.set(setup.head.number, contentOf(setup.case, setup.head.number))
let head = setup.head
let errors = 0

/** Arrivals of the newest release. */
let wanted = setup.head.number + 1
let times: Float64Array = new Float64Array(setup.count)
let arrived = 0
let welcomed = 0

class Node {
  readonly uid = randomUUID()
  runs: Runs = setup.head
  socket!: Socket
  private part: Buffer | undefined
  private isUp = false
  private failures = 0
  private isIn = false
  onUp: () => void = () => {}

  open(): void {
    this.part = undefined
    this.isUp = setup.contender === 'tcp'
    let retryAfterMs = 0
    this.socket = connect({
      port: setup.port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: receive,
        callback: (bytes: number) => {
          const chunk = receive.subarray(0, bytes)
          if (this.isUp) this.feed(chunk)
          else retryAfterMs = this.upgraded(chunk)
          return true
        },
      },
    })
    this.socket.on('error', () => {})
    this.socket.on('connect', () => {
      if (setup.contender === 'tcp') return this.up()
      const key = randomBytes(16).toString('base64')
      const asks = setup.contender === 'midflight' ? `Sec-WebSocket-Protocol: ${subprotocol}\r\n` : ''
      this.socket.write(
        `GET /v1/agent/connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n${asks}\r\n`,
      )
    })
    this.socket.on('close', () => {
      if (this.isIn) welcomed--
      this.isIn = false
      // As agents do.
      const [minMs, maxMs] = backoff(this.failures++, retryAfterMs)
      setTimeout(() => this.open(), minMs + Math.random() * (maxMs - minMs))
    })
  }

  private upgraded(chunk: Buffer): number {
    const text = chunk.toString('latin1')
    if (!text.startsWith('HTTP/1.1 101')) return Number(/retry-after: (\d+)/i.exec(text)?.[1] ?? 1) * 1000
    this.isUp = true
    const end = text.indexOf('\r\n\r\n') + 4
    if (setup.contender === 'midflight') this.socket.write(helloFrame(this.uid, this.runs))
    else this.up()
    if (end < chunk.length) this.feed(chunk.subarray(end))
    return 0
  }

  private up(): void {
    this.isIn = true
    this.failures = 0
    welcomed++
    this.onUp()
    if (welcomed === setup.count) process.send?.({ type: 'welcomed', atNs: nowNs() })
  }

  private feed(fresh: Buffer): void {
    let chunk = this.part ? Buffer.concat([this.part, fresh]) : fresh
    this.part = undefined
    while (chunk.length >= 2) {
      const short = chunk[1]! & 127
      const header = short < 126 ? 2 : short === 126 ? 4 : 10
      if (chunk.length < header) break
      const length = short < 126 ? short : short === 126 ? chunk.readUInt16BE(2) : Number(chunk.readBigUInt64BE(2))
      if (chunk.length < header + length) break
      this.message(chunk[0]! & 15, chunk.subarray(header, header + length))
      chunk = chunk.subarray(header + length)
    }
    if (chunk.length > 0) this.part = Buffer.from(chunk)
  }

  private message(opcode: number, payload: Buffer): void {
    if (opcode === 9) return void this.socket.write(clientFrame(10, payload))
    if (opcode !== 1) return
    if (setup.contender !== 'midflight') {
      if (Number(payload.toString('latin1', 0, 10)) === wanted) this.arrive()
      return
    }
    if (payload.toString('latin1', 0, 17) === '{"type":"welcome"') return this.up()
    if (payload.toString('latin1', 0, 17) !== '{"type":"release"') {
      errors++
      return
    }
    if (!checked?.payload.equals(payload)) check(payload, this.runs)
    const { runs, reports } = checked!
    if (runs.number <= this.runs.number) return
    this.runs = runs
    if (runs.number === wanted) this.arrive()
    if (setup.reports !== 'none') answer(this.socket, reports)
  }

  arriveIfOn(number: number): void {
    if (this.runs.number >= number) this.arrive()
  }

  private arrive(): void {
    times[arrived++] = nowNs()
    if (arrived === setup.count) process.send?.({ type: 'arrived', seq: wanted, times, errors })
  }
}

/** All nodes share one core here: one that answered at once would keep the next from reading. */
const answers: { readonly socket: Socket; readonly reports: Buffer; readonly dueMs: number }[] = []
let answering: NodeJS.Timeout | undefined

function answer(socket: Socket, reports: Buffer): void {
  if (setup.applyMs === 0) return void socket.write(reports)
  answers.push({ socket, reports, dueMs: performance.now() + setup.applyMs })
  answering ??= setTimeout(answerDue, setup.applyMs)
}

function answerDue(): void {
  const now = performance.now()
  let count = 0
  while (answers[count] && answers[count]!.dueMs <= now) count++
  for (const { socket, reports } of answers.splice(0, count)) socket.write(reports)
  answering = answers.length > 0 ? setTimeout(answerDue, 1) : undefined
}

function check(payload: Buffer, onto: Runs): void {
  const message = JSON.parse(payload.toString()) as ReleaseMessage
  const { release, body } = message
  const content =
    body.kind === 'whole' ? body.content : applyPatch(contents.get(body.base) ?? contents.get(onto.number)!, body.patch)
  if (digest(content, contents.get(onto.number)) !== release.digest)
    throw new Error(`release ${release.number} is not what its digest says`)
  contents.set(release.number, content)
  for (const number of contents.keys()) if (contents.size > 64) contents.delete(number)
  head = { number: release.number, digest: release.digest }
  const statuses = setup.reports === 'last' ? (['APPLIED'] as const) : (['RECEIVED', 'APPLYING', 'APPLIED'] as const)
  const reports = statuses.map((status) => {
    const attempt = status === 'RECEIVED' ? 0 : 1
    return messageFrame({ type: 'report', ...head, status, attempt, at: new Date().toISOString() })
  })
  checked = { payload: Buffer.from(payload), runs: head, reports: Buffer.concat(reports) }
}

function helloFrame(uid: string, runs: Runs): Buffer {
  const agent = { name: 'bench', version: '1' }
  const labels = { zone: 'a', host: 'bench-1' }
  return messageFrame({
    type: 'hello',
    uid,
    config: 'bench/fanout',
    labels,
    agent,
    runs,
    seen: runs.number,
    status: 'APPLIED',
  })
}

function messageFrame(message: AgentMessage): Buffer {
  return clientFrame(1, Buffer.from(encode(message)))
}

function clientFrame(opcode: number, payload: Buffer): Buffer {
  const header = payload.length < 126 ? 2 : 4
  const frame = Buffer.alloc(header + 4 + payload.length)
  frame[0] = 0x80 | opcode
  frame[1] = 0x80 | (header === 2 ? payload.length : 126)
  if (header === 4) frame.writeUInt16BE(payload.length, 2)
  payload.copy(frame, header + 4)
  return frame
}

process.on('message', ({ type, seq }: { type: string; seq: number }) => {
  if (type === 'await') {
    wanted = seq
    arrived = 0
    times = new Float64Array(setup.count)
    process.send?.({ type: 'awaiting' })
    for (const node of nodes) node.arriveIfOn(seq)
  }
})
process.on('disconnect', () => process.exit(0))

const nodes = Array.from({ length: setup.count }, () => new Node())
let next = 0
function openNext(): void {
  const node = nodes[next++]
  if (!node) return
  node.onUp = () => {
    node.onUp = () => {}
    openNext()
  }
  node.open()
}
for (let i = 0; i < 100; i++) openNext()
