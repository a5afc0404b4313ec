/** The console blocks of a page: `$ command`, then what it prints. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'

export interface Shown {
  readonly command: string
  readonly output: string
}

export function commandsIn(page: string): Shown[] {
  const blocks = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].map(([, block = '']) => block)
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const lines = part.trimEnd().split('\n')
        const end = endOfCommand(lines)
        return { command: lines.slice(0, end).join('\n'), output: lines.slice(end).join('\n') }
      }),
  )
}

/** A command goes on while a quote is open. */
function endOfCommand(lines: readonly string[]): number {
  let open = false
  for (const [i, line] of lines.entries()) {
    if ((line.match(/'/g) ?? []).length % 2 === 1) open = !open
    if (!open) return i + 1
  }
  return lines.length
}

/** All in one shell. `nodes` is called before the first that asks for nodes. */
export async function run(
  commands: readonly string[],
  url: string,
  token: string,
  nodes: () => Promise<void>,
): Promise<string[]> {
  const printed: string[] = []
  let variables = ''
  let joined = false
  for (const command of commands) {
    if (!joined && command.includes('/nodes')) {
      joined = true
      await nodes()
    }
    const script = `${variables}\n${command}\necho; echo "===$(set | grep -E "^(ETAG|DRAFT|ID|GRACE)=" | base64 -w0)"`
    const env = {
      ...process.env,
      M: url,
      C: `${url}/v1/configs/shop%2Fgateway%2Fprod`,
      AUTH: `Authorization: Bearer ${token}`,
    }
    const shell = spawn('sh', ['-c', script], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const [out = '', kept = ''] = (await text(shell.stdout)).split('===')
    variables = Buffer.from(kept, 'base64').toString()
    printed.push(out.trimEnd())
  }
  return printed
}
