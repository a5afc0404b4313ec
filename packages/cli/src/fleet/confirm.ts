/** Questions to whoever sits at the terminal. */
import process from 'node:process'
import { createInterface } from 'node:readline/promises'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'

/**
 * Asks on standard error, so that standard output stays a result.
 * @returns whether the answer was yes; anything but `y` and `yes` is no.
 * @throws Refusal if nobody can answer.
 */
export async function confirmed(terminal: Terminal, question: string): Promise<boolean> {
  requireSomebody('asks first, and standard input is no terminal; want --yes')
  const answer = await asked(terminal, `${question} [y/N] `)
  return /^y(?:es)?$/i.test(answer.trim())
}

/** @throws Refusal where standard input is no terminal. */
export function requireSomebody(why: string): void {
  if (process.stdin.isTTY) return
  throw new Refusal('usage', why)
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
