/** Preloaded: the clock of this process is wrong by `MIDFLIGHT_CLOCK_MS`, and by `clockMs` once it is told so over IPC. */
const Right = Date
let wrongMs = Number(process.env['MIDFLIGHT_CLOCK_MS'] ?? 0)

globalThis.Date = class extends Right {
  constructor(...given: [] | [number]) {
    if (given.length === 0) super(Right.now() + wrongMs)
    else super(...given)
  }

  static override now(): number {
    return Right.now() + wrongMs
  }
} as DateConstructor

process.on('message', (told: { readonly clockMs?: number }) => {
  if (told.clockMs !== undefined) wrongMs = told.clockMs
})
