/** What every parser of this folder returns. */
import type { Origin } from '../issue.ts'
import type { Json, Path } from '../json.ts'

export interface ParsedText {
  /** Plain objects, arrays and scalars. Whoever takes it over may freeze it. */
  readonly config: Json
  /**
   * Where the value at `path` (object keys and array indexes) was written: the first character of the value, or of
   * its key where the value has no text (`key:` in YAML). `undefined` where there is no such value.
   * Worked out from the text when asked for.
   */
  origin(path: Path): Origin | undefined
  /**
   * Whether the string at `path` was written as a plain (unquoted) YAML scalar: `${PORT}` written so is resolved by
   * YAML's rules after substitution. Always false in the other formats.
   */
  isPlain(path: Path): boolean
  /** False: no string of the text can hold a `$`, so interpolation can be skipped. */
  readonly mayHaveReferences: boolean
}
