/** Real etcd servers, alone or as a cluster, and what users do on them, over etcd's own JSON gateway. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ended } from '../../../test/rig/ended.ts'
import { freePort } from '../../../test/rig/free-ports.ts'

/** Why the tests on a real server cannot run here. */
export const noEtcd =
  spawnSync('etcd', ['--version']).status === 0 ? undefined : 'there is no etcd here (Debian package etcd-server)'

const startMs = 30_000

export interface MemberOptions {
  /** Members of one cluster, by name; all but `name` are the others. */
  readonly peers?: Readonly<Record<string, number>>
  readonly name?: string
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string }
  readonly args?: readonly string[]
}

export class EtcdServer {
  readonly port: number
  readonly #peerPort: number
  readonly #folder: string
  readonly #options: MemberOptions
  #process: ChildProcess | undefined
  #token: string | undefined
  #said = ''

  private constructor(port: number, peerPort: number, options: MemberOptions) {
    this.port = port
    this.#peerPort = peerPort
    this.#options = options
    this.#folder = mkdtempSync(join(tmpdir(), 'midflight-etcd-'))
  }

  static async start(options: MemberOptions = {}): Promise<EtcdServer> {
    const server = await EtcdServer.prepare(options)
    await server.start()
    return server
  }

  static async prepare(options: MemberOptions = {}): Promise<EtcdServer> {
    const peerPort = options.peers?.[options.name ?? ''] ?? (await freePort())
    return new EtcdServer(await freePort(), peerPort, options)
  }

  /** Three members, once they have a leader. */
  static async cluster(): Promise<EtcdServer[]> {
    const peers = { one: await freePort(), two: await freePort(), three: await freePort() }
    const members = await Promise.all(Object.keys(peers).map((name) => EtcdServer.prepare({ name, peers })))
    await Promise.all(members.map((member) => member.start()))
    return members
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const { name = 'one', tls, args = [], peers = { [name]: this.#peerPort } } = this.#options
    const client = `${tls ? 'https' : 'http'}://127.0.0.1:${this.port}`
    const peer = `http://127.0.0.1:${this.#peerPort}`
    const all = Object.entries(peers).map(([one, port]) => `${one}=http://127.0.0.1:${port}`)
    const child = spawn(
      'etcd',
      [
        ...['--name', name, '--data-dir', join(this.#folder, 'data'), '--logger', 'zap', '--log-level', 'warn'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', all.join(',')],
        ...(tls ? ['--cert-file', tls.cert, '--key-file', tls.key] : []),
        ...(tls?.clientCa ? ['--client-cert-auth', '--trusted-ca-file', tls.clientCa] : []),
        ...args,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.#process = child
    child.stderr?.on('data', (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4_000)))
    const lastAt = performance.now() + startMs
    while (!(await this.#answers())) {
      if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}: ${this.#said}`)
      if (performance.now() > lastAt) throw new Error(`etcd is not there after ${startMs} ms: ${this.#said}`)
      await sleep(20)
    }
  }

  async #answers(): Promise<boolean> {
    // With TLS the gateway wants a certificate too; that it listens is enough.
    if (this.#options.tls) return this.#process?.exitCode === null && (await listens(this.port))
    try {
      await this.post('kv/range', { key: text('there?') })
      return true
    } catch (error) {
      return /user name is empty|permission denied|invalid auth token/.test(String(error))
    }
  }

  /** @param signal SIGKILL is a crash. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process
    this.#process = undefined
    await ended(child, signal)
  }

  /** As if its disk had been lost: nothing is there, and revisions begin again. */
  async wipe(): Promise<void> {
    await this.stop()
    rmSync(join(this.#folder, 'data'), { recursive: true })
    await this.start()
  }

  async close(): Promise<void> {
    await this.stop('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async put(key: string | Uint8Array, value: string | Uint8Array, lease?: string): Promise<void> {
    await this.post('kv/put', { key: text(key), value: text(value), ...(lease !== undefined && { lease }) })
  }

  /** In one transaction. */
  async putAll(entries: Readonly<Record<string, string>>): Promise<void> {
    const success = Object.entries(entries).map(([key, value]) => ({
      request_put: { key: text(key), value: text(value) },
    }))
    await this.post('kv/txn', { success })
  }

  async remove(key: string | Uint8Array): Promise<void> {
    await this.post('kv/deleterange', { key: text(key) })
  }

  async removeBelow(prefix: string): Promise<void> {
    await this.post('kv/deleterange', below(prefix))
  }

  /** Forgets all history up to now. */
  async compact(): Promise<void> {
    const { header } = await this.post('kv/range', { key: text('there?') })
    const { revision } = header as { revision: string }
    await this.post('kv/compaction', { revision, physical: true }).catch((error: unknown) => {
      if (!/has been compacted/.test(String(error))) throw error
    })
  }

  async lease(seconds: number): Promise<string> {
    return String((await this.post('lease/grant', { TTL: seconds }))['ID'])
  }

  async revoke(lease: string): Promise<void> {
    await this.post('lease/revoke', { ID: lease })
  }

  async isLeader(): Promise<boolean> {
    const { header, leader } = await this.post('maintenance/status', {})
    return (header as { member_id: string }).member_id === leader
  }

  /** From here on only with a password: `root` may all, `reader` may read below `prefix`. */
  async enableAuth(prefix: string): Promise<void> {
    await this.post('auth/user/add', { name: 'root', password: 'of-root' })
    await this.post('auth/user/add', { name: 'reader', password: 'of-reader' })
    await this.post('auth/role/add', { name: 'root' })
    await this.post('auth/role/add', { name: 'reads' })
    await this.post('auth/role/grant', { name: 'reads', perm: { permType: 'READ', ...below(prefix) } })
    await this.post('auth/user/grant', { user: 'root', role: 'root' })
    await this.post('auth/user/grant', { user: 'reader', role: 'reads' })
    await this.post('auth/enable', {})
    await this.login()
  }

  async login(): Promise<void> {
    this.#token = undefined
    this.#token = await this.tokenOf('root', 'of-root')
  }

  async tokenOf(name: string, password: string): Promise<string> {
    return String((await this.post('auth/authenticate', { name, password }))['token'])
  }

  /** Over a connection of its own, so that none is left in this process. */
  post(path: string, body: object): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const call = request(
        `${this.url}/v3/${path}`,
        { method: 'POST', agent: false, headers: this.#token === undefined ? {} : { authorization: this.#token } },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('end', () => {
            const answer = Buffer.concat(chunks).toString()
            if (response.statusCode === 200) resolve(JSON.parse(answer) as Record<string, unknown>)
            else reject(new Error(`${path}: ${response.statusCode} ${answer}`))
          })
          response.on('error', reject)
        },
      )
      call.on('error', reject)
      call.end(JSON.stringify(body))
    })
  }
}

function text(bytes: string | Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function below(prefix: string): { readonly key: string; readonly range_end: string } {
  const end = Buffer.from(prefix)
  end[end.length - 1] = (end.at(-1) as number) + 1
  return { key: text(prefix), range_end: text(end) }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
