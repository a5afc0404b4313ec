/**
 * Keys that no configuration may hold, whatever its format, because code that copies trees key by key would change
 * the prototype of its objects:
 * - `__proto__`, always;
 * - `constructor`, if its value is an object that holds `prototype`. `constructor` alone is an ordinary word.
 * Everything else, `toString` and `hasOwnProperty` included, is data.
 */

export function isForbiddenKey(key: string): boolean {
  return key === '__proto__'
}

/** Whether `key` inside of the object at `parent` (the last step of its path) is forbidden. */
export function isForbiddenIn(parent: string | number | undefined, key: string): boolean {
  return key === '__proto__' || (key === 'prototype' && parent === 'constructor')
}

/** What to say about it. */
export function forbiddenMessage(key: string): string {
  const found = key === '__proto__' ? 'the key __proto__' : 'the key prototype inside of constructor'
  return `has ${found}, which could change how objects behave; want another name`
}
