/**
 * Makes the config and its first release from the gateway's example file, if there is none yet; and has a config that is
 * there demand what the gateway of today does.
 */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { digest, type Json } from 'midflight'
import { file } from 'midflight/sources/file'
import type { Api } from './api.ts'
import type { RunDir } from './run-dir.ts'

/** The reader's to edit and publish. */
export const editedFile = 'gateway.yaml'

interface From {
  /** `examples/gateway/gateway.yaml`. */
  readonly example: string
  /** `examples/gateway/src/node.ts`, which says what the configuration must look like. */
  readonly program: string
}

/** @throws Error if the control plane refuses it. */
export async function firstRelease(api: Api, config: string, run: RunDir, { example, program }: From): Promise<void> {
  if (!run.has(editedFile)) run.write(editedFile, withoutSecret(await readFile(example, 'utf8')))
  const path = `/v1/configs/${encodeURIComponent(config)}`
  const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, program, '--schema'])
  const schema = JSON.parse(stdout) as Json
  if (!(await api.has(path))) {
    const rules = [{ rule: 'references', path: 'routes.*.upstream', to: 'upstreams' }]
    await api.ask('POST', '/v1/configs', { name: config, schema, rules })
  } else {
    const kept = await api.ask<{ schema: Json }>('GET', `${path}/schema`)
    if (digest(kept.schema) !== digest(schema)) await api.ask('PUT', `${path}/schema`, { schema })
  }
  // A start that was cut short may have made the config, and no release.
  const { head } = await api.ask<{ head: unknown }>('GET', path)
  if (head !== null) return
  const { config: content } = await file(editedFile, { cwd: run.path, variables: {} }).load(AbortSignal.timeout(10_000))
  await api.ask('PUT', `${path}/content?message=first`, content, { 'if-none-match': '*' })
}

/** `$$` is a dollar, so that the release holds the reference; each node resolves it from its own secrets. */
function withoutSecret(text: string): string {
  return text.replace(/authorization: .*/, 'authorization: $$$${file:orders-token} # resolved on each node')
}
