/** `midflight backup`: a copy of a control plane's store, whole and of one moment, also while it runs. */
import { readdirSync, statSync } from 'node:fs'
import { Command } from 'commander'
import { askBackup } from '../fleet/backup-door.ts'
import { controlPlaneCode, storeRefusal } from '../fleet/control-plane.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import type { Terminal } from '../terminal.ts'
import { defaultData } from './serve.ts'

export function backup(terminal: Terminal): Command {
  return new Command('backup')
    .summary('copy the store of a control plane, also while it runs')
    .description(
      'Writes a copy of the store, whole and of one moment, also while the control plane runs, and checks it. Run it on the same machine, as the same user. The signing key is not in it.',
    )
    .argument('<file>', 'what to write; must not be there yet')
    .option('--data <path>', 'data directory of the control plane', defaultData)
    .option('--json', 'print { path, sizeBytes, configs, releases, contents, audit }')
    .action((path: string, flags: { data: string; json?: true }) => run(terminal, path, flags))
}

async function run(terminal: Terminal, path: string, { data, json }: { data: string; json?: true }): Promise<void> {
  // Looked for before: opening it would make an empty one.
  if (readdirIfThere(data).length === 0) {
    throw new Refusal('unreadable', `there is no control plane's data in ${data}`, '--data says where it is')
  }
  const code = await controlPlaneCode()
  try {
    if (!(await askBackup(data, path))) {
      const store = await code.openSqlite({ directory: data })
      try {
        await store.backup(path)
      } finally {
        await store.close()
      }
    }
    const { problems, ...counts } = code.verifyStore(path)
    const [problem] = problems
    if (problem !== undefined) throw problem
    const { size: sizeBytes } = statSync(path)
    if (json) return terminal.document({ path, sizeBytes, ...counts })
    terminal.print(
      `${terminal.paint.green('✔')} ${path}: ${plural(counts.configs, 'config')}, ${plural(counts.releases, 'release')}, ${plural(counts.audit, 'audit entry').replace('entrys', 'entries')}; read back and checked`,
    )
  } catch (error) {
    throw storeRefusal(code, error)
  }
}

function readdirIfThere(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    // Not there, or no directory: it holds nothing.
    return []
  }
}
