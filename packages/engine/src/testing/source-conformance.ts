/**
 * What every source promises, as cases that any test runner can run:
 * `for (const { name, skip, run } of testSource(…)) test.skipIf(skip)(skip ? `${name} (skipped: ${skip})` : name, run)`.
 * Each case has a place of its own.
 */
import { DeadlineError, within } from '../deadline.ts'
import { Place } from './source/driven.ts'
import { faultCases } from './source/faults.ts'
import type { Ability, SourceCase, SourceFactory } from './source/rig.ts'
import { valueCases } from './source/values.ts'

const defaultDeadlineMs = 15_000

export function testSource(factory: SourceFactory): readonly SourceCase[] {
  const { without = {}, deadlineMs = defaultDeadlineMs } = factory
  if (without.key !== undefined && without.prefix !== undefined) throw new TypeError('want a source that reads either')
  const usual = without.prefix === undefined ? 'prefix' : 'key'
  return Object.entries({ ...valueCases, ...faultCases }).map(([name, { needs, mode = usual, check }]) => {
    const skip = reasonOf(needs, without)
    return {
      name,
      ...(skip !== undefined && { skip }),
      async run() {
        const place = new Place(await factory.open(), mode, deadlineMs)
        try {
          for (const missing of missingOf(needs, place))
            throw new Error(`the rig has no ${missing}; say why in "without"`)
          await check(place)
        } finally {
          await closed(place, deadlineMs * 4)
        }
      },
    }
  })
}

/** @throws Error that says what to look for, where a runner could only say that the case never ended */
async function closed(place: Place, limitMs: number): Promise<void> {
  try {
    await within(limitMs, undefined, () => place.close())
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error
    const message = `it is not closed after ${limitMs} ms; want a feed or a load that ends soon after its signal aborts`
    throw new Error(message, { cause: error })
  }
}

function reasonOf(needs: readonly Ability[], without: SourceFactory['without'] = {}): string | undefined {
  for (const need of needs) if (without[need] !== undefined) return without[need]
  return undefined
}

const hooks: Readonly<Partial<Record<Ability, readonly (keyof Place['rig'])[]>>> = {
  loseAll: ['loseAll'],
  network: ['cutOff', 'letBack'],
  silence: ['silence', 'letBack'],
  drip: ['drip', 'letBack'],
  restart: ['stopServer', 'startServer'],
  compact: ['compact'],
  auth: ['wrongAuth'],
  tls: ['wrongTls'],
}

function missingOf(needs: readonly Ability[], { rig }: Place): readonly string[] {
  return needs.flatMap((need) => hooks[need] ?? []).filter((hook) => rig[hook] === undefined)
}
