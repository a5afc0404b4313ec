/**
 * The znodes that one session reads, and the watches on them. A watch fires once: it is set with the read, and what it
 * fires for is read again, so that nothing lies between. When nothing is left to be read again, what was read is what
 * was there at one moment: the server tells of a change before it answers with anything newer.
 */
import type * as Library from 'node-zookeeper-client'
import type { KeyChange, News } from '../watching.ts'
import { childrenChanged, created, deleted, type Session, type Stat } from './session.ts'

/** Where to read. */
export interface Root {
  /** On the server, with the chroot. */
  readonly path: string
  readonly chroot: string
  /** Itself is read, otherwise all below it. */
  readonly isKey: boolean
  /** Of all values together. More is not read. */
  readonly maxBytes: number
}

interface Node {
  readonly path: string
  readonly above: Node | undefined
  /** Paths. */
  children: ReadonlySet<string>
  /** Undefined if not read yet, or too large to be. */
  data: Uint8Array | undefined
  sizeBytes: number
  isRead: boolean
  isDataStale: boolean
  areChildrenStale: boolean
}

/** Requests under way at once. Servers hold all of their clients to 1,000. */
const atOnce = 64
/** How often what changes all the time is read before it is told as it is. */
const mostTurns = 20
/** What the server keeps of itself. */
const ownPath = '/zookeeper'

export class Tree {
  readonly #at: Root
  readonly #session: Session
  readonly #root: Node
  readonly #nodes = new Map<string, Node>()
  readonly #stale = new Set<Node>()
  /** Those whose values were not read for their size. */
  readonly #tooLarge = new Set<Node>()
  /** Of all values, also of those not read. */
  #sizeBytes = 0
  /** How many have a value. */
  #values = 0
  /** Paths of those that may have another value than the one that was told. Undefined: all is to be told. */
  #untold: Set<string> | undefined
  #settling: Promise<void> | undefined
  #event = new AbortController()
  /** When the root was created, as the server counts. Undefined if it is not there. */
  #createdAt: string | undefined
  /** Of the last root with values at or below it. */
  #heldBy: string | undefined
  /** There were values, and whatever ended them was seen by this session. */
  #hasHeld = false
  readonly #onEvent = (event: Library.Event) => this.#note(event)

  /** @param before the one of the session before */
  constructor(at: Root, session: Session, before?: Tree) {
    this.#at = at
    this.#session = session
    if (before) this.#heldBy = before.#heldBy
    this.#root = this.#added(at.path, undefined)
    session.onEnd = () => this.#event.abort()
  }

  get isOpen(): boolean {
    return this.#session.isOpen
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  /** The server knows what was written before the call, wherever that was. */
  caughtUp(): Promise<void> {
    return this.#session.caughtUp(this.#at.path)
  }

  /** Everything that the server knew at the call has been told to this side. */
  async heard(): Promise<void> {
    await this.#session.exists(this.#at.path)
  }

  /**
   * All is read and watched once more. A server does not tell of changes that the login may not read at that moment,
   * and takes the watch away all the same.
   */
  readAnew(): void {
    this.#untold = undefined
    for (const node of this.#nodes.values()) {
      node.isDataStale = node.areChildrenStale = true
      this.#stale.add(node)
    }
  }

  /** Aborts when there is something to be read again, or the connection is gone. */
  nextEvent(): AbortSignal {
    if (this.#event.signal.aborted && this.#stale.size === 0 && this.isOpen) this.#event = new AbortController()
    return this.#event.signal
  }

  /** Until nothing is left to be read. */
  settled(): Promise<void> {
    this.#settling ??= this.#settle().finally(() => (this.#settling = undefined))
    return this.#settling
  }

  /** All, and after that what changed: what a change costs is not to depend on how many znodes there are. */
  news(): News {
    for (const { path, sizeBytes } of this.#tooLarge) {
      this.#untold = undefined
      const message = `is ${sizeBytes} bytes, with all others ${this.#sizeBytes}; want at most ${this.#at.maxBytes}`
      return { kind: 'unusable', key: this.#nameOf(path), code: 'limit', message }
    }
    const untold = this.#untold
    this.#untold = new Set()
    if (this.#values > 0) {
      this.#hasHeld = true
      this.#heldBy = this.#createdAt
      if (untold) return { kind: 'changes', changes: [...untold].map((path) => this.#changeAt(path)) }
    }
    const entries = new Map<string, Uint8Array>()
    for (const { path, data } of this.#nodes.values()) if (this.#isValue(data)) entries.set(this.#nameOf(path), data)
    // The same root is still there, so what was below it did not get lost with it: it was deleted.
    const isKnown = this.#hasHeld || (this.#createdAt !== undefined && this.#createdAt === this.#heldBy)
    return { kind: 'whole', entries, emptied: entries.size === 0 && isKnown }
  }

  #changeAt(path: string): KeyChange {
    const data = this.#nodes.get(path)?.data
    return { key: this.#nameOf(path), value: this.#isValue(data) ? data : undefined }
  }

  /** Without a value it is there for those below it. */
  #isValue(data: Uint8Array | undefined): data is Uint8Array {
    return data !== undefined && (data.length > 0 || this.#at.isKey)
  }

  /** @param data undefined: it is gone, or not read */
  #replaced(node: Node, data: Uint8Array | undefined, sizeBytes: number): void {
    this.#values += Number(this.#isValue(data)) - Number(this.#isValue(node.data))
    this.#sizeBytes += sizeBytes - node.sizeBytes
    node.sizeBytes = sizeBytes
    node.data = data
    this.#untold?.add(node.path)
  }

  async #settle(): Promise<void> {
    for (let turns = 0; ; turns++) {
      if (this.#stale.size === 0 && this.#sizeBytes <= this.#at.maxBytes) {
        for (const node of this.#tooLarge) this.#again(node, 'isDataStale')
      }
      const batch = [...this.#stale].filter(({ isRead }) => turns < mostTurns || !isRead)
      if (batch.length === 0) return
      const left = batch.values()
      const reading = async () => {
        for (const node of left) await this.#read(node)
      }
      await Promise.all(Array.from({ length: Math.min(atOnce, batch.length) }, reading))
    }
  }

  async #read(node: Node): Promise<void> {
    const { isDataStale, areChildrenStale, path } = node
    this.#stale.delete(node)
    node.isDataStale = node.areChildrenStale = false
    let stat: Stat | undefined
    if (node === this.#root && this.#createdAt === undefined) {
      stat = await this.#session.exists(path, this.#onEvent)
      if (!stat) return this.#waitFor(node)
      this.#createdAt = hex(stat.czxid)
    }
    if (areChildrenStale && !this.#at.isKey) {
      const listed = await this.#session.children(path, this.#onEvent)
      if (!listed) return this.#gone(node)
      stat = listed.stat
      this.#setChildren(node, listed.names)
    }
    if (isDataStale && (node !== this.#root || this.#at.isKey)) await this.#readData(node, stat)
    node.isRead = true
  }

  /** A value that has changed is read at once: what it may have grown to is bounded by the server. */
  async #readData(node: Node, known: Stat | undefined): Promise<void> {
    const { path } = node
    let stat = known ?? (this.#tooLarge.has(node) ? await this.#session.exists(path) : undefined)
    if (stat && !this.#fits(node, stat.dataLength)) stat = await this.#session.exists(path, this.#onEvent)
    if (stat) {
      const isRead = this.#fits(node, stat.dataLength)
      // Before it is read, so that many at once do not fit each for itself.
      this.#setData(node, undefined, stat.dataLength)
      if (!isRead) return
    }
    const read = await this.#session.data(path, this.#onEvent)
    if (!read) return this.#gone(node)
    const { value } = read
    this.#setData(node, this.#fits(node, value.length) ? value : undefined, value.length)
  }

  #fits(node: Node, sizeBytes: number): boolean {
    return this.#sizeBytes - node.sizeBytes + sizeBytes <= this.#at.maxBytes
  }

  #setData(node: Node, data: Uint8Array | undefined, sizeBytes: number): void {
    // It was deleted meanwhile, and may be there again as another.
    if (this.#nodes.get(node.path) !== node) return
    this.#replaced(node, data, sizeBytes)
    if (data) this.#tooLarge.delete(node)
    else this.#tooLarge.add(node)
  }

  #setChildren(node: Node, names: readonly string[]): void {
    if (this.#nodes.get(node.path) !== node) return
    const above = node.path === '/' ? '' : node.path
    const paths = new Set(names.map((name) => `${above}/${name}`).filter((path) => path !== ownPath))
    for (const path of node.children) if (!paths.has(path)) this.#forget(path)
    for (const path of paths) if (!this.#nodes.has(path)) this.#added(path, node)
    node.children = paths
  }

  #added(path: string, above: Node | undefined): Node {
    const node: Node = {
      ...{ path, above, children: new Set<string>(), data: undefined, sizeBytes: 0 },
      ...{ isRead: false, isDataStale: true, areChildrenStale: true },
    }
    this.#nodes.set(path, node)
    this.#stale.add(node)
    return node
  }

  #note({ type, path }: Library.Event): void {
    const node = this.#nodes.get(path)
    if (!node) return
    if (type === deleted) this.#gone(node)
    if (type === childrenChanged || type === created) this.#again(node, 'areChildrenStale')
    if (type !== childrenChanged) this.#again(node, 'isDataStale')
    this.#event.abort()
  }

  #again(node: Node, what: 'isDataStale' | 'areChildrenStale'): void {
    if (this.#nodes.get(node.path) !== node) return
    node[what] = true
    this.#stale.add(node)
  }

  /** The root is looked for again; others are found again by those above them, which are told too. */
  #gone(node: Node): void {
    if (this.#nodes.get(node.path) !== node) return
    for (const path of node.children) this.#forget(path)
    node.children = new Set()
    if (node !== this.#root) return this.#forget(node.path)
    this.#createdAt = undefined
    this.#setData(node, undefined, 0)
    this.#tooLarge.delete(node)
    this.#waitFor(node)
    this.#stale.add(node)
  }

  /** Until it is told of, and then all of it is read. */
  #waitFor(root: Node): void {
    root.isRead = root.isDataStale = root.areChildrenStale = true
  }

  #forget(path: string): void {
    const node = this.#nodes.get(path)
    if (!node) return
    for (const below of node.children) this.#forget(below)
    this.#nodes.delete(path)
    this.#stale.delete(node)
    this.#tooLarge.delete(node)
    this.#replaced(node, undefined, 0)
  }

  #nameOf(path: string): string {
    return path.slice(this.#at.chroot.length)
  }
}

function hex(id: Buffer): string {
  return id.toString('hex')
}
