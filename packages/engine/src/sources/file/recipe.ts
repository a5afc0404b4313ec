/** What a file source was asked to put together: its options, checked and filled in. */
import type { Format, TextLimits } from '../../text/parse.ts'
import type { Path } from '../../json.ts'

export interface Recipe {
  readonly cwd: string
  /** As given: files, directories and patterns. */
  readonly paths: readonly string[]
  readonly layers: readonly string[]
  readonly format: Format | undefined
  readonly includeKey: string | false
  readonly envFiles: readonly string[]
  /** `false`: a `$` means nothing. */
  readonly variables: Readonly<Record<string, string | undefined>> | false
  readonly named: readonly Path[]
  /** Bytes; a larger file is not even read. */
  readonly maxBytes: number
  /** How old a file must look before it is read, milliseconds. */
  readonly settleMs: number
  readonly limits: TextLimits
}
