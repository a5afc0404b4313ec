/** How much a text may ask for before it is refused with the code `limit`. */
export interface TextLimits {
  /** Size of the text in bytes. */
  readonly maxBytes: number
  /** How deep objects and arrays may stand in each other; `[[1]]` is 2 deep. */
  readonly maxDepth: number
  /** YAML: how many aliases (`*name`) one text may hold. */
  readonly maxAliases: number
  /** YAML: how many values all aliases together may stand for, so that a small text cannot unfold into a huge tree. */
  readonly maxAliasedValues: number
  /** YAML: how many keys all merges (`<<`) together may look at. */
  readonly maxMergedKeys: number
}

export const defaultLimits: TextLimits = {
  maxBytes: 256 * 1024 * 1024,
  maxDepth: 100,
  maxAliases: 1_000,
  maxAliasedValues: 100_000,
  maxMergedKeys: 10_000,
}
