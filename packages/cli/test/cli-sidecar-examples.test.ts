/** examples/nginx and examples/prometheus: their READMEs are typed to the letter, their manifests hold what is said there. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseText } from 'midflight'
import { describe, expect, test, vi } from 'vitest'
import { folder, midflight } from './rig.ts'

vi.setConfig({ testTimeout: 120_000 })

const examples = fileURLToPath(new URL('../../../examples', import.meta.url))
const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return String(port)
}

/** The blocks of shell, in a place and on a port of the test's own. */
async function typed(name: string, port: string): Promise<string> {
  const cwd = await folder()
  chmodSync(cwd, 0o700)
  cpSync(join(examples, name), join(cwd, 'examples', name), { recursive: true })
  const here = (text: string, to: string) =>
    text.replaceAll(port, to).replaceAll('/tmp/midflight-', `${cwd}/midflight-`)
  const to = await freePort()
  for (const path of readdirSync(join(cwd, 'examples', name), { recursive: true }) as string[]) {
    const file = join(cwd, 'examples', name, path)
    if (statSync(file).isFile()) writeFileSync(file, here(readFileSync(file, 'utf8'), to))
  }
  const conditions = '--conditions=midflight-source --disable-warning=ExperimentalWarning'
  writeFileSync(join(cwd, 'npx'), `#!/bin/sh\nshift\nexec ${process.execPath} ${conditions} ${main} "$@"\n`, {
    mode: 0o755,
  })
  const readme = readFileSync(join(cwd, 'examples', name, 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/^```sh\n([^]*?)^```/gm)].map(([, block]) => block)
  const end = /^And the end of it: `([^`]*)`/m.exec(readme)?.[1] ?? ''
  const script = ['set -m', ...blocks, end.replace(';', '; wait;')].join('\n')
  const child = spawn('bash', ['-c', script], {
    cwd,
    env: { ...process.env, PATH: `${cwd}:${process.env['PATH']}`, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += String(chunk)))
  child.stderr.resume()
  await once(child, 'close')
  return out
}

const without = (name: string) => (spawnSync(name, ['-v']).error ? ` (skipped: ${name} is not installed)` : '')

test.skipIf(without('nginx') !== '')(`examples/nginx, typed to the letter${without('nginx')}`, async () => {
  const out = await typed('nginx', '8081')
  expect(out).toMatch(/committed: .*conf\.d\/site\.conf\n[^]*^hello$[^]*^good-day$[^]*^good-day$/m)
  expect(out).toMatch(/last +✖ rolled back.*the value of \{\{greeting\}\} cannot be written there/)
})

test.skipIf(without('promtool') !== '')(`examples/prometheus, typed to the letter${without('promtool')}`, async () => {
  const out = await typed('prometheus', '9095')
  expect(out).toMatch(
    /"query":"up == 0"\n[^]*"query":"up \\u003c 1"\n[^]*could not parse expression[^]*scrape_interval: 15s/,
  )
})

describe('manifests (not applied: no cluster and no container engine here)', () => {
  test('are YAML, close their containers, and hold a sidecar.yaml that can be used', async () => {
    const text = readFileSync(join(examples, 'nginx/kubernetes.yaml'), 'utf8')
    const limits = { maxBytes: 1e6, maxDepth: 50, maxAliases: 100, maxAliasedValues: 1000, maxMergedKeys: 100 }
    const parse = async (part: string) =>
      (await parseText(Buffer.from(part), { file: 'kubernetes.yaml', format: 'yaml', limits })).config as never
    interface Container {
      readonly securityContext: unknown
      readonly volumeMounts: readonly { readonly name: string }[]
    }
    interface Pod {
      readonly initContainers: readonly Container[]
      readonly containers: readonly Container[]
      readonly volumes: readonly { readonly name: string }[]
    }
    const documents: readonly { readonly data: Record<string, string>; readonly spec: { template: { spec: Pod } } }[] =
      await Promise.all(text.split(/^---$/m).map(parse))
    const [config, , deployment] = documents
    const { spec } = deployment!.spec.template
    expect(spec).toMatchObject({ shareProcessNamespace: true, securityContext: { runAsNonRoot: true } })
    for (const container of [...spec.initContainers, ...spec.containers]) {
      expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true, allowPrivilegeEscalation: false })
      const volumes = spec.volumes.map(({ name }) => name)
      for (const { name } of container.volumeMounts) expect(volumes).toContain(name)
    }
    const cwd = await folder(config!.data)
    const ran = await midflight(['sidecar', 'sidecar.yaml', '--check'], { cwd })
    expect([ran.code, ran.err]).toEqual([0, ''])
  })
})
