/**
 * The znodes that one session reads, and what it is told of them. Where the server tells of all that happens below a
 * path, it is told to before anything is read; otherwise a watch is set with each read, and what it fires for is read
 * again. So nothing lies between a read and what is told after it. When nothing is left to be read again, what was read
 * is what was there at one moment: the server tells of a change before it answers with anything newer.
 */
import type { KeyChange, News } from '../watching.ts'
import type { WatchEvent } from './connection.ts'
import { childrenChanged, created, deleted, type Session } from './session.ts'
import type { Stat } from './wire.ts'

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

/** As little as can be: there may be many. Values are not kept once they are told. */
interface Node {
  readonly path: string
  /** Paths. Undefined where there are none. */
  children: Set<string> | undefined
  sizeBytes: number
  hasValue: boolean
  isDataStale: boolean
  areChildrenStale: boolean
}

/** Requests under way at once. Servers hold all of their clients to 1,000. */
const atOnce = 64
/** How often what comes, goes or changes all the time is read before it is told as it is. */
const mostTurns = 20
/** What the server keeps of itself. */
const ownPath = '/zookeeper'

export class Tree {
  readonly #at: Root
  readonly #session: Session
  /** By one watch on the root, which was set before; otherwise each read sets one. */
  readonly #isToldBelow: boolean
  readonly #root: Node
  readonly #nodes = new Map<string, Node>()
  readonly #stale = new Set<Node>()
  /** Those whose children are being asked for. */
  readonly #listed = new Set<Node>()
  /** It has turned often enough: what is told of now waits, so that there is an end. */
  #isEnding = false
  /** The paths of what waits until what was read is told. */
  readonly #later = new Set<string>()
  /** Those whose values were not read for their size. */
  readonly #tooLarge = new Set<Node>()
  /** That was told, and what else came was not. */
  #isRefused = false
  /** Of all values, also of those not read. */
  #sizeBytes = 0
  /** How many have a value. */
  #values = 0
  /** What may be other than what was told, by its path. */
  #untold = new Map<string, Uint8Array | undefined>()
  /** That is all there is. */
  #isWhole = true
  #settling: Promise<void> | undefined
  /** Why something could not be read. */
  #failed: { readonly error: unknown } | undefined
  #event = new AbortController()
  /** When the root was created, as the server counts, and by its clock. Undefined if it is not there. */
  #createdAt: string | undefined
  /** Of the last root with values at or below it. */
  #heldBy: string | undefined
  /** There were values, and whatever ended them was seen by this session. */
  #hasHeld = false

  /**
   * @param isToldBelow the session watches all below the root
   * @param before the one of the session before
   */
  constructor(at: Root, session: Session, isToldBelow: boolean, before?: Tree) {
    this.#at = at
    this.#session = session
    this.#isToldBelow = isToldBelow
    if (before) this.#heldBy = before.#heldBy
    this.#root = this.#added(at.path)
    session.tell(
      (event) => this.#note(event),
      () => this.#event.abort(),
    )
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

  /** All is read once more. A server does not tell of changes that the login may not read at that moment. */
  readAnew(): void {
    this.#isWhole = true
    this.#isRefused = false
    this.#failed = undefined
    this.#untold.clear()
    this.#later.clear()
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

  /** Until nothing is left to be read. Rejects from then on where something could not be. */
  async settled(): Promise<void> {
    await (this.#settling ??= this.#begun())
    if (this.#failed) throw this.#failed.error
  }

  async #begun(): Promise<void> {
    await this.#settle()
    this.#settling = undefined
    this.#isEnding = false
  }

  /** All, and after that what changed: what a change costs is not to depend on how many znodes there are. */
  news(): News {
    const untold = this.#untold
    this.#untold = new Map()
    for (const path of this.#later) this.#note({ type: created, path })
    this.#later.clear()
    for (const { path, sizeBytes } of this.#tooLarge) {
      this.#isRefused = true
      const message = `is ${sizeBytes} bytes, with all others ${this.#sizeBytes}; want at most ${this.#at.maxBytes}`
      return { kind: 'unusable', key: this.#nameOf(path), code: 'limit', message }
    }
    const isWhole = this.#isWhole
    this.#isWhole = false
    if (this.#values > 0) {
      this.#hasHeld = true
      this.#heldBy = this.#createdAt
      if (!isWhole) return { kind: 'changes', changes: this.#changesOf(untold) }
    }
    const entries = new Map<string, Uint8Array>()
    for (const { key, value } of this.#changesOf(untold)) if (value) entries.set(key, value)
    // The same root is still there, so what was below it did not get lost with it: it was deleted. `/` is of any server.
    const isSame = this.#at.path !== '/' && this.#createdAt !== undefined && this.#createdAt === this.#heldBy
    const isKnown = this.#hasHeld || isSame
    return { kind: 'whole', entries, emptied: entries.size === 0 && isKnown }
  }

  #changesOf(untold: ReadonlyMap<string, Uint8Array | undefined>): KeyChange[] {
    return Array.from(untold, ([path, value]) => ({ key: this.#nameOf(path), value }))
  }

  async #settle(): Promise<void> {
    for (let turns = 0; ; turns++) {
      this.#isEnding = turns >= mostTurns
      if (this.#sizeBytes <= this.#at.maxBytes) {
        // What came beside what was too large is forgotten.
        if (this.#isRefused) this.readAnew()
        if (this.#stale.size === 0) for (const node of this.#tooLarge) this.#again(node, 'isDataStale')
      }
      if (this.#stale.size === 0 || this.#failed) return
      const batch = [...this.#stale]
      const left = batch.values()
      // All of them end before others begin: of two that read one list, the later may be told by the earlier that it is done.
      const reading = async () => {
        for (const node of left) {
          if (this.#failed) return
          await this.#read(node).catch((error: unknown) => (this.#failed ??= { error }))
        }
      }
      await Promise.all(Array.from({ length: Math.min(atOnce, batch.length) }, reading))
    }
  }

  async #read(node: Node): Promise<void> {
    const { isDataStale, areChildrenStale, path } = node
    const isRoot = node === this.#root
    this.#stale.delete(node)
    node.isDataStale = node.areChildrenStale = false
    if (isRoot && this.#createdAt === undefined) {
      const stat = await this.#session.exists(path, !this.#isToldBelow)
      if (!stat) return this.#waitFor(node)
      this.#createdAt = `${stat.czxid} ${stat.ctimeMs}`
    }
    const hasValue = !isRoot || this.#at.isKey
    const stat = isDataStale && hasValue ? await this.#readData(node) : undefined
    const mayHaveChildren = !this.#isToldBelow || isRoot || node.children !== undefined || stat?.numChildren !== 0
    if (areChildrenStale && !this.#at.isKey && mayHaveChildren) await this.#readChildren(node)
  }

  /**
   * A value is asked for before its size is known: what it may be is bounded by the server. Where all are too much
   * already, only the size is. Undefined where it is gone.
   */
  async #readData(node: Node): Promise<Stat | undefined> {
    const { path } = node
    const isWatched = !this.#isToldBelow
    if (this.#sizeBytes - node.sizeBytes > this.#at.maxBytes || this.#tooLarge.has(node)) {
      const stat = await this.#session.exists(path, isWatched)
      if (!stat) this.#gone(node)
      else if (!this.#fits(node, stat.dataLength)) this.#setData(node, undefined, stat.dataLength)
      if (!stat || !this.#fits(node, stat.dataLength)) return stat
    }
    const read = await this.#session.data(path, isWatched)
    if (!read) {
      this.#gone(node)
      return undefined
    }
    const { value, stat } = read
    this.#setData(node, this.#fits(node, value.length) ? value : undefined, value.length)
    return stat
  }

  #fits(node: Node, sizeBytes: number): boolean {
    return this.#sizeBytes - node.sizeBytes + sizeBytes <= this.#at.maxBytes
  }

  /** @param data undefined: it is too large */
  #setData(node: Node, data: Uint8Array | undefined, sizeBytes: number): void {
    // It was deleted meanwhile, and may be there again as another.
    if (this.#nodes.get(node.path) !== node) return
    this.#replaced(node, data, sizeBytes)
    if (data) this.#tooLarge.delete(node)
    else this.#tooLarge.add(node)
  }

  /** @param data undefined: it is gone, or not read */
  #replaced(node: Node, data: Uint8Array | undefined, sizeBytes: number): void {
    // Without a value it is there for those below it.
    const hasValue = data !== undefined && (data.length > 0 || this.#at.isKey)
    if (hasValue || node.hasValue) this.#untold.set(node.path, hasValue ? data : undefined)
    this.#values += Number(hasValue) - Number(node.hasValue)
    this.#sizeBytes += sizeBytes - node.sizeBytes
    node.hasValue = hasValue
    node.sizeBytes = sizeBytes
  }

  async #readChildren(node: Node): Promise<void> {
    this.#listed.add(node)
    try {
      const names = await this.#session.children(node.path, !this.#isToldBelow)
      if (names) this.#setChildren(node, names)
      else this.#gone(node)
    } finally {
      this.#listed.delete(node)
    }
  }

  #setChildren(node: Node, names: readonly string[]): void {
    if (this.#nodes.get(node.path) !== node) return
    const above = node.path === '/' ? '' : node.path
    const paths = new Set(names.map((name) => `${above}/${name}`).filter((path) => path !== ownPath))
    for (const path of node.children ?? []) if (!paths.has(path)) this.#forget(path)
    for (const path of paths) if (!this.#nodes.has(path)) this.#added(path)
    node.children = paths.size > 0 ? paths : undefined
  }

  #added(path: string): Node {
    const node: Node = {
      ...{ path, children: undefined, sizeBytes: 0, hasValue: false, isDataStale: true, areChildrenStale: true },
    }
    this.#nodes.set(path, node)
    this.#stale.add(node)
    return node
  }

  #note(event: WatchEvent): void {
    if (this.#isEnding) this.#later.add(event.path)
    else if (!this.#isNews(event)) return
    // With all that was told together; whoever waits for it is woken while the server answers.
    queueMicrotask(() => void (this.#settling ??= this.#begun()))
    setImmediate(() => this.#event.abort())
  }

  /** Marks what is to be read again. @returns whether there is anything */
  #isNews({ type, path }: WatchEvent): boolean {
    // Where all that is made is told of by itself, lists say nothing more.
    if (this.#isToldBelow && type === childrenChanged) return false
    const node = this.#nodes.get(path)
    if (node) {
      if (type === deleted) this.#gone(node)
      if (type === childrenChanged || type === created) this.#again(node, 'areChildrenStale')
      if (type !== childrenChanged) this.#again(node, 'isDataStale')
    } else {
      const isWanted = this.#isToldBelow && this.#isBelow(path)
      if (!isWanted || type === deleted) return false
      this.#appeared(path)
    }
    return true
  }

  /** It is new, or it could not be seen before. */
  #appeared(path: string): void {
    this.#added(path)
    const abovePath = path.slice(0, path.lastIndexOf('/')) || '/'
    if (!this.#nodes.has(abovePath)) this.#appeared(abovePath)
    const above = this.#nodes.get(abovePath) as Node
    above.children = (above.children ?? new Set()).add(path)
    // The list that is under way may be of before.
    if (this.#listed.has(above)) this.#again(above, 'areChildrenStale')
  }

  #again(node: Node, what: 'isDataStale' | 'areChildrenStale'): void {
    if (this.#nodes.get(node.path) !== node) return
    node[what] = true
    this.#stale.add(node)
  }

  /** The root is looked for again; others are found again by what is told of them, or of those above them. */
  #gone(node: Node): void {
    if (this.#nodes.get(node.path) !== node) return
    if (node !== this.#root) return this.#forget(node.path)
    this.#createdAt = undefined
    this.#waitFor(node)
    this.#stale.add(node)
  }

  /** Until it is told of, and then all of it is read. */
  #waitFor(root: Node): void {
    for (const path of root.children ?? []) this.#forget(path)
    this.#replaced(root, undefined, 0)
    this.#tooLarge.delete(root)
    root.children = undefined
    root.isDataStale = root.areChildrenStale = true
  }

  #forget(path: string): void {
    const node = this.#nodes.get(path)
    if (!node) return
    for (const below of node.children ?? []) this.#forget(below)
    this.#nodes.get(path.slice(0, path.lastIndexOf('/')) || '/')?.children?.delete(path)
    this.#nodes.delete(path)
    this.#stale.delete(node)
    this.#tooLarge.delete(node)
    this.#replaced(node, undefined, 0)
  }

  #isBelow(path: string): boolean {
    const { path: root } = this.#at
    if (path === ownPath || path.startsWith(`${ownPath}/`)) return root !== '/'
    return path.startsWith(root === '/' ? '/' : `${root}/`)
  }

  #nameOf(path: string): string {
    return path.slice(this.#at.chroot.length)
  }
}
