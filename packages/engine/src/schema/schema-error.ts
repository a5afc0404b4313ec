/** The schema itself is wrong, or cannot be used here: nothing is said about any configuration. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError'
}
