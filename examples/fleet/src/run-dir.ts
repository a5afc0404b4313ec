/**
 * What the tour keeps between two starts: the store, the tokens, the ports, and a directory for each node. All of it is
 * in one directory, which may be deleted to begin anew.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative, resolve } from 'node:path'

export class RunDir {
  readonly path: string
  private readonly portsFile: string

  constructor(path: string) {
    this.path = resolve(path)
    this.portsFile = this.in('ports.json')
    // The tokens are in it.
    mkdirSync(this.path, { recursive: true, mode: 0o700 })
  }

  in(...names: readonly string[]): string {
    return join(this.path, ...names)
  }

  directory(...names: readonly string[]): string {
    const path = this.in(...names)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    return path
  }

  /** As `name` is given on the command line: short where it is below the working directory. */
  shown(...names: readonly string[]): string {
    const path = this.in(...names)
    const short = relative(process.cwd(), path)
    return short.startsWith('..') ? path : short
  }

  write(name: string, text: string): void {
    writeFileSync(this.in(name), text, { mode: 0o600 })
  }

  has(name: string): boolean {
    return existsSync(this.in(name))
  }

  read(name: string): string {
    return readFileSync(this.in(name), 'utf8').trim()
  }

  /** For each name the port that it had, or should have, or another free one where that is taken by now. */
  async ports<Name extends string>(wanted: Readonly<Record<Name, number>>): Promise<Record<Name, number>> {
    const asked = { ...wanted, ...this.keptPorts() }
    const names = Object.keys(wanted) as Name[]
    const taken = await Promise.all(names.map(async (name) => [name, await free(asked[name])] as const))
    return Object.fromEntries(taken) as Record<Name, number>
  }

  /** Of the last start. */
  keptPorts(): Readonly<Record<string, number>> {
    if (!this.has('ports.json')) return {}
    try {
      const kept = JSON.parse(this.read('ports.json')) as object
      return Object.fromEntries(Object.entries(kept).filter(([, port]) => Number.isInteger(port) && port < 65_536))
    } catch {
      // Cut off, or written by hand: other ports do as well.
      return {}
    }
  }

  keepPorts(ports: Readonly<Record<string, number>>): void {
    writeFileSync(this.portsFile, `${JSON.stringify(ports, null, 2)}\n`)
  }
}

/** @param wanted 0: any. */
async function free(wanted: number): Promise<number> {
  const server = createServer()
  const port = await new Promise<number | undefined>((done) => {
    server.once('error', () => done(undefined))
    server.listen(wanted, '127.0.0.1', () => done((server.address() as { port: number }).port))
  })
  if (port === undefined) return free(0)
  await new Promise((done) => server.close(done))
  return port
}
