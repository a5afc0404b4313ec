/** A real server of a test behind a proxy that can misbehave, and a client beside the proxy by which the test does as users do. */
import { spawn, type ChildProcess } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { TcpProxy } from '../../packages/engine/test/tcp-proxy.ts'
import { ended } from './ended.ts'

export interface Program {
  readonly name: string
  readonly args: readonly string[]
  /** It is ready when it has said this there. */
  readonly ready: string
  readonly says: 'stdout' | 'stderr'
  /** On the loopback. */
  readonly port: number
  /** Its own, removed in the end. */
  readonly folder: string
  readonly scheme: string
  /** To be trusted, where it is one with TLS. */
  readonly ca: string | undefined
}

export abstract class ProxiedServer<Admin> {
  readonly program: Program
  readonly proxy: TcpProxy
  #process: ChildProcess | undefined
  #admin: Admin | undefined

  /** @param proxy to the program's port */
  constructor(program: Program, proxy: TcpProxy) {
    this.program = program
    this.proxy = proxy
  }

  protected abstract connected(): Promise<Admin>
  protected abstract disconnect(admin: Admin): Promise<void> | void

  get ca(): string | undefined {
    return this.program.ca
  }

  /** Through the proxy. */
  get url(): string {
    return this.proxy.url.replace('http', this.program.scheme)
  }

  /** Not through the proxy. */
  get admin(): Admin {
    if (!this.#admin) throw new Error('the server does not run')
    return this.#admin
  }

  async start(): Promise<void> {
    const { name, args, ready, says } = this.program
    const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    for (const stream of [child.stdout, child.stderr]) if (stream !== child[says]) stream.resume()
    const lines: string[] = []
    let isReady = false
    for await (const line of createInterface(child[says])) {
      lines.push(line)
      isReady = line.includes(ready)
      if (isReady) break
    }
    // What it says ends before its exit is told: `exitCode` may still be null.
    if (!isReady) throw new Error(`${name} has ended:\n${lines.join('\n')}`)
    child[says].resume()
    this.#admin = await this.connected()
  }

  async stop(): Promise<void> {
    const [admin, child] = [this.#admin, this.#process]
    this.#admin = undefined
    this.#process = undefined
    if (admin !== undefined) await this.disconnect(admin)
    await ended(child)
  }

  async close(): Promise<void> {
    await this.proxy.close()
    await this.stop()
    await rm(this.program.folder, { recursive: true, force: true })
  }
}
