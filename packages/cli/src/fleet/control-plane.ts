/** The control plane's own code, for the commands that run one or open its store. Loaded by those only. */
import { chmodSync, closeSync, openSync, writeSync } from 'node:fs'
import { Refusal } from '../refusal.ts'

export type ControlPlaneCode = typeof import('@midflight/control-plane')

export async function controlPlaneCode(): Promise<ControlPlaneCode> {
  return await import('@midflight/control-plane')
}

/** What the control plane itself refuses, in its own words; a bug stays one. */
export function storeRefusal({ ServeError, StoreError, KeyRingError }: ControlPlaneCode, error: unknown): unknown {
  if (error instanceof ServeError) {
    const [why = '', ...wanted] = error.message.replace(/^serve: /, '').split('; pass ')
    return new Refusal('refused', why, wanted.length > 0 ? flagsFor(wanted.join('; pass ')) : undefined)
  }
  if (error instanceof KeyRingError) return new Refusal('unreadable', error.message)
  if (error instanceof StoreError) return new Refusal('unreadable', `${error.row} ${wordsOf(error)}`, error.recover)
  const { code, path, syscall } = error as NodeJS.ErrnoException
  if (typeof code === 'string' && typeof syscall === 'string') {
    const what = code === 'EEXIST' || code === 'ENOTDIR' ? 'is no directory' : `cannot be used (${code})`
    return new Refusal(
      'unreadable',
      `${path ?? 'the data directory'} ${what}`,
      '--data says where store and keys are kept',
    )
  }
  return error
}

/** What a program passes as options is given here by flags. */
function flagsFor(wanted: string): string {
  const flags = {
    allowedHosts: '--allowed-host NAME',
    tlsElsewhere: '--tls-elsewhere',
    tls: '--tls-cert and --tls-key',
  }
  return `want ${wanted.replace(/\b(?:allowedHosts|tlsElsewhere|tls)\b/g, (name) => flags[name as keyof typeof flags])}`
}

/** Without the row before it and the way out behind it. */
function wordsOf({ row, message, recover }: { row: string; message: string; recover: string }): string {
  return message.slice(row.length + 1, message.length - recover.length - 2)
}

/** Into a file that only its owner can read. @throws Refusal */
export function writeSecret(path: string, secret: string): void {
  try {
    const file = openSync(path, 'w', 0o600)
    try {
      // One that was there before may be open to others.
      chmodSync(path, 0o600)
      writeSync(file, `${secret}\n`)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    throw new Refusal(
      'unreadable',
      `${path} cannot be written (${(error as NodeJS.ErrnoException).code ?? String(error)})`,
    )
  }
}
