/** How one value of a key-value store is read and written where nothing but the value says what it is. */
import type { Json } from '../json.ts'

const json = /^[ \t\r\n]*(?:[{["]|(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)[ \t\r\n]*$)/

/**
 * What begins with `{`, `[` or `"` is JSON, and so are `true`, `false`, `null` and JSON's numbers; everything else is
 * text as it stands.
 */
export function isJsonValue(text: string): boolean {
  return json.test(text)
}

/** What is read as `value`: text as it stands, where it is read as that, else JSON. */
export function keyValueText(value: Json): string {
  // Nothing at all is no value in some stores, and a byte order mark is passed over by who reads.
  const isPlain = typeof value === 'string' && value !== '' && !value.startsWith('\ufeff') && !isJsonValue(value)
  return isPlain ? value : JSON.stringify(value)
}
