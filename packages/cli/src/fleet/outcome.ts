/** After a publish or a rollback: waits for the fleet, shows how it goes, and turns what came of it into an exit status. */
import { Option, type Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Address } from '../admin/address.ts'
import { Refusal } from '../refusal.ts'
import { rolloutLines, RolloutScreen } from '../show/rollout.ts'
import { DeliveryBar, deliveryLines } from '../show/delivery.ts'
import type { Terminal } from '../terminal.ts'
import { follow, type Delivery } from './delivery.ts'
import type { Published } from './records.ts'
import { exitCodeOf, followRollout, type RolloutView } from './rollout.ts'
import { timeMs } from './times.ts'

export interface WaitFlags {
  /** Milliseconds; `true`: to its end; `false` after `--no-wait`. */
  readonly wait: number | boolean
}

const defaultWait = '60s'

export function withWaitOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--wait [time]', 'how long to follow it, without a time to its end; like 30s or 5m')
        .argParser((text: string) => timeMs('--wait', text))
        .default(timeMs('--wait', defaultWait), defaultWait),
    )
    .option('--no-wait', 'do not follow it')
}

/**
 * Follows a release that was published: its rollout if it has one, and then its nodes. Sets exit status 1 if it was
 * rolled back or gone no further, 2 if it is under way still or not every node that is here runs it.
 */
export async function outcome(
  terminal: Terminal,
  address: Address,
  { release, rollout }: Published,
  flags: WaitFlags & { readonly json?: true },
): Promise<{ readonly delivery?: Delivery; readonly rollout?: RolloutView | Published['rollout'] }> {
  if (rollout === undefined || flags.wait === false) {
    const delivery = await delivered(terminal, address, release, flags)
    return { ...(rollout && { rollout }), ...(delivery && { delivery }) }
  }
  const waitMs = flags.wait === true ? Infinity : flags.wait
  const began = performance.now()
  const screen = new RolloutScreen(terminal, flags.json === true)
  const { config, number } = release
  const options = { waitMs, signal: terminal.interrupted, onLook: (seen: RolloutView) => screen.draw(seen) }
  let found: RolloutView
  try {
    found = await followRollout(address, config, number, options)
  } catch (error) {
    terminal.exitCode = 2
    if (!(error instanceof Refusal)) throw error
    terminal.note(`published, but its rollout cannot be seen: ${error.message}`)
    return { rollout }
  }
  screen.clear()
  if (!flags.json) terminal.print(rolloutLines(found, terminal.look()))
  terminal.exitCode = exitCodeOf(found)
  if (terminal.exitCode === 2)
    terminal.note(`it goes on; midflight rollout status ${config} ${number} --watch follows it`)
  if (found.phase !== 'completed') return { rollout: found }
  const wait = Math.max(0, waitMs - (performance.now() - began))
  const delivery = await delivered(terminal, address, release, { ...flags, wait })
  return { rollout: found, ...(delivery && { delivery }) }
}

/** @returns `undefined` if nobody waits. Sets exit status 2 if not every node that is here runs it. */
async function delivered(
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
    delivery = await follow(address, config, number, {
      waitMs: wait === true ? Infinity : wait,
      signal: terminal.interrupted,
      onLook,
    })
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
