/** The door to differences between trees: finding, listing, applying, reversing and joining them. */
export { diff } from './compare.ts'
export { changes, type Change } from './changes.ts'
export { apply, isEmpty, reverse, type Delta, type ListDelta } from './delta.ts'
export { squash } from './squash.ts'
export { diffEntries, DuplicateKeyError, type EntryChanges } from './entries.ts'
export type { Keys } from './keys.ts'
