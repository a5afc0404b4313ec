/** A directory of real files for one test, and what the file source makes of it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { originText } from '../src/issue.ts'
import type { Json, Path } from '../src/json.ts'
import { SourceError, type Document, type Source } from '../src/source.ts'
import { file, type FileOptions } from '../src/sources/file.ts'

export class Tree {
  readonly path: string

  constructor(parent: string = tmpdir()) {
    this.path = mkdtempSync(join(parent, 'midflight-'))
    onTestFinished(() => rmSync(this.path, { recursive: true, force: true }))
  }

  at(name: string): string {
    return join(this.path, name)
  }

  async write(files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(this.at(name)), { recursive: true })
      await writeFile(this.at(name), content)
    }
  }

  /** A file source on this directory, which sees no variables but those given. */
  source(paths: string | readonly string[], options: FileOptions = {}) {
    return file(paths, { cwd: this.path, variables: {}, ...options })
  }

  load(paths: string | readonly string[], options: FileOptions = {}): Promise<Document> {
    return load(this.source(paths, options))
  }
}

export async function tree(files: Readonly<Record<string, string | Uint8Array>> = {}): Promise<Tree> {
  const made = new Tree()
  await made.write(files)
  return made
}

export function load(source: Source, signal: AbortSignal = new AbortController().signal): Promise<Document> {
  return source.load(signal)
}

/** `gateway.yaml:3:9` */
export function origin(document: Document, path: Path): string | undefined {
  const found = document.origin?.(path)
  return found && originText(found)
}

/** The error of a load that must fail. */
export async function refusal(loading: Promise<{ config: Json }>): Promise<SourceError> {
  try {
    const { config } = await loading
    throw new Error(`was loaded: ${JSON.stringify(config)}`)
  } catch (error) {
    if (error instanceof SourceError) return error
    throw error
  }
}
