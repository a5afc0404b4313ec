/**
 * What `midflight login` keeps: the tokens of control planes, and which of those is meant when none is named. One file
 * of mode 0600 in `$XDG_CONFIG_HOME/midflight`, or `~/.config/midflight`.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import process from 'node:process'
import { Refusal } from '../refusal.ts'

export interface Logins {
  /** The address that is meant when none is named. */
  readonly current: string | undefined
  /** Tokens by address, with a slash at its end. */
  readonly tokens: Readonly<Record<string, string>>
}

export function loginPath(): string {
  const base = process.env['XDG_CONFIG_HOME']
  // By the specification a relative path there counts for nothing.
  const folder = base !== undefined && isAbsolute(base) ? base : join(homedir(), '.config')
  return join(folder, 'midflight', 'login.json')
}

const none: Logins = { current: undefined, tokens: {} }

/** @throws Refusal if others may read the file, or it is not what was written. */
export function readLogins(): Logins {
  const path = loginPath()
  let text: string
  try {
    const mode = statSync(path).mode & 0o777
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new Refusal(
        'unreadable',
        `${path} has the mode 0${mode.toString(8)}, so others may read its tokens; want 0600`,
        `chmod 600 ${path}, and have the tokens revoked if others use this machine`,
      )
    }
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Refusal) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return none
    throw new Refusal('unreadable', `${path} cannot be read (${code ?? String(error)})`)
  }
  return parsed(path, text)
}

function parsed(path: string, text: string): Logins {
  const damaged = (): Refusal =>
    new Refusal('unreadable', `${path} is not what midflight login writes`, 'remove it, and log in again')
  let found: unknown
  try {
    found = JSON.parse(text)
  } catch {
    throw damaged()
  }
  const { current, tokens } = (found ?? {}) as { current?: unknown; tokens?: unknown }
  const known =
    (current === undefined || typeof current === 'string') &&
    typeof tokens === 'object' &&
    tokens !== null &&
    Object.values(tokens).every((token) => typeof token === 'string')
  if (!known) throw damaged()
  return { current, tokens: tokens as Record<string, string> }
}

/** All or nothing. The last login forgotten removes the file. */
export function saveLogins(logins: Logins): void {
  const path = loginPath()
  try {
    if (Object.keys(logins.tokens).length === 0) return rmSync(path, { force: true })
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const beside = `${path}.${process.pid}.new`
    writeFileSync(beside, `${JSON.stringify(logins, null, 2)}\n`, { mode: 0o600 })
    chmodSync(beside, 0o600)
    renameSync(beside, path)
  } catch (error) {
    throw new Refusal(
      'unreadable',
      `${path} cannot be written (${(error as NodeJS.ErrnoException).code ?? String(error)})`,
    )
  }
}
