/**
 * Reads the code blocks of a Markdown page, and runs the page: what its blocks say is done in their order, and what
 * comes out is held against the block that follows. Which pages, and type checks, are `docs.test.ts`.
 *
 * The words after the language say what a block is:
 *
 *     ```ts check            is type-checked
 *     ```ts run              is type-checked and run to its end; the next `text` block is what it prints
 *     ```ts session          the same, but it goes on running: later `text` blocks are what it prints next
 *     ```yaml file=a.yaml    is written to that file, under a session as an edit by rename
 *     ```sh run              is run by a shell; if it prints something, the next `text` block is that
 *
 * `file=` names a TypeScript block too, so that others can import it. In a `text` block, `…` stands for anything, and
 * `8080` for any port: programs take it from `PORT`, which is 0 here.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export type Role = 'check' | 'run' | 'session' | 'file' | 'fragment'

export interface Block {
  /** Of its first fence, counting from 1. */
  readonly line: number
  readonly language: string
  readonly role: Role
  /** Where it is kept, relative to the page's directory. */
  readonly file: string
  readonly text: string
}

const patienceMs = 90_000

export function blocksOf(markdown: string): readonly Block[] {
  const blocks: Block[] = []
  const lines = markdown.split('\n')
  for (let i = 0; i < lines.length; i++) {
    const [, indent, info] = /^( *)```(\S.*)$/.exec(lines[i] ?? '') ?? []
    if (info === undefined || indent === undefined) continue
    const [language = '', ...words] = info.split(/\s+/)
    const line = i + 1
    const text: string[] = []
    for (i++; i < lines.length && lines[i]?.trimEnd() !== `${indent}\`\`\``; i++)
      text.push((lines[i] ?? '').slice(indent.length))
    const named = words.find((word) => word.startsWith('file='))?.slice('file='.length)
    const role =
      (['run', 'session', 'check'] as const).find((word) => words.includes(word)) ?? (named ? 'file' : 'fragment')
    blocks.push({ line, language, role, file: named ?? `line-${line}.${language}`, text: `${text.join('\n')}\n` })
  }
  return blocks
}

/** @param directory the page's own, with `node_modules` in it or above. @throws Error with what was printed instead. */
export async function runPage(
  blocks: readonly Block[],
  directory: string,
  variables: Readonly<Record<string, string>>,
): Promise<void> {
  const environment = {
    ...process.env,
    ...variables,
    NODE_OPTIONS: '--conditions=midflight-source',
    NO_COLOR: '1',
    PORT: '0',
  }
  let session: Session | undefined
  let expects: ((expected: string, line: number) => Promise<void>) | undefined
  try {
    for (const [i, block] of blocks.entries()) {
      const path = join(directory, block.file)
      if (block.language === 'text') {
        if (expects) await expects(block.text, block.line)
        expects = session && ((expected, line) => printed(session as Session, expected, line))
        continue
      }
      if (block.role === 'fragment') {
        if (!session) expects = undefined
        continue
      }
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(`${path}.new`, block.text)
      renameSync(`${path}.new`, path)
      if (block.role === 'check' || block.role === 'file') continue
      if (block.role === 'session') {
        session = sessionOf(['node', block.file], directory, environment)
        expects = (expected, line) => printed(session as Session, expected, line)
        continue
      }
      const output = await outputOf(
        block.language === 'sh' ? ['bash', '-eu', block.file] : ['node', block.file],
        directory,
        { ...environment, ...(session && { PID: String(session.child.pid) }) },
        block.line,
      )
      if (block.language === 'sh' && output === '' && session) continue
      if (blocks[i + 1]?.language !== 'text') hold(output, '', block.line)
      expects = async (expected, line) => hold(output, expected, line)
    }
  } finally {
    if (session && session.child.exitCode === null) {
      session.child.kill('SIGKILL')
      await once(session.child, 'exit')
    }
  }
}

interface Session {
  readonly child: ChildProcess
  readonly log: string
  /** How much of the log has been accounted for. */
  seen: number
}

function sessionOf(command: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Session {
  const log = join(cwd, 'session.log')
  const out = openSync(log, 'w')
  const child = spawn(command[0] as string, command.slice(1), { cwd, env, stdio: ['ignore', out, out] })
  closeSync(out)
  return { child, log, seen: 0 }
}

async function printed(session: Session, expected: string, line: number): Promise<void> {
  const until = Date.now() + patienceMs
  for (;;) {
    const all = readFileSync(session.log, 'utf8')
    const fresh = all.slice(session.seen)
    if (matches(fresh, expected)) {
      session.seen = all.length
      return
    }
    if (Date.now() > until || session.child.exitCode !== null) return hold(fresh, expected, line)
    await sleep(20)
  }
}

async function outputOf(
  command: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  line: number,
): Promise<string> {
  const log = join(cwd, `line-${line}.log`)
  const out = openSync(log, 'w')
  const child = spawn(command[0] as string, command.slice(1), { cwd, env, stdio: ['ignore', out, out] })
  closeSync(out)
  const tooLong = setTimeout(() => child.kill('SIGKILL'), patienceMs)
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  clearTimeout(tooLong)
  const output = readFileSync(log, 'utf8')
  if (signal !== null) throw new Error(`line ${line}: did not end within ${patienceMs} ms; printed\n${output}`)
  if (code !== 0) throw new Error(`line ${line}: ended with ${code}; printed\n${output}`)
  return output
}

function hold(output: string, expected: string, line: number): void {
  if (matches(output, expected)) return
  throw new Error(`line ${line}: want\n${expected}\nbut it printed\n${output}`)
}

function matches(output: string, expected: string): boolean {
  const literal = expected.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${literal.replaceAll('…', '[^]*?').replaceAll('8080', '\\d+')}$`).test(output.trim())
}
