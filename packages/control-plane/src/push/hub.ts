/**
 * Delivery: from a durable release to every node that follows its config, and from each node back what became of it.
 * This file puts the parts together and says what each message leads to. Sockets are `websocket.ts`, polls
 * `longpoll.ts`, who is sent what and when `fanout.ts`. What is known of nodes is `../roster.ts`.
 *
 * Nothing here decides what a node should run: that is `../desired.ts`; push, poll and reconnect each find it out anew.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AgentMessage, Hello, Report, Runs, Welcome } from 'midflight/protocol'
import { callerOf, decide, type Principal } from '../access.ts'
import { defaultPatience, desired as headForAll, failedAt } from '../desired.ts'
import type { Transition } from '../fleet.ts'
import { createAdmission } from './admission.ts'
import { createBusPush, type BusPushOptions } from './bus.ts'
import { createBusReports } from './bus-reports.ts'
import { createChannels, type Channel } from './channels.ts'
import type { Hub, HubCounts, HubOptions } from './delivery.ts'
import { createDoubts } from './doubts.ts'
import { createFanout } from './fanout.ts'
import { createFrames } from './frames.ts'
import { defaultHubLimits, type HubLimits } from './limits.ts'
import { createInbox } from './inbox.ts'
import { createLongPolls } from './longpoll.ts'
import { createRecorder } from './recorder.ts'
import { createRequests } from './requests.ts'
import {
  createUpgrades,
  refuseUpgrade,
  type CloseReason,
  type Link,
  type LinkEvents,
  type LinkState,
} from './websocket.ts'

const sweepMs = 1_000
const failures = new Set(['FAILED', 'ROLLED_BACK', 'DEGRADED'])
/** Over which time those come back who are sent away at the end. */
const reconnectMs = 5_000

export function createHub(options: HubOptions): Hub {
  const { store, roster, patience = defaultPatience, onReport } = options
  const limits: HubLimits = { ...defaultHubLimits, ...options.limits }
  const clock = options.clock ?? { now: () => new Date(), monotonicMs: () => performance.now() }
  const nowMs = (): number => clock.monotonicMs()
  const problem = (error: unknown): void => options.onProblem?.(error)

  const links = new Set<Link>()
  const byUid = new Map<string, Link>()
  const probes = new Map<Link, () => void>()
  const closed: Partial<Record<CloseReason, number>> = {}
  const tally = { reports: 0, heartbeats: 0, sentAway: 0 }
  let isClosing = false

  const connects = createAdmission(limits, nowMs)
  const frames = createFrames(store, limits)
  const channels = createChannels<Link>(store)
  const recorder = createRecorder({
    flush: (what) => roster.flush(what, () => fanout.idle()),
    everyMs: limits.recordMs,
    allMs: limits.recordAllMs,
    nowMs,
    problem,
  })
  const fanout = createFanout({
    frames,
    channels,
    roster,
    desired: options.desired ?? headForAll,
    patience,
    limits,
    nowMs,
    problem,
  })
  const inbox = createInbox({
    take: (link, report) => {
      take(link.uid, report)
      // How it went decides what is sent to it next, and when.
      fanout.look(link)
    },
    isBusy: () => fanout.isBusy(),
    idle: () => fanout.idle(),
  })
  const polls = createLongPolls({ channels, roster, frames, limits, pollMs, random: Math.random })
  const requests = createRequests({
    ...{ store, roster, channels, polls, isForeign, welcome, noted, take, tally },
    admission: createAdmission({ ...limits, maxConnections: Infinity }, nowMs),
    doubts: createDoubts(nowMs, limits.heartbeatMs / 2),
    closedForMs: () => (isClosing ? reconnectMs : 0),
    changed: () => recorder.note(),
  })
  const { bus } = options
  const busPush = bus && createBusPush({ ...bus, frames, ...forBuses() })
  const busReports =
    bus?.takesReports === true
      ? createBusReports({ ...bus, nowMs, leaseMs: limits.leaseMs, tell: requests.report, problem })
      : undefined
  const events: LinkEvents = { nowMs, message, alive, gone, closing, limits }
  const upgrades = createUpgrades(events)

  /** The larger the fleet, the less often each polls. */
  function pollMs(): number {
    return Math.max(limits.pollMs, Math.ceil((roster.size * 1000) / limits.pollsPerSecond))
  }

  function welcome(channel: Channel, auditHead: string, uid: string, identity: Principal): Welcome {
    const { heartbeatMs, leaseMs } = limits
    const head = channel.head?.number ?? null
    const reportKey = busReports?.keyFor(uid, channel.config, identity)
    return {
      ...{ type: 'welcome', heartbeatMs, leaseMs, pollMs: pollMs(), head, auditHead },
      ...(bus && { bus: { key: bus.publicKey(), ...(reportKey !== undefined && { reportKey }) } }),
    }
  }

  function forBuses(): Omit<BusPushOptions, keyof NonNullable<typeof bus> | 'frames'> {
    return {
      // Whoever has it from a bus may report it at once.
      releases: async (config) => (await channels.refresh(config)) ?? (await channels.open(config)),
      read: (look) => store.read(look),
      spreadMs: (config) => Math.ceil((roster.uids(config).length * 1000) / limits.pollsPerSecond),
      isUsual: options.desired === undefined,
      problem,
    }
  }

  // Links

  function attach(request: IncomingMessage, socket: Duplex, head: Buffer, identity: Principal): void {
    const retryAfterMs = isClosing ? reconnectMs : connects.ask(links.size)
    if (retryAfterMs > 0) {
      tally.sentAway++
      refuseUpgrade(socket, 503, 'too many connect at this moment; come back later', retryAfterMs)
      return
    }
    const link = upgrades.upgrade(request, socket, head, identity)
    if (link && link.state !== 'closed') links.add(link)
  }

  function message(link: Link, said: AgentMessage): void {
    if (said.type === 'hello') {
      if (link.state !== 'new') return link.refuse('bad-message', 'says hello twice; want it once, and first')
      link.state = 'greeting'
      link.early = []
      greet(link, said).catch((error: unknown) => {
        problem(error)
        link.refuse('internal', 'the control plane failed; come back later')
      })
      return
    }
    if (link.state !== 'open') return link.refuse('expected-hello', `says ${said.type} first; want hello`)
    switch (said.type) {
      case 'heartbeat':
        tally.heartbeats++
        if (!ranForward(link, said.runs)) return
        holds(link, said.runs)
        // As its vote does, which may be lost.
        holds(link, said.prepared ?? null)
        inbox.takeFrom(link)
        noted(roster.heartbeat(link.uid, said))
        return fanout.look(link)
      case 'report':
        return takeReport(link, said)
      case 'whole':
        if (said.number > newest(link)) return link.refuse('not-sent', `asks for release ${said.number}; there is none`)
        // Dear for the one who sends it: it may not be asked for as often as other things are said.
        if (!link.heard(wholeCost)) return
        link.wantsWhole = true
        link.delivery = undefined
        link.inFlight = null
        return fanout.look(link)
    }
  }

  async function greet(link: Link, hello: Hello): Promise<void> {
    const allowed = decide(link.identity, 'connect', hello.config) === 'allowed'
    const channel = allowed ? await channels.open(hello.config) : undefined
    if (!channel) return link.refuse('unknown-config', `there is no config ${hello.config}`)
    const auditHead = await store.read((read) => read.auditHead().hash)
    if (isForeign(hello.uid, hello.config, link.identity, link)) {
      return link.refuse('duplicate-node', `the uid ${hello.uid} is another node's; each process has its own`)
    }
    for (let other = byUid.get(hello.uid); other; other = byUid.get(hello.uid)) {
      if (await isAlive(other)) {
        return link.refuse('duplicate-node', `the uid ${hello.uid} is connected already; each process has its own`)
      }
      other.drop('replaced')
    }
    if (link.state !== 'greeting') return
    byUid.set(hello.uid, link)
    link.uid = hello.uid
    link.channel = channel
    link.holds = hello.runs
    link.ran = hello.runs?.number ?? 0
    await roster.hello(hello)
    recorder.note()
    if ((link.state as LinkState) === 'closed') return
    channel.links.add(link)
    link.state = 'open'
    link.send(welcome(channel, auditHead, link.uid, link.identity))
    const early = link.early ?? []
    link.early = null
    for (const said of early) message(link, said)
    fanout.look(link)
  }

  /** Whoever knows a uid takes no node out of a config in which they have no say, nor votes for one that others connect. */
  function isForeign(uid: string, config: string, identity: Principal, connected = byUid.get(uid)): boolean {
    const other = roster.node(uid)?.config ?? config
    if (other !== config && decide(identity, 'connect', other) !== 'allowed') return true
    return connected !== undefined && callerOf(connected.identity) !== callerOf(identity)
  }

  /** Half-open connections do not answer a ping; a second process with the same uid must not push out the first (F22). */
  async function isAlive(link: Link): Promise<boolean> {
    return await new Promise<boolean>((resolve) => {
      const before = probes.get(link)
      const timer = setTimeout(() => done(false), limits.probeMs)
      const done = (isThere: boolean): void => {
        clearTimeout(timer)
        probes.delete(link)
        before?.()
        resolve(isThere && link.state !== 'closed')
      }
      probes.set(link, () => done(true))
      link.probe()
    })
  }

  function alive(link: Link): void {
    probes.get(link)?.()
  }

  function takeReport(link: Link, report: Report): void {
    const { number, digest, status, attempt } = report
    const { channel } = link
    const known = channel?.head?.number === number ? channel.head : channel?.releases.get(number)
    if (number > newest(link) || (known && known.digest !== digest && attempt > 0)) {
      return link.refuse('not-sent', `reports on release ${number} (${digest}), which there is not`)
    }
    // It has taken back what was not confirmed, or what killed it.
    if (status === 'ROLLED_BACK' && number === link.ran) link.ran = 0
    if (status === 'APPLIED' && !ranForward(link, { number, digest })) return
    // A release that was refused for what it is (its signature, its digest) is not held.
    if (attempt > 0 || status === 'RECEIVED') holds(link, { number, digest })
    if (link.inFlight && number >= link.inFlight.number) link.inFlight = null
    if (failures.has(status)) {
      link.delivery = failedAt(link.delivery, number, nowMs(), Math.random(), patience.retry)
    }
    tally.reports++
    inbox.put(link, report)
    if (channel?.head && number < channel.head.number) fanout.look(link)
  }

  function take(uid: string, report: Report): boolean {
    const transition = roster.report(uid, report)
    noted(transition)
    if (transition && !transition.stale) onReport?.(transition.state.node, report)
    return transition !== undefined
  }

  function noted(transition: Transition | undefined): void {
    if (transition && (!transition.stale || transition.ended.length > 0)) recorder.note()
  }

  function newest(link: Link): number {
    return Math.max(link.channel?.head?.number ?? 0, link.ran)
  }

  /** On one connection, nothing overtakes anything: what it runs can only go forward (I5). */
  function ranForward(link: Link, runs: Runs | null): boolean {
    const number = runs?.number ?? 0
    if (number < link.ran) {
      link.refuse('went-back', `runs release ${number} after ${link.ran}; want never an older one`)
      return false
    }
    if (number > newest(link)) {
      link.refuse('not-sent', `runs release ${number}, which there is not`)
      return false
    }
    link.ran = number
    return true
  }

  function holds(link: Link, runs: Runs | null): void {
    if (runs === null || runs.number < (link.holds?.number ?? 0)) return
    link.holds = runs
    if (link.inFlight && runs.number >= link.inFlight.number) link.inFlight = null
  }

  function closing(_link: Link, reason: CloseReason): void {
    closed[reason] = (closed[reason] ?? 0) + 1
  }

  function gone(link: Link): void {
    links.delete(link)
    link.channel?.links.delete(link)
    if (byUid.get(link.uid) === link) {
      byUid.delete(link.uid)
      roster.fellSilent(link.uid)
    }
  }

  // What time brings: one pass over all, once a second, in place of timers for each.

  let sweptMs = nowMs()
  const sweeper = setInterval(sweep, sweepMs)
  sweeper.unref()

  function sweep(): void {
    const now = nowMs()
    // After a pause of this process (F7) what nodes said meanwhile is still to be read: nobody is away yet.
    const paused = now - sweptMs > sweepMs * 5
    sweptMs = now
    for (const link of links) {
      if (link.drainByMs > 0 && link.buffered === 0) {
        link.drainByMs = 0
        link.sentAtMs = now
        fanout.look(link)
      }
      if (paused) continue
      if (link.drainByMs > 0 && now > link.drainByMs) link.drop('slow')
      else if (link.state !== 'open' && now - link.openedAtMs > limits.helloMs) {
        link.refuse('expected-hello', `has not said hello within ${limits.helloMs} ms`)
      } else if (now - link.heardAtMs > limits.leaseMs) link.drop('silent')
      else if (link.dueAtMs > 0 && now >= link.dueAtMs) fanout.look(link)
    }
    if (!paused) roster.expire()
    recorder.note()
  }

  async function announce(config: string): Promise<void> {
    busPush?.moved(config)
    const channel = await channels.refresh(config)
    if (!channel) return
    fanout.lookAtAll(channel)
    await fanout.done()
    await polls.wake(channel)
  }

  function counts(): HubCounts {
    let inFlight = 0
    let bufferedBytes = 0
    for (const link of links) {
      if (link.inFlight) inFlight++
      bufferedBytes += link.buffered
    }
    return {
      connected: byUid.size,
      polling: polls.waiting(),
      inFlight,
      queued: fanout.queued(),
      bufferedBytes,
      frameBytes: frames.sizeBytes(),
      ...fanout.counts,
      ...tally,
      closed: { ...closed },
    }
  }

  async function close(deadlineMs: number): Promise<void> {
    isClosing = true
    polls.close()
    await busPush?.close()
    const open = [...links]
    for (const link of open) link.sendAway(pollMs(), reconnectMs)
    await Promise.race([
      Promise.all(open.map((link) => link.ended())),
      new Promise<void>((resolve) => setTimeout(resolve, deadlineMs).unref()),
    ])
    for (const link of open) link.drop('closing')
    clearInterval(sweeper)
    inbox.takeAll()
    await recorder.close()
  }

  return {
    attach,
    ...requests,
    announce,
    buses: () => busPush?.counts() ?? [],
    busReports: () => busReports?.counts,
    isConnected: (uid) => byUid.has(uid),
    nodes: counts,
    flush() {
      inbox.takeAll()
      return recorder.flush()
    },
    close,
  }
}

const wholeCost = 20 * 1024
