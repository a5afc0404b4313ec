/**
 * Keys that no configuration may hold, whatever its format, because code that copies trees key by key would change
 * the prototype of its objects:
 * - `__proto__`, always;
 * - `constructor`, if its value is an object that holds `prototype`. `constructor` alone is an ordinary word.
 * Everything else, `toString` and `hasOwnProperty` included, is data.
 */
import { isForbiddenKey } from '../json.ts'

/** Whether `key` inside of the object at `parent` (the last step of its path) is forbidden. */
export function isForbiddenIn(parent: string | number | undefined, key: string): boolean {
  return isForbiddenKey(key) || (key === 'prototype' && parent === 'constructor')
}

/** What to say about it. */
export function forbiddenMessage(key: string): string {
  const found = isForbiddenKey(key) ? 'the key __proto__' : 'the key prototype inside of constructor'
  return `has ${found}, which could change how objects behave; want another name`
}
