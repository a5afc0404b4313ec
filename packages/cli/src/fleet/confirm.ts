/** Questions to whoever sits at the terminal. */
import process from 'node:process'
import { createInterface } from 'node:readline/promises'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'

/** Of every command that changes what nodes run: it shows what would change, and asks. */
export interface YesFlag {
  readonly yes?: true
}

/** Before anything is begun. @throws Refusal where nobody could answer: standard input is no terminal. */
export function requireSomebody(what: string, { yes }: YesFlag): void {
  if (yes || process.stdin.isTTY) return
  throw new Refusal('usage', `${what} asks first, and standard input is no terminal; want --yes`)
}

/**
 * Asks on standard error, so that standard output stays a result. Anything but `y` and `yes` is no.
 * @param not what has not happened then: `not published`
 * @throws Refusal unless the answer is yes.
 */
export async function requireYes(terminal: Terminal, { yes }: YesFlag, question: string, not: string): Promise<void> {
  if (yes) return
  const answer = await asked(terminal, `${question} [y/N] `)
  if (!/^y(?:es)?$/i.test(answer.trim())) throw new Refusal('refused', not)
}

async function asked(terminal: Terminal, question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  // While it reads, the terminal hands Ctrl-C to it.
  lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  try {
    return await lines.question(question, { signal: terminal.interrupted })
  } catch (error) {
    // Ctrl-D is no answer.
    if ((error as Error).name === 'AbortError') return ''
    throw error
  } finally {
    lines.close()
  }
}

/** A secret: typed without being shown, or the first line of what is piped in. */
export async function secretFrom(terminal: Terminal, question: string): Promise<string> {
  if (!process.stdin.isTTY) {
    let text = ''
    for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk as string
    return text.split(/\r?\n/, 1)[0] ?? ''
  }
  process.stderr.write(question)
  const { stdin } = process
  stdin.setRawMode(true).setEncoding('utf8').resume()
  let typed = ''
  try {
    for await (const chunk of stdin as AsyncIterable<string>) {
      for (const key of chunk) {
        if (key === '\r' || key === '\n' || key === '\u0004') return typed
        if (key === '\u0003') {
          stdin.setRawMode(false)
          process.kill(process.pid, 'SIGINT')
          await new Promise((resolve) => terminal.interrupted.addEventListener('abort', resolve))
        }
        typed = key === '\u007f' || key === '\b' ? typed.slice(0, -1) : typed + key
      }
    }
    return typed
  } finally {
    stdin.setRawMode(false).pause()
    process.stderr.write('\n')
  }
}
