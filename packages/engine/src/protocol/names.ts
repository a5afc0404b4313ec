/** Names of configs: `shop/gateway/prod`. Pure and browser-safe. */

const segment = '[a-z0-9][a-z0-9._-]{0,63}'

/** One to eight segments of at most 64 characters. No `..`, which would mean another place in a URL or a path. */
export const configNamePattern = new RegExp(`^(?!.*\\.\\.)${segment}(?:/${segment}){0,7}$`)

export const maxConfigNameLength = 8 * 64 + 7

/** What is wrong with a name, in words that go after it, or `undefined`. */
export function configNameProblem(name: string): string | undefined {
  if (configNamePattern.test(name)) return undefined
  const segments = name.split('/')
  if (name === '') return 'is empty; want a name such as shop/gateway/prod'
  if (segments.length > 8) return `has ${segments.length} segments; want at most 8`
  if (segments.includes('')) return 'has an empty segment; want something between the slashes, and none at the ends'
  if (name.includes('..')) return 'has two dots in a row; want one at most'
  if (segments.some((one) => one.length > 64)) return 'has a segment of more than 64 characters'
  return 'has a segment that is not lower-case letters, digits, ".", "_" and "-", beginning with a letter or digit'
}

export function isConfigName(name: string): boolean {
  return configNamePattern.test(name)
}

/** Whether `name` is `prefix` or below it. The empty prefix covers all; `shop/gate` does not cover `shop/gateway`. */
export function isBelow(prefix: string, name: string): boolean {
  return prefix === '' || name === prefix || name.startsWith(`${prefix}/`)
}
