/** Nodes that are known by certificates: an agent and a sidecar as processes, and a real control plane with TLS. */
import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { freePort } from '../../../test/rig/free-ports.ts'
import { content, plane, type Plane } from './fleet-rig.ts'
import { finished, folder, lines, midflight, spawned, type Ran } from './rig.ts'

// Each command is a process, and there are many in a test.
vi.setConfig({ testTimeout: 120_000 })

const config = 'shop/gateway'
const node = 'URI:urn:midflight:agent:shop'

/** Authorities and what they issue, as files in a folder. */
async function authorities() {
  const cwd = await folder({ 'gateway.yaml': content })
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd, stdio: 'pipe' })
  const key = (name: string) =>
    ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`] as const
  const authority = (name: string) =>
    openssl('req', '-x509', ...key(name), '-days', '2', '-out', `${name}.pem`, '-subj', `/CN=${name}`)
  const issued = async (name: string, san: string, { by = 'ca', days = 2 } = {}) => {
    await writeFile(join(cwd, `${name}.ext`), `subjectAltName=${san}\n`)
    openssl('req', ...key(name), '-out', `${name}.csr`, '-subj', `/CN=${name}`)
    const from = ['-in', `${name}.csr`, '-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial']
    openssl('x509', '-req', ...from, '-days', String(days), '-out', `${name}.pem`, '-extfile', `${name}.ext`)
  }
  authority('ca')
  await issued('server', 'IP:127.0.0.1')
  return { cwd, openssl, authority, issued }
}

async function served(cwd: string, ...more: string[]) {
  const tls = ['--tls-cert', 'server.pem', '--tls-key', 'server.key', '--client-ca', 'ca.pem']
  const to = await plane({ cwd, more: [...tls, ...more] })
  const env = { MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, NODE_EXTRA_CA_CERTS: join(cwd, 'ca.pem') }
  return { ...to, run: (...args: string[]) => midflight(args, { cwd, env }) }
}

async function made(to: Plane): Promise<void> {
  await to.run('config', 'create', config)
  await to.run('publish', config, 'gateway.yaml', '-y', '--no-wait')
}

const yaml = (url: string, more: string) => `controlPlane:
  url: ${url}
  config: shop/gateway
  ca: ../ca.pem
${more}programs:
  - generic:
      name: app
      directory: app
      files: [{ path: app.json, from: '', as: json }]
`

test('an agent and a sidecar are known by their certificates; none, one of another authority and an expired one are refused', async () => {
  const { cwd, authority, issued } = await authorities()
  authority('stranger')
  await issued('right', node)
  await issued('wrong', node, { by: 'stranger' })
  await issued('expired', node, { days: 0 })
  await issued('bank', 'URI:urn:midflight:agent:bank')
  const to = await served(cwd)
  await made(to)
  const once = (...more: string[]) =>
    midflight(['agent', config, '--url', to.url, '--to', 'out.json', '--ca', 'ca.pem', '--once', ...more], { cwd })
  const refused = 'answers 401 to /v1/agent/shop%2Fgateway/poll: it takes neither the token nor the certificate'
  for (const name of [undefined, 'wrong', 'expired']) {
    const { code, err } = await once(...(name === undefined ? [] : ['--cert', `${name}.pem`, '--key', `${name}.key`]))
    expect([name, code, err]).toEqual([name, 1, expect.stringContaining(refused)])
  }
  const other = await once('--cert', 'bank.pem', '--key', 'bank.key')
  expect([other.code, other.err]).toEqual([1, expect.stringContaining('does not reach the config shop/gateway')])
  expect(await once('--cert', 'right.pem', '--key', 'right.key')).toMatchObject({ code: 0, err: '' })
  expect(JSON.parse(await readFile(join(cwd, 'out.json'), 'utf8'))).toMatchObject({ log: { level: 'info' } })

  await mkdir(join(cwd, 'side/app'), { recursive: true, mode: 0o700 })
  const side = async (more: string, ...flags: string[]) => {
    await writeFile(join(cwd, 'side/sidecar.yaml'), yaml(to.url, more))
    return await midflight(['sidecar', 'side/sidecar.yaml', ...flags], { cwd })
  }
  expect((await side('', '--once')).err).toContain(refused)
  expect(await side('  cert: ../right.pem\n  key: ../right.key\n', '--once')).toMatchObject({ code: 0, err: '' })
  for (const [more, said] of [
    ['  cert: ../right.pem\n', /sidecar\.yaml:5:9 controlPlane\.cert .*its key is missing; want both/],
    ['  key: ../right.key\n', /sidecar\.yaml:5:8 controlPlane\.key .*is missing; want both/],
    ['  cert: ../right.pem\n  key: ../wrong.key\n', /wrong\.key is not the key of the certificate in \S+right\.pem/],
    ['  cert: ../right.key\n  key: ../right.key\n', /right\.key holds no certificate; want PEM/],
    ['  cert: ../right.pem\n  key: ../right.pem\n', /right\.pem holds no private key without a passphrase; want PEM/],
    ['  cert: ../no.pem\n  key: ../right.key\n', /no\.pem cannot be read \(ENOENT\)/],
  ] as const) {
    const { code, err } = await side(more, '--check')
    expect([code, err]).toEqual([1, expect.stringMatching(said)])
  }
})

test.each([[], ['--no-websocket']])(
  'a certificate that was renewed in its files is the one of the next connection %j',
  async (...way) => {
    const { cwd, authority, issued } = await authorities()
    await issued('right', node)
    await copyFile(join(cwd, 'right.pem'), join(cwd, 'node.pem'))
    await copyFile(join(cwd, 'right.key'), join(cwd, 'node.key'))
    const port = ['--port', String(await freePort())]
    const first = await served(cwd, ...port)
    await made(first)
    const args = ['agent', config, '--to', 'out.json', '--ca', 'ca.pem', '--cert', 'node.pem', '--key', 'node.key']
    const child = spawned([...args, ...way, '--url', first.url], { cwd })
    const ran: Promise<Ran> = finished(child)
    onTestFinished(() => void child.kill('SIGKILL'))
    const seen = lines(child)
    await seen.until((line) => line.includes('started'))
    await first.stop()
    // From now on the control plane takes those of another authority only.
    authority('next')
    await issued('renewed', node, { by: 'next' })
    const again = await served(cwd, ...port, '--client-ca', 'next.pem')
    await seen.until((line) => line.includes('answers 401'))
    await copyFile(join(cwd, 'renewed.key'), join(cwd, 'node.key'))
    await copyFile(join(cwd, 'renewed.pem'), join(cwd, 'node.pem'))
    await writeFile(join(cwd, 'gateway.yaml'), content.replace('info', 'debug'))
    expect((await again.run('publish', config, 'gateway.yaml', '-y', '--no-wait')).code).toBe(0)
    await seen.until((line) => line.includes('committed'))
    await vi.waitUntil(async () => (await readFile(join(cwd, 'out.json'), 'utf8')).includes('debug'), {
      timeout: 60_000,
    })
    child.kill('SIGTERM')
    expect((await ran).code).toBe(0)
  },
)

test('a certificate on the list of --client-crl is taken no more, from SIGHUP on', async () => {
  const { cwd, openssl, issued } = await authorities()
  await issued('right', node)
  await issued('lost', node)
  await writeFile(join(cwd, 'index.txt'), '')
  await writeFile(join(cwd, 'crl.cnf'), '[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\ndefault_md=sha256\n')
  const list = () =>
    openssl(
      'ca',
      '-config',
      'crl.cnf',
      '-cert',
      'ca.pem',
      '-keyfile',
      'ca.key',
      '-gencrl',
      '-crldays',
      '2',
      '-out',
      'crl.pem',
    )
  list()
  const to = await served(cwd, '--client-crl', 'crl.pem')
  await made(to)
  const codes = async () => {
    const all: (number | null)[] = []
    const state = await folder()
    for (const name of ['right', 'lost']) {
      const args = [
        'agent',
        config,
        '--url',
        to.url,
        '--to',
        `${name}.json`,
        '--ca',
        'ca.pem',
        '--once',
        '--state',
        join(state, name),
      ]
      all.push((await midflight([...args, '--cert', `${name}.pem`, '--key', `${name}.key`], { cwd })).code)
    }
    return all
  }
  expect(await codes()).toEqual([0, 0])
  openssl('ca', '-config', 'crl.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key', '-revoke', 'lost.pem')
  list()
  process.kill(to.pid, 'SIGHUP')
  await vi.waitUntil(async () => (await codes())[1] === 1, { timeout: 60_000 })
  expect(await codes()).toEqual([0, 1])
  const without = await midflight(['serve', '--data', 'd', '--client-crl', 'crl.pem'], { cwd })
  expect([without.code, without.err]).toEqual([1, expect.stringContaining('want --client-ca too')])
})
