/**
 * Where output goes and what it may look like there: results to standard output, everything else to standard error,
 * colours only on a terminal. What is written is up to the commands.
 */
import process from 'node:process'
import colours from 'picocolors'
import { jsonText, printable, printableLines } from './printable.ts'
import type { Refusal } from './refusal.ts'

export type Paint = ReturnType<typeof colours.createColors>

export interface Look {
  readonly paint: Paint
  /** Tables and values are cut to it. */
  readonly columns: number
  /** Sentences are broken at it: on a terminal only, since programs look for whole lines. */
  readonly wrapAt: number
}

export interface Terminal {
  /** For standard output. */
  readonly paint: Paint
  /** For standard error. */
  readonly errorPaint: Paint
  /** Columns of standard output: of the terminal, else `COLUMNS`, else 120. */
  columns(): number
  /** Whether a person watches standard output, so that lines may be redrawn. */
  readonly live: boolean
  /** How to draw for standard output. */
  look(): Look
  /** A line, or a list of them, to standard output. */
  print(...lines: readonly (string | readonly string[])[]): void
  /** One JSON document to standard output. */
  document(value: unknown): void
  /** One line of JSON to standard output. */
  jsonLine(value: unknown): void
  /** A line to standard error. */
  note(line: string): void
  /** To standard output as it is. */
  raw(text: string): void
  /** With what the process exits when it is done. */
  exitCode: number
  /** Aborts on Ctrl-C. */
  readonly interrupted: AbortSignal
  /** What is done after Ctrl-C and before the process ends; a second Ctrl-C does not wait for it. */
  lastly(work: () => Promise<unknown>): void
}

export function openTerminal(): Terminal {
  const { stdout, stderr, env } = process
  const interrupt = new AbortController()
  let last: (() => Promise<unknown>) | undefined
  process.once('SIGINT', () => {
    interrupt.abort()
    // Whoever holds something (the terminal, a stream) lets go on the abort; only what is in `last` has to be finished.
    const exit = () => setImmediate(() => process.exit(130))
    if (last === undefined) return exit()
    last().then(exit, exit)
  })
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader has gone (`| head`): it has what it wanted.
      process.exit(error.code === 'EPIPE' ? terminal.exitCode : 1)
    })
  }
  const terminal: Terminal = {
    paint: colours.createColors(coloured(stdout, env)),
    errorPaint: colours.createColors(coloured(stderr, env)),
    columns: () => columnsOf(stdout, env),
    look: () => ({
      paint: terminal.paint,
      columns: terminal.columns(),
      wrapAt: terminal.live ? terminal.columns() : Infinity,
    }),
    live: stdout.isTTY && env['TERM'] !== 'dumb',
    print: (...lines) => void stdout.write(`${lines.flat().join('\n')}\n`),
    document: (value) => void stdout.write(`${jsonText(value, 2)}\n`),
    jsonLine: (value) => void stdout.write(`${jsonText(value)}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    raw: (text) => void stdout.write(text),
    exitCode: 0,
    interrupted: interrupt.signal,
    lastly: (work) => (last = work),
  }
  return terminal
}

/** https://no-color.org and https://force-color.org */
function coloured(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): boolean {
  const force = env['FORCE_COLOR']
  if (force !== undefined && force !== '') return force !== '0' && force !== 'false'
  if (env['NO_COLOR']) return false
  // Of a pipe it is undefined, for which picocolors would take its own guess.
  return stream.isTTY === true && env['TERM'] !== 'dumb'
}

function columnsOf(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): number {
  const given = Number(stream.columns ?? env['COLUMNS'])
  return Number.isInteger(given) && given > 0 ? Math.max(given, 40) : 120
}

/** What is wrong, for people on standard error and, where JSON was asked for, for programs on standard output. */
export function refuse(terminal: Terminal, refusal: Refusal, json: boolean): void {
  const { code, message, hint, issues } = refusal
  const paint = terminal.errorPaint
  terminal.note(`${paint.red('midflight:')} ${printableLines(message, 2).join('\n')}`)
  for (const issue of issues) {
    // A message that is made of its issues has said it.
    if (message.includes(`${issue.path} ${issue.message}`)) continue
    const place = issue.path === '' ? '' : `${paint.yellow(printable(issue.path))} `
    terminal.note(`  ${place}${paint.red(printable(issue.message))}`)
  }
  if (hint !== undefined) terminal.note(`  ${paint.dim(printable(hint))}`)
  if (json) {
    const extras = { ...(hint !== undefined && { hint }), ...(issues.length > 0 && { issues }) }
    terminal.document({ error: { code, message, ...extras } })
  }
  terminal.exitCode = 1
}
