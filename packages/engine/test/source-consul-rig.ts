/** The real Consul for tests, where there is one. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ended } from '../../../test/rig/ended.ts'
import { freePorts } from '../../../test/rig/free-ports.ts'

/** Where scripts/bootstrap --consul puts it, and else the one on the PATH. */
const cached = fileURLToPath(new URL('../../../.cache/consul/usr/bin/consul', import.meta.url))
const program = existsSync(cached) ? cached : 'consul'
export const version = consulVersion()
/** Why the tests on a real Consul cannot run here. */
export const noConsul = version === undefined ? 'no consul on the PATH, nor by scripts/bootstrap --consul' : undefined

function consulVersion(): string | undefined {
  try {
    return /^Consul v(\S+)/.exec(execFileSync(program, ['version'], { encoding: 'utf8' }))?.[1]
  } catch {
    return undefined // told by the name of the tests that need it
  }
}

export async function done(answer: Promise<Response>): Promise<void> {
  const { ok, status } = await answer
  if (!ok) throw new Error(`Consul answers ${status}`)
}

/** Who brings no token may read and write keys; one that is not known is refused. */
const master = 'b1f0e5a2-0000-4000-8000-000000000000'
const acls = `acl { enabled = true, default_policy = "allow", tokens { master = "${master}" } }`
const asMaster = { headers: { 'x-consul-token': master } }

/** One server by itself, on the loopback only. */
export class ConsulServer {
  readonly port: number
  readonly #args: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, args: readonly string[]) {
    this.port = port
    this.#args = args
  }

  static async start(folder: string): Promise<ConsulServer> {
    const [http, server, lan] = await freePorts(3)
    const ports = [`-http-port=${http}`, `-server-port=${server}`, `-serf-lan-port=${lan}`, '-serf-wan-port=-1']
    const others = ['-dns-port=-1', '-grpc-port=-1', '-bind=127.0.0.1', `-data-dir=${folder}`, '-bootstrap-expect=1']
    const more = ['-hcl=performance { raft_multiplier = 1 }', '-hcl=disable_update_check = true', `-hcl=${acls}`]
    const made = new ConsulServer(Number(http), ['agent', '-server', '-node=one', ...ports, ...others, ...more])
    await made.again()
    return made
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async again(): Promise<void> {
    const child = spawn(program, this.#args, { stdio: 'ignore' })
    this.#process = child
    for (let isUp = false; !isUp;) {
      if (child.exitCode !== null) throw new Error(`consul ended with ${child.exitCode}`)
      isUp = await fetch(`${this.url}/v1/kv/up`, { method: 'PUT', body: 'x' }).then(
        ({ ok }) => ok,
        () => false, // not yet
      )
      if (!isUp) await sleep(50)
    }
  }

  async snapshot(): Promise<Uint8Array> {
    const answer = await fetch(`${this.url}/v1/snapshot`, asMaster)
    if (!answer.ok) throw new Error(`Consul answers ${answer.status}`)
    return new Uint8Array(await answer.arrayBuffer())
  }

  restore(snapshot: Uint8Array): Promise<void> {
    return done(fetch(`${this.url}/v1/snapshot`, { ...asMaster, method: 'PUT', body: Buffer.from(snapshot) }))
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    await ended(child)
  }
}
