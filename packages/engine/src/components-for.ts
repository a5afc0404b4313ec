/**
 * Typed makers of components: from the schema to each component's path and slice without a cast. The makers
 * themselves are `value.ts` and `keyed.ts`.
 */
import type { Component } from './component.ts'
import type { Json } from './json.ts'
import { keyedComponent, type KeyedComponent, type KeyedOptions } from './keyed.ts'
import { keyField } from './schema.ts'
import type { AnySchema, ConfigOf, EntryOf, KeyedPathOf, PathOf, ValueAt } from './schema.ts'
import { valueComponent, type ValueOptions } from './value.ts'

/** Deeply readonly: what `live` and every slice are, since all readers share one frozen snapshot. */
export type Frozen<T> = [Json] extends [T] ? T : FrozenEach<T>
type FrozenEach<T> = T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T

type SliceOf<C, P> = P extends string
  ? Frozen<ValueAt<C, P>>
  : P extends readonly string[]
    ? { readonly [K in keyof P]: P[K] extends string ? Frozen<ValueAt<C, P[K]>> : never }
    : never

type Entry<C, P extends string> = Frozen<EntryOf<ValueAt<C, P>>>

export interface ComponentMakers<C> {
  /**
   * A component of a function that takes the new value at `path` (`''` for the whole; a list of paths gives a tuple).
   */
  value<const P extends PathOf<C> | readonly PathOf<C>[], T = undefined>(
    options: ValueOptions<SliceOf<C, P>, T> & { readonly path: P },
  ): Component<SliceOf<C, P>>
  /** A component of `start`, `update` and `stop` over the keyed collection at `path`. */
  keyed<const P extends KeyedPathOf<C>, R>(
    options: KeyedOptions<Entry<C, P>, R> & { readonly path: P },
  ): KeyedComponent<R>
}

/** @throws SchemaError at `keyed`, if a mark in the schema cannot be meant */
export function componentsFor<S extends AnySchema>(schema: S): ComponentMakers<ConfigOf<S>> {
  return {
    value: (options) => valueComponent(options, options.path),
    keyed: (options) => {
      const key = options.key ?? keyField(schema, options.path)
      return keyedComponent({ ...options, ...(key !== undefined && { key }) }, options.path)
    },
  }
}
