/**
 * Issues with the line they are about and a mark under the place. A line is shown as it stands in the file, so what
 * may be secret in it is covered first.
 */
import { readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { originText, parsePath, pathText, type Issue, type Origin } from 'midflight'
import { printable, widthOf } from '../printable.ts'
import type { Paint } from '../terminal.ts'

export interface ExcerptFrom {
  /** Where the names of files in origins count from. */
  readonly cwd: string
  /** Path patterns of secrets. */
  readonly secretPaths: readonly string[]
  readonly paint: Paint
  readonly columns: number
}

/** A larger file is not read again only to show a line of it. */
const maxExcerptBytes = 32 * 1024 * 1024

/** `file:line:col path message`, the line and `^` under the place, the hint, the other places. */
export async function issueLines(issues: readonly Issue[], from: ExcerptFrom): Promise<string[]> {
  const files = new Map<string, readonly string[] | undefined>()
  const lines: string[] = []
  for (const issue of inOrder(issues)) {
    lines.push(...headLines(issue, from.paint))
    for (const origin of issue.origin ? [issue.origin, ...(issue.related ?? [])] : []) {
      if (!files.has(origin.file)) files.set(origin.file, await linesOf(resolve(from.cwd, origin.file)))
      const text = files.get(origin.file)
      if (origin !== issue.origin) lines.push(`  ${from.paint.dim(`also ${printable(originText(origin))}`)}`)
      if (text) lines.push(...excerpt(text, origin, from))
    }
    if (issue.hint !== undefined) lines.push(`  ${from.paint.cyan(printable(issue.hint))}`)
  }
  return lines
}

/** As they stand in the files, each file's together; those without a place come first. */
function inOrder(issues: readonly Issue[]): Issue[] {
  const files = [...new Set(issues.map(({ origin }) => origin?.file))]
  const place = ({ origin }: Issue): number[] => [
    origin === undefined ? -1 : files.indexOf(origin.file),
    origin?.line ?? 0,
    origin?.column ?? 0,
  ]
  return issues.toSorted((a, b) => {
    const [x, y] = [place(a), place(b)]
    const first = x.findIndex((n, i) => n !== y[i])
    return first < 0 ? 0 : (x[first] ?? 0) - (y[first] ?? 0)
  })
}

/** The same for issues of another process, whose files need not be here. */
export function remoteIssueLines(issues: readonly Issue[], paint: Paint): string[] {
  return issues.flatMap((issue) => [
    ...headLines(issue, paint).map((line) => `  ${line}`),
    ...(issue.related ?? []).map((origin) => `    ${paint.dim(`also ${printable(originText(origin))}`)}`),
    ...(issue.hint === undefined ? [] : [`    ${paint.cyan(printable(issue.hint))}`]),
  ])
}

function headLines({ origin, path, message }: Issue, paint: Paint): string[] {
  const where = origin ? `${paint.bold(printable(originText(origin)))} ` : ''
  const what = path.length > 0 ? `${paint.yellow(printable(pathText(path)))} ` : ''
  // A message of several lines (a validator's own) stays one, whatever is in it.
  return [`${where}${what}${paint.red(printable(message))}`]
}

async function linesOf(path: string): Promise<readonly string[] | undefined> {
  try {
    const found = await stat(path)
    if (!found.isFile() || found.size > maxExcerptBytes) return undefined
    return (await readFile(path, 'utf8')).split(/\r\n|\n|\r/)
  } catch {
    // The issue itself says what is wrong with the file; without an excerpt it is as true.
    return undefined
  }
}

function excerpt(text: readonly string[], origin: Origin, from: ExcerptFrom): string[] {
  if (origin.line === undefined) return []
  const given = text[origin.line - 1] ?? ''
  // Something is missing where the text ends: the last line that says something is shown, with the mark behind it.
  const line =
    given.trim() === '' ? text.slice(0, origin.line).findLastIndex((other) => other.trim() !== '') + 1 : origin.line
  if (line === 0) return []
  const { paint } = from
  const number = String(line)
  const room = Math.max(20, from.columns - number.length - 6)
  const covered = withoutSecrets(text, line - 1, from.secretPaths)
  const column = line === origin.line ? origin.column : covered.length + 1
  const at = Math.min(Math.max(0, (column ?? 1) - 1), covered.length)
  // A long line is shown around the place.
  const start = at <= room - 10 ? 0 : Math.max(0, at - Math.floor(room / 2))
  const head = start > 0 ? '…' : ''
  const shown = `${head}${lineText(covered.slice(start, start + room))}${covered.length > start + room ? '…' : ''}`
  const before = widthOf(head + lineText(covered.slice(start, at)))
  const lines = [`  ${paint.dim(`${number} │`)} ${shown}`]
  if (column !== undefined) {
    lines.push(`  ${paint.dim(`${' '.repeat(number.length)} │`)} ${' '.repeat(before)}${paint.red('^')}`)
  }
  return lines
}

/** Tabs as two spaces: the line is there to be recognised. */
function lineText(text: string): string {
  return printable(text.replaceAll('\t', '  '))
}

/**
 * The line without the values of keys that the patterns call secret. It goes by names and indentation, as the file
 * may not even parse; where it cannot tell, it covers too much rather than too little.
 */
function withoutSecrets(text: readonly string[], index: number, patterns: readonly string[]): string {
  const line = text[index] ?? ''
  const names = new Set(patterns.map((pattern) => parsePath(pattern).findLast((step) => step !== '*')))
  if (names.size === 0) return line
  if (names.has(undefined)) return '‹secret›'
  const secretKey = new RegExp(
    `(?<![\\w-])(${[...names].map((name) => escaped(name ?? '')).join('|')})(?![\\w-])["']?\\s*[:=\\]]`,
  )
  const own = secretKey.exec(line)
  if (own) return `${line.slice(0, own.index + own[0].length)} ‹secret›`
  // A line without a key goes on with what the nearest key above began.
  const anyKey = /[\w"'\]-]\s*[:=]/
  if (!anyKey.test(line)) {
    const begun = text.slice(0, index).findLast((above) => anyKey.test(above))
    if (begun !== undefined && secretKey.test(begun)) return `${' '.repeat(indentOf(line))}‹secret›`
  }
  // Inside a block scalar, a list or an object below such a key: the lines above that stand further left.
  let indentation = indentOf(line)
  for (let i = index - 1; i >= 0 && indentation > 0; i--) {
    const above = text[i] ?? ''
    if (above.trim() === '' || indentOf(above) >= indentation) continue
    indentation = indentOf(above)
    if (secretKey.test(above)) return `${' '.repeat(indentOf(line))}‹secret›`
  }
  return line
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length
}

function escaped(name: string): string {
  return name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
