/** A control plane as tests want it: on a free port, with SQLite in a folder of its own, and every answer checked against its schema. */
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { serve, type ControlPlane, type ServeOptions } from '../src/index.ts'

export interface Rig {
  readonly plane: ControlPlane
  readonly url: string
  readonly admin: string
  readonly dataDir: string
  /** All lines of the log so far. */
  log(): string
  ask(path: string, question?: Question): Promise<Answer>
  /** The secret of a new token. */
  token(role: string, prefix?: string, name?: string): Promise<string>
  close(): Promise<void>
}

export interface Question {
  readonly method?: string
  readonly headers?: Record<string, string>
  /** An object is sent as JSON. */
  readonly body?: unknown
  /** `null`: none. By default the admin's. */
  readonly token?: string | null
  readonly tls?: object
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  json(): any
}

export async function rig(options: Partial<ServeOptions> = {}): Promise<Rig> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'midflight-http-')))
  let admin = ''
  let log = ''
  let named = 0
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      log += chunk.toString()
      done()
    },
  })
  const removed = async (): Promise<void> => {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true })
  }
  const plane = await serve({
    port: 0,
    checkAnswers: true,
    logger: pino({ level: 'trace' }, sink),
    onAdminToken: (secret) => (admin = secret),
    ...options,
    dataDir,
  }).catch(async (error: unknown) => {
    await removed()
    throw error
  })
  const made: Rig = {
    plane,
    url: plane.url,
    get admin() {
      return admin
    },
    dataDir,
    log: () => log,
    ask: (path, question = {}) => ask(plane.url, path, { token: admin, ...question }),
    async token(role, prefix = '', name = `${role} ${++named}`) {
      const body = { name, role, prefix, expiresAt: null }
      const answer = await made.ask('/v1/tokens', { method: 'POST', body })
      if (answer.status !== 201) throw new Error(answer.text)
      return answer.json().secret
    },
    async close() {
      await plane.close()
      await removed()
    },
  }
  return made
}

export async function ask(url: string, path: string, question: Question = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body, token, tls = {} } = question
  const raw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
  const { protocol, hostname, port } = new URL(url)
  const request = protocol === 'https:' ? httpsRequest : httpRequest
  return await new Promise<Answer>((resolve, reject) => {
    const sent = request(
      {
        hostname,
        port,
        path,
        method,
        agent: false,
        headers: {
          ...(token == null ? {} : { authorization: `Bearer ${token}` }),
          ...(raw === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(raw as string) }),
          ...headers,
        },
        ...tls,
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) }),
        )
        response.on('error', reject)
      },
    )
    sent.on('error', reject)
    sent.end(raw)
  })
}

/** The path of a config, its slashes encoded. */
export function at(config: string, rest = ''): string {
  return `/v1/configs/${encodeURIComponent(config)}${rest}`
}

/** What an agent says by HTTP: that it runs `runs`. */
export function hello(uid: string, config: string, runs: { number: number; digest: string } | null): object {
  return {
    type: 'hello',
    uid,
    config,
    labels: { zone: 'a' },
    agent: { name: 'test', version: '1' },
    runs,
    seen: runs?.number ?? null,
    status: runs === null ? 'UNSET' : 'APPLIED',
  }
}
