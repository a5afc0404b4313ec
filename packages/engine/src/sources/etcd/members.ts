/** The members of a cluster, of which one is asked: the one that answered last, else whichever answers. */
import { errorText } from '../../deadline.ts'
import { FollowError } from '../watching.ts'
import { CallError, connect, type Cluster, type Connection } from './client.ts'

/** The members, and the connection to one of them: kept while it is good, so that a look costs no new login. */
export class Members {
  readonly #cluster: Cluster
  #at: number
  #kept: Connection | undefined

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    // Not all of a fleet goes to the first.
    this.#at = Math.floor(Math.random() * cluster.endpoints.length)
  }

  /** That answered last, if it did. */
  get kept(): Connection | undefined {
    return this.#kept
  }

  /** Asks whichever member answers. */
  async ask<Answer>(
    question: (connection: Connection) => Promise<Answer>,
    signal: AbortSignal,
    warn: (message: string) => void,
  ): Promise<{ connection: Connection; answer: Answer }> {
    const kept = this.#kept
    if (kept) {
      try {
        return { connection: kept, answer: await question(kept) }
      } catch (error) {
        if (signal.aborted) throw error
        // That says nothing: it may be long dead, or its login too old. Now it is asked anew.
        this.drop(kept)
      }
    }
    const errors: unknown[] = []
    for (const _ of this.#cluster.endpoints) {
      let connection: Connection | undefined
      try {
        connection = await this.#connected(signal, warn)
        return { connection, answer: await question(connection) }
      } catch (error) {
        if (signal.aborted) throw error
        if (connection) this.drop(connection)
        errors.push(error)
        if (error instanceof CallError && error.isDenied) break
      }
    }
    if (errors.length === 1) throw errors[0]
    const transient = errors.some((error) => !(error instanceof FollowError) || error.transient)
    throw new FollowError(errors.map((error) => errorText(error)).join('; '), { transient, cause: errors.at(-1) })
  }

  async #connected(signal: AbortSignal, warn: (message: string) => void): Promise<Connection> {
    const made = await connect(this.#cluster, this.#next(), signal, warn)
    // Whoever asked at the same time was faster: one is enough.
    if (this.#kept) made.close()
    return (this.#kept ??= made)
  }

  #next(): Cluster['endpoints'][number] {
    const { endpoints } = this.#cluster
    this.#at = (this.#at + 1) % endpoints.length
    return endpoints[this.#at] as Cluster['endpoints'][number]
  }

  /** @param connection which is no good any more; default: the one that is kept. */
  drop(connection = this.#kept): void {
    connection?.close()
    if (connection === this.#kept) this.#kept = undefined
  }
}
