/** Units of systemd. No systemd runs where tests run: a program of that name stands for it, and remembers what it was asked. */
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { program, systemd } from '../src/program/index.ts'
import { closeEngines, engineOf, tree } from './program-rig.ts'

describe('a unit of systemd (with a stand-in for systemctl, as no systemd runs here)', () => {
  const made: string[] = []
  afterEach(async () => {
    await closeEngines()
    for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true })
  })

  async function rig() {
    const directory = tree({ 'app.conf': 'a=0\n' })
    const beside = tree({}, 'midflight-systemctl-')
    made.push(directory, beside)
    const systemctl = join(beside, 'systemctl')
    // Fails as a unit does whose ExecReload reads its file.
    writeFileSync(systemctl, '#!/bin/sh\necho "$@" >>"$(dirname "$0")/asked"\n! grep -q bad app.conf\n')
    chmodSync(systemctl, 0o755)
    const files = [{ path: 'app.conf', from: 'app', as: 'raw' }] as const
    const options = systemd({ unit: 'app@1.service', directory, files, systemctl, limits: { probeMs: 300 } })
    const { set } = await engineOf([program(options)], { app: 'a=1\n' })
    const asked = () => readFileSync(join(beside, 'asked'), 'utf8').trim().split('\n')
    return { set, asked, live: () => readFileSync(join(directory, 'app.conf'), 'utf8'), options }
  }

  test('it is reloaded, and asked whether it is active', async () => {
    const { asked, options } = await rig()
    expect(options.name).toBe('app-1')
    expect(asked()).toEqual(['reload app@1.service', 'is-active --quiet app@1.service'])
  })

  test('a reload that fails brings the old file back, and it is reloaded again', async () => {
    const { set, asked, live } = await rig()
    const outcome = await set({ app: 'bad\n' })
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit', failed: 'app-1' })
    expect(live()).toBe('a=1\n')
    expect(asked().slice(2)).toEqual([
      'reload app@1.service',
      'reload app@1.service',
      'is-active --quiet app@1.service',
    ])
  })

  test('a name that systemctl would take for an option is none', () => {
    const files = [{ path: 'a', from: 'a', as: 'raw' }] as const
    expect(() => systemd({ unit: '--root=/x', directory: '/tmp/x', files })).toThrow('want one such as dnsmasq.service')
  })
})
