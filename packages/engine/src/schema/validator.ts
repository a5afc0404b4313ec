/** What a compiled schema can do. Only the shape; `compile` in `schema.ts` makes one. */
import type { Issue } from '../issue.ts'
import type { Json } from '../json.ts'

export interface Validator {
  /**
   * Checks the whole of `config` and fills in defaults, in copies of what lacks them.
   * `live`: the last validated tree that may share subtrees (same references) with `config`; those need no second
   * look where the schema allows.
   */
  validate(
    config: Json,
    live: Json | undefined,
  ): Promise<{ readonly config: Json } | { readonly issues: readonly Issue[] }>
  /** Dotted patterns with `*`: what the schema marks secret. */
  readonly secretPaths: readonly string[]
  /** From `x-midflight-key` on arrays: `{ rules: 'id' }`. */
  readonly keys: Readonly<Record<string, string>>
  /** From `x-midflight-restart: true`. */
  readonly restartPaths: readonly string[]
}
