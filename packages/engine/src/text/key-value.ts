/** How one value of a key-value store is read and written where nothing but the value says what it is. */

const json = /^[ \t\r\n]*(?:[{["]|(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)[ \t\r\n]*$)/

/**
 * What begins with `{`, `[` or `"` is JSON, and so are `true`, `false`, `null` and JSON's numbers; everything else is
 * text as it stands.
 */
export function isJsonValue(text: string): boolean {
  return json.test(text)
}
