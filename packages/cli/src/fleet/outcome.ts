/** After a publish or a rollback: waits for the fleet, shows how it goes, and turns what came of it into an exit status. */
import { Option, type Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Address } from '../admin/address.ts'
import { Refusal } from '../refusal.ts'
import { DeliveryBar, deliveryLines } from '../show/delivery.ts'
import type { Terminal } from '../terminal.ts'
import { follow, type Delivery } from './delivery.ts'

export interface WaitFlags {
  /** Milliseconds; `false` after `--no-wait`. */
  readonly wait: number | false
}

const defaultWait = '60s'

export function withWaitOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--wait <time>', 'how long to follow it, like 30s or 5m')
        .argParser(waitMs)
        .default(waitMs(defaultWait), defaultWait),
    )
    .option('--no-wait', 'do not follow it')
}

function waitMs(text: string): number {
  const [, digits, unit] = /^(\d{1,6})(ms|s|m|h)$/.exec(text) ?? []
  const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit ?? '']
  if (unitMs === undefined) {
    throw new Refusal('usage', `--wait is ${JSON.stringify(text)}; want a time like 30s, 5m or 1h`)
  }
  return Number(digits) * unitMs
}

/** @returns `undefined` if nobody waits. Sets exit status 2 if not every node that is here runs it. */
export async function delivered(
  terminal: Terminal,
  address: Address,
  { config, number }: ReleaseInfo,
  { wait, json }: WaitFlags & { readonly json?: true },
): Promise<Delivery | undefined> {
  if (wait === false) return undefined
  const bar = new DeliveryBar(terminal)
  const began = performance.now()
  let delivery: Delivery
  try {
    const onLook = (seen: Delivery) => bar.draw(seen)
    delivery = await follow(address, config, number, { waitMs: wait, signal: terminal.interrupted, onLook })
  } catch (error) {
    bar.close()
    // It is published all the same: that must not look like a publish that was refused.
    terminal.exitCode = 2
    if (!(error instanceof Refusal)) throw error
    terminal.note(`published, but the nodes cannot be seen: ${error.message}`)
    return undefined
  }
  bar.close()
  if (!delivery.converged) terminal.exitCode = 2
  if (!json) terminal.print(deliveryLines(delivery, performance.now() - began, terminal.look()))
  return delivery
}
